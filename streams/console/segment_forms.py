"""Segments by filter: the form that makes one and changes one, and how many users it comes to while it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from starlette.responses import JSONResponse, Response

from config.catalog import Segment
from config.definitions import Definition
from config.errors import NotStored
from config.written import written
from config.yaml_text import dump
from streams.api import edits
from streams.api.app import Parts
from streams.api.definer import Work
from streams.api.definition_requests import check_match
from streams.api.definitions_view import DefinitionsView, Edit, read
from streams.api.estimate import estimate_filter
from streams.api.keys import Role
from streams.api.predictions import get_prediction
from streams.api.problems import Kind, Problem
from streams.console.changing import change, id_of, id_told, nothing_told
from streams.console.definition_wrong import segment_field
from streams.console.filter_form import asked_of, data_of, is_for_builder, offered
from streams.console.ids import LONGEST_NAME, free_id
from streams.console.language import Language
from streams.console.pages import TEXTS
from streams.console.prediction_words import kind_of, stage_of
from streams.console.routing import PageRoute
from streams.console.spans import UNITS, Span
from streams.console.visit import Visit
from streams.console.wrong import Wrong, builder_words, name_wrong, told_by_builder, wrong_by_field

_NEW: Final = "new"
"""The id under which a filter without a segment is checked."""
_NO_DWELL: Final = Span("", "h")


class Form(NamedTuple):
    """What stands in the form."""

    name: str
    filter: str
    """YAML or JSON."""
    entry: str
    dwell: Span
    """Without an amount none."""
    language: Language
    """In which numbers are written."""

    @classmethod
    def of(cls, given: Mapping[str, str], language: Language) -> Form:
        """As it was sent, or as an address has it. Raises `Problem` for what no form of ours sends."""
        return cls(
            name=" ".join(given.get("name", "").split()),
            filter=given.get("filter", ""),
            entry="crossings" if given.get("entry") == "crossings" else "now",
            dwell=Span.of(given, "dwell", _NO_DWELL),
            language=language,
        )

    @classmethod
    def of_segment(cls, segment: Segment, language: Language) -> Form:
        """Of one that there is."""
        dwell = Span.of_s(segment.min_dwell_s, language) if segment.min_dwell_s else _NO_DWELL
        return cls(segment.name, dump(written(segment)["filter"]), segment.entry, dwell, language)

    @property
    def definition(self) -> dict[str, Any]:
        """As a catalog has it. Raises `Problem` for a filter or a number that cannot be read."""
        found: dict[str, Any] = {"name": self.name, "filter": data_of(self.filter)}
        if self.entry == "crossings":
            found["entry"] = self.entry
        if self.dwell.amount:
            found["min_dwell"] = self.dwell.written("min_dwell", self.language)
        return found


class Counted(NamedTuple):
    """What a filter comes to now, as texts."""

    users: str
    notes: list[str]


class SegmentForms:
    """The pages."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stored = parts.services.stored
        self._definer = parts.definer

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened; `by-filter` cannot be the id of a segment."""
        yield PageRoute("/segments/by-filter", "GET", Role.WRITE, self.show_new)
        yield PageRoute("/segments/by-filter", "POST", Role.WRITE, self.create)
        yield PageRoute("/segments/by-filter/count", "POST", Role.WRITE, self.count)
        yield PageRoute("/segments/{id}/edit", "GET", Role.WRITE, self.show_edit)
        yield PageRoute("/segments/{id}/edit", "POST", Role.WRITE, self.edit)

    # --- pages -------------------------------------------------------------------------------------------------------

    def show_new(self, visit: Visit) -> Response:
        """An empty form. Raises `Problem`, StoreError."""
        return self._form(visit, Form.of(visit.query, visit.language), None)

    def create(self, visit: Visit) -> Response:
        """Make it, and go to it; the form again with what is wrong, or with a count. Raises `Problem`, StoreError."""
        form = Form.of(visit.form, visit.language)
        if visit.form.get("action") == "count":
            return self._form(visit, form, None, is_counted=True)
        if wrong := _name_wrong(visit, form):
            return self._form(visit, form, None, wrong=wrong)

        def work(view: DefinitionsView) -> Work:
            id_ = free_id(form.name, view.whole.segments)
            return Work([edits.created(view, "segment", {"id": id_, **form.definition})], id_told(id_))

        try:
            made = change(self._definer, visit, work)
        except Problem as problem:
            return self._form(visit, form, None, wrong=wrong_by_field(visit, problem, segment_field))
        return visit.go(f"/segments/{id_of(made)}")

    def show_edit(self, visit: Visit) -> Response:
        """The form of one that there is. Raises NotStored, `Problem`, StoreError."""
        segment = self._editable(self._definer.view(), visit.path("id"))
        return self._form(visit, Form.of_segment(segment, visit.language), visit.path("id"))

    def edit(self, visit: Visit) -> Response:
        """Change it, and go to it; the form again as `create`. Raises NotStored, `Problem`, StoreError."""
        id_, form = visit.path("id"), Form.of(visit.form, visit.language)
        self._editable(self._definer.view(), id_)
        if visit.form.get("action") == "count":
            return self._form(visit, form, id_, is_counted=True)
        if wrong := _name_wrong(visit, form):
            return self._form(visit, form, id_, wrong=wrong)

        def work(view: DefinitionsView) -> Work:
            view.editable("segment", id_)
            check_match(visit.form.get("etag"), view.etag_of("segment", id_), is_needed=True)
            return Work(edits.edited(view, "segment", id_, form.definition), nothing_told)

        try:
            change(self._definer, visit, work)
        except Problem as problem:
            if problem.kind is Kind.PRECONDITION_FAILED:
                raise  # what somebody else has written must be read first
            return self._form(visit, form, id_, wrong=wrong_by_field(visit, problem, segment_field))
        return visit.go(f"/segments/{id_}")

    def count(self, visit: Visit) -> Response:
        """How many users a filter holds for now, as texts. Raises `Problem` where the store is asked too much."""
        try:
            counted = self._counted(visit, Form.of(visit.form, visit.language), visit.form.get("id") or None)
        except Problem as problem:
            told = told_by_builder(wrong_by_field(visit, problem, segment_field))
            return JSONResponse({"users": visit.format.number(None), **told})
        return JSONResponse({**counted._asdict(), "places": []})

    # --- inside ------------------------------------------------------------------------------------------------------

    def _editable(self, view: DefinitionsView, id_: str) -> Segment:
        found: Definition = view.editable("segment", id_)
        assert isinstance(found, Segment)
        if found.archived:
            raise Problem(Kind.NOT_FOUND, f"the segment {id_!r} is archived")
        return found

    def _form(
        self, visit: Visit, form: Form, id_: str | None, *, wrong: Wrong | None = None, is_counted: bool = False
    ) -> Response:
        view, t = self._definer.view(), TEXTS[visit.language]
        counted: Counted | None = None
        tree: Any = None
        try:
            tree = data_of(form.filter) if form.filter.strip() else None
            if tree is not None:
                read("segment", _NEW, {"name": _NEW, "filter": tree})
            if is_counted:
                counted = self._counted(visit, form, id_)
        except Problem as problem:
            wrong = wrong or wrong_by_field(visit, problem, segment_field)
            tree = None if problem.kind is Kind.INVALID_DEFINITION else tree
        has_builder = is_for_builder(tree) if tree is not None else not form.filter.strip()
        return visit.render(
            "segment_form.html",
            status=HTTPStatus.OK if not wrong else HTTPStatus.UNPROCESSABLE_ENTITY,
            form=form,
            units=UNITS,
            id=id_,
            name=None if id_ is None else view.whole.segments[id_].name,
            etag=None if id_ is None else view.etag_of("segment", id_),
            dependents=[] if id_ is None else [view.whole.segments[d].name for d in view.dependents("segment", id_)],
            wrong=wrong,
            counted=counted,
            has_builder=has_builder,
            tree=json.dumps(tree),
            offered=json.dumps(self._offered(visit, view, id_)) if has_builder else "",
            words=json.dumps(builder_words(t)),
        )

    def _offered(self, visit: Visit, view: DefinitionsView, id_: str | None) -> dict[str, Any]:
        with self._stored.reader() as reader:
            vocabulary = self._stored.a_state(reader).vocabulary
        return offered(TEXTS[visit.language], view.whole, vocabulary, id_)

    def _counted(self, visit: Visit, form: Form, id_: str | None) -> Counted:
        """Raises `Problem` for a filter that is not right or cannot be counted."""
        t, f = TEXTS[visit.language], visit.format
        view = self._definer.view()
        name = id_ if id_ in view.whole.segments and view.source("segment", id_) == "api" else None
        segment = read("segment", name or _NEW, {"name": form.name or _NEW, "filter": data_of(form.filter)})
        assert isinstance(segment, Segment)
        free = name or free_id(_NEW, view.whole.segments)
        view.changed([Edit("segment", free, "create" if name is None else "edit", segment)], "", 0.0)
        asked = asked_of(segment.filter)
        try:
            found = estimate_filter(
                self._stored, self._parts.reads, self._parts.everyone, self._seen_from(asked), segment.filter
            )
        except NotStored as error:
            raise Problem(Kind.CANNOT_ESTIMATE, str(error)) from error
        notes = []
        if len(asked) == 1:
            prediction = get_prediction(self._stored, self._parts.reads, asked[0])
            notes.append(t.filter_expected[kind_of(prediction)].format(n=f.amount(found.expected)))
        if any(self._is_warming(each) for each in asked):
            notes.append(t.segment_warming)
        return Counted(f.number(found.users), notes)

    def _seen_from(self, asked: list[str]) -> str:
        """The prediction that likelihoods are counted of: the first of the filter, or any."""
        if asked:
            return asked[0]
        with self._stored.reader() as reader:
            return self._stored.a_state(reader).definitions.prediction_ids[0]

    def _is_warming(self, id_: str) -> bool:
        return stage_of(get_prediction(self._stored, self._parts.reads, id_)) == "warming up"


def _name_wrong(visit: Visit, form: Form) -> Wrong | None:
    is_good = 0 < len(form.name) <= LONGEST_NAME
    return None if is_good else name_wrong(visit)
