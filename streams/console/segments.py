"""Segments: all of them, one with its members and its course, and a new one made of a selection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from http import HTTPStatus
from typing import Any, Final, Literal, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from config.catalog import Catalog, CategoryFilter, Segment
from config.errors import NotStored
from streams.api import edits
from streams.api.app import Parts
from streams.api.campaign_definer import CampaignDefiner
from streams.api.definer import Work
from streams.api.definitions_view import DefinitionsView, read
from streams.api.estimate import estimate_range
from streams.api.keys import Role
from streams.api.predictions import get_prediction
from streams.api.problems import Kind, Problem
from streams.api.segments import export_members, get_segment, list_members, list_segments
from streams.api.sizes import SizesView, get_sizes
from streams.api.today import Today
from streams.api.views import MemberPage, SegmentView
from streams.console import charts
from streams.console.changes import ChangeRow, changes_of
from streams.console.changing import campaign_names, change, id_of, id_told, nothing_told
from streams.console.filter_words import FilterWords, Line
from streams.console.ids import LONGEST_NAME, free_id
from streams.console.pages import TEXTS
from streams.console.prediction_words import kind_of, stage_of
from streams.console.routing import PageRoute
from streams.console.segment_words import segment_name
from streams.console.selection import hints_against, selection_of
from streams.console.visit import Visit

_MEMBERS: Final = 50


class Row(NamedTuple):
    """One segment in the list."""

    id: str
    name: str
    members: int | None
    """None: no worker has taken it up yet."""
    prediction: str | None
    """The name of the prediction whose category it is; None for one that somebody has defined."""


class Course(NamedTuple):
    """A segment's size by day, as a path."""

    line: str
    top: float
    first: str
    last: str


class History(NamedTuple):
    """Changes of a segment, the latest first, each with the name and the filter that it brought."""

    rows: list[tuple[ChangeRow, str | None, Line | None]]
    is_whole: bool


class SegmentPages:
    """The pages."""

    def __init__(self, parts: Parts, today: Today, campaigns: CampaignDefiner) -> None:
        self._parts = parts
        self._campaigns = campaigns
        self._stored = parts.services.stored
        self._definer = parts.definer
        self._today = today

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened."""
        yield PageRoute("/segments", "GET", Role.READ, self.show_all)
        yield PageRoute("/segments", "POST", Role.WRITE, self.create)
        yield PageRoute("/segments/figures", "GET", Role.READ, self.figures)
        yield PageRoute("/segments/new", "GET", Role.WRITE, self.show_new)
        yield PageRoute("/segments/{id}", "GET", Role.READ, self.show)
        yield PageRoute("/segments/{id}/export", "GET", Role.READ, self.export)
        yield PageRoute("/segments/{id}/archive", "GET", Role.WRITE, self.ask_archive)
        yield PageRoute("/segments/{id}/archive", "POST", Role.WRITE, self.archive)
        yield PageRoute("/segments/{id}/restore", "POST", Role.WRITE, self.restore)

    # --- looking -----------------------------------------------------------------------------------------------------

    def show_all(self, visit: Visit) -> Response:
        """The list. Raises `Problem` where nothing is stored yet, StoreError."""
        view = self._definer.view()
        found = list_segments(self._stored, self._definer).items
        rows = [_row(visit, view.whole, each) for each in found if each.status != "new"]
        taken_up = {row.id for row in rows}
        waiting = [
            Row(id_, segment.name, None, None)
            for id_, segment in view.whole.segments.items()
            if id_ not in taken_up and not segment.archived
        ]
        own = [row for row in rows if row.prediction is None and not view.whole.segments[row.id].archived]
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if row.prediction is not None and _may_be_targeted(view.whole, row.id):
                groups.setdefault(row.prediction, []).append(row)
        ended = [(id_, segment.name) for id_, segment in view.whole.segments.items() if segment.archived]
        return visit.render("segments.html", own=[*own, *waiting], groups=groups, ended=ended)

    async def figures(self, visit: Visit) -> Response:
        """Entries and exits of today of every segment, as texts. Raises StoreError, BrokerError."""
        counts = await self._today.counts()
        view = await run_in_threadpool(list_segments, self._stored, self._definer)
        f, least = visit.format, "" if counts.is_complete else "≥\u00a0"
        known = counts.is_known
        return JSONResponse(
            {
                each.id: {
                    "entered": f"{least}{f.number(counts.entered[each.id])}" if known else f.number(None),
                    "left": f"{least}{f.number(counts.exited[each.id])}" if known else f.number(None),
                }
                for each in view.items
            }
        )

    async def show(self, visit: Visit) -> Response:
        """One. Raises NotStored, `Problem`, StoreError, BrokerError."""
        id_ = visit.path("id")
        definitions = await run_in_threadpool(self._definer.view)
        view = await run_in_threadpool(get_segment, self._stored, self._definer, id_)
        sizes: SizesView | None = None
        try:
            sizes = await get_sizes(self._parts.services, id_)
        except NotStored:
            if id_ not in definitions.whole.segments:
                raise
        return await run_in_threadpool(self._shown, visit, definitions, view, sizes)

    def _shown(
        self, visit: Visit, definitions: DefinitionsView, view: SegmentView, sizes: SizesView | None
    ) -> Response:
        definition = definitions.whole.segments.get(view.id)
        members: MemberPage | None = None
        if sizes is not None:
            members = list_members(self._stored, view.id, _MEMBERS, visit.query.get("cursor"))
        is_own = definition is not None and definitions.source("segment", view.id) == "api"
        return visit.render(
            "segment.html",
            view=view,
            name=segment_name(TEXTS[visit.language], definitions.whole, view.id, view.name),
            is_archived=definition is not None and definition.archived,
            is_own=is_own,
            is_taken_up=sizes is not None and view.status != "new",
            filter=_filter(visit, definitions.whole, view.id),
            today=None if sizes is None or not sizes.days else sizes.days[-1],
            course=None if sizes is None else _course(visit, sizes),
            members=members,
            columns=self._columns(definitions.whole, view),
            history=self._history(visit, definitions.whole, view.id) if is_own else None,
        )

    def _history(self, visit: Visit, catalog: Catalog, id_: str) -> History:
        """Who changed it, with the filter that each change left where it is another one."""
        found = changes_of(self._definer.store, self._parts.services.keys, "segment", id_)
        words = _filter_words(visit, catalog)
        rows = []
        for row in found.rows:
            before, after = row.change.before or {}, row.change.after
            line = None
            if before.get("filter") != after.get("filter"):
                segment = read("segment", id_, after, is_bounded=False)
                assert isinstance(segment, Segment)
                line = words.line(segment.filter)
            rows.append((row, after["name"] if before.get("name") not in (None, after["name"]) else None, line))
        return History(rows, found.is_whole)

    @staticmethod
    def _columns(catalog: Catalog, view: SegmentView) -> dict[str, tuple[str, str]]:
        """Predictions whose scores are shown beside members, with their names and kinds."""
        found = {id_: catalog.predictions[id_] for id_ in view.predictions if id_ in catalog.predictions}
        shown = found or {id_: p for id_, p in list(catalog.predictions.items())[:3] if not p.archived}
        return {id_: (p.name, "churn" if p.kind == "churn" else "event") for id_, p in shown.items()}

    def export(self, visit: Visit) -> Response:
        """A file of all members. Raises NotStored, `Problem`, StoreError."""
        form: Literal["csv", "ndjson"] = "ndjson" if visit.query.get("format") == "ndjson" else "csv"
        return export_members(self._parts.services, visit.path("id"), form, None)

    # --- making ------------------------------------------------------------------------------------------------------

    def show_new(self, visit: Visit) -> Response:
        """The form for a segment of a selection. Raises NotStored, `Problem`, StoreError."""
        return self._new(visit, visit.query, None)

    def _new(self, visit: Visit, given: Mapping[str, str], wrong: str | None) -> Response:
        prediction = get_prediction(self._stored, self._parts.reads, given.get("prediction", ""))
        selection, stage = selection_of(given, prediction), stage_of(prediction)
        against = hints_against(visit, prediction, stage)
        if against is not None:
            raise Problem(Kind.NOT_TARGETABLE, "nothing may be made of this selection")
        low, high = (0.0, 100.0) if selection.category else (selection.low, selection.high)
        estimate = estimate_range(
            self._stored,
            self._parts.reads,
            self._parts.everyone,
            prediction.id,
            low=low,
            high=high,
            category=selection.category,
        )
        t = TEXTS[visit.language]
        category = None if selection.category is None else t.categories[f"{kind_of(prediction)}.{selection.category}"]
        return visit.render(
            "segment_new.html",
            status=HTTPStatus.OK if wrong is None else HTTPStatus.UNPROCESSABLE_ENTITY,
            prediction=prediction,
            selection=selection,
            category=category,
            estimate=estimate,
            name=given.get("name", ""),
            entry=given.get("entry", "now"),
            is_warming=stage == "warming up",
            wrong=wrong,
        )

    def create(self, visit: Visit) -> Response:
        """Make it, and go to it; the form again with what is wrong. Raises NotStored, `Problem`, StoreError."""
        name = " ".join(visit.form.get("name", "").split())
        if not name or len(name) > LONGEST_NAME:
            return self._new(visit, visit.form, "name")
        prediction = get_prediction(self._stored, self._parts.reads, visit.form.get("prediction", ""))
        selection = selection_of(visit.form, prediction)

        def work(view: DefinitionsView) -> Work:
            id_ = free_id(name, view.whole.segments)
            entry = "crossings" if visit.form.get("entry") == "crossings" else "now"
            data: dict[str, Any] = {
                "id": id_,
                "name": name,
                "selection": {"prediction": prediction.id, **selection.definition},
                "entry": entry,
            }
            return Work([edits.created(view, "segment", data)], id_told(id_))

        return visit.go(f"/segments/{id_of(change(self._definer, visit, work))}")

    def ask_archive(self, visit: Visit) -> Response:
        """Whether it is meant. Raises NotStored, `Problem`, StoreError."""
        view = self._definer.view()
        found = view.editable("segment", visit.path("id"))
        names = [view.whole.segments[id_].name for id_ in view.dependents("segment", visit.path("id"))]
        campaigns = campaign_names(self._campaigns, "segment", visit.path("id"))
        return visit.render(
            "segment_archive.html", id=visit.path("id"), name=found.name, dependents=names, campaigns=campaigns
        )

    def archive(self, visit: Visit) -> Response:
        """End it: its members leave. Raises NotStored, `Problem`, StoreError."""
        change(self._definer, visit, lambda view: Work(edits.archived(view, "segment", visit.path("id")), nothing_told))
        return visit.go("/segments")

    def restore(self, visit: Visit) -> Response:
        """Bring back one that was archived. Raises NotStored, `Problem`, StoreError."""
        id_ = visit.path("id")
        change(self._definer, visit, lambda view: Work(edits.restored(view, "segment", id_), nothing_told))
        return visit.go(f"/segments/{id_}")


def _row(visit: Visit, catalog: Catalog, view: SegmentView) -> Row:
    prediction, dot, category = view.id.partition(".")
    known = catalog.predictions.get(prediction)
    if not dot:
        return Row(view.id, view.name, view.members, None)
    kind = "churn" if known is not None and known.kind == "churn" else "event"
    name = TEXTS[visit.language].categories[f"{kind}.{category}"]
    return Row(view.id, name, view.members, prediction if known is None else known.name)


def _may_be_targeted(catalog: Catalog, id_: str) -> bool:
    """Whether users ever enter the segment of a category: not where its prediction is only to be looked at."""
    prediction = catalog.predictions.get(id_.partition(".")[0])
    return prediction is None or prediction.access == "live"


def _filter_words(visit: Visit, catalog: Catalog) -> FilterWords:
    names = {key: segment.name for key, segment in catalog.segments.items()}
    names |= {
        f"{key}.{category}": segment_name(TEXTS[visit.language], catalog, f"{key}.{category}", key)
        for key in catalog.predictions
        for category in ("low", "medium", "high")
    }
    return FilterWords(TEXTS[visit.language], visit.format, catalog.predictions, names)


def _filter(visit: Visit, catalog: Catalog, id_: str) -> Line:
    words = _filter_words(visit, catalog)
    prediction, dot, category = id_.partition(".")
    if dot:
        return words.line(CategoryFilter(prediction=prediction, category=(category,)))
    return words.line(catalog.segments[id_].filter)


def _course(visit: Visit, sizes: SizesView) -> Course | None:
    if len(sizes.days) < 2:
        return None
    members = [float(day.members) for day in sizes.days]
    top = charts.top_of(members)
    first, last = (visit.format.day(date.fromisoformat(sizes.days[place].day)) for place in (0, -1))
    return Course(charts.line(charts.ends(len(members)), [*members], top), top, first, last)
