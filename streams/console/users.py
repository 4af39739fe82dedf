"""Users: found by their ids, one with all that is known of them, and their deletion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from config.catalog import Catalog
from config.errors import NotStored
from streams.api.app import Parts
from streams.api.deletions import delete_user, is_being_deleted
from streams.api.keys import Role
from streams.api.likelihoods import SaidList, list_likelihoods
from streams.api.problems import Kind, Problem
from streams.api.user_search import find_users, list_transitions
from streams.api.users import get_user
from streams.api.views import UserView
from streams.console import charts
from streams.console.feature_words import feature_words
from streams.console.led_to import LedToPages, LedWords, crossing_of
from streams.console.pages import TEXTS
from streams.console.routing import PageRoute
from streams.console.scalars import scalar_words
from streams.console.segment_words import segment_name
from streams.console.visit import Visit

_FOUND: Final = 50
_TIMELINE: Final = 30
_MOMENTS: Final = 200
_LONGEST_ID: Final = 500


class ReasonRow(NamedTuple):
    """One reason in words."""

    words: str
    raises: bool


class ScoreRow(NamedTuple):
    """What one prediction says of the user."""

    id: str
    name: str
    kind: str
    score: float | None
    is_rank: bool
    likelihood: float | None
    category: str | None
    lapsed_at: str | None
    reasons: list[ReasonRow]


class Moment(NamedTuple):
    """One crossing of the user's timeline."""

    time: str
    segment: str
    segment_id: str
    has_entered: bool
    score: float | None
    before: float | None
    why: str
    led: list[LedWords]
    """What campaigns made of it."""


class Course(NamedTuple):
    """The user's likelihood over time, as a path."""

    line: str
    top: float
    first: tuple[str, str]
    """(RFC 3339, its day in UTC); a script makes it the viewer's."""
    last: tuple[str, str]


class UserPages:
    """The pages. A user's id may be anything, so it stands behind `?id=`."""

    def __init__(self, parts: Parts, led: LedToPages) -> None:
        self._parts = parts
        self._led = led
        self._services = parts.services

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened."""
        yield PageRoute("/users", "GET", Role.READ, self.find)
        yield PageRoute("/users/one", "GET", Role.READ, self.show)
        yield PageRoute("/users/delete", "GET", Role.WRITE, self.ask_delete)
        yield PageRoute("/users/delete", "POST", Role.WRITE, self.delete)

    def find(self, visit: Visit) -> Response:
        """Users whose ids begin as asked. Raises `Problem`, StoreError."""
        asked = visit.query.get("q", "").strip()[:_LONGEST_ID]
        found = find_users(self._services, self._parts.everyone, asked, _FOUND) if asked else None
        return visit.render("users.html", asked=asked, found=found)

    async def show(self, visit: Visit) -> Response:
        """One. Raises NotStored, `Problem` (gone for one who was deleted), StoreError, BrokerError."""
        user = visit.query.get("id", "")
        view = await run_in_threadpool(get_user, self._services, self._parts.reads, user)
        timeline = await list_transitions(self._services, user, _TIMELINE)
        return await run_in_threadpool(self._shown, visit, view, timeline.items)

    def _shown(self, visit: Visit, view: UserView, timeline: list[dict[str, Any]]) -> Response:
        t, catalog = TEXTS[visit.language], self._parts.definer.view().whole
        rows = _rows(visit, view)
        ids = [row.id for row in rows]
        wanted = visit.query.get("prediction", "")
        chosen = wanted if wanted in ids else ids[0] if ids else None
        return visit.render(
            "user.html",
            view=view,
            rows=rows,
            chosen=chosen,
            course=None if chosen is None else self._course(visit, view.user_id, chosen),
            segments=[(s, segment_name(t, catalog, s.id, s.name)) for s in view.segments],
            traits=[(name, scalar_words(t, visit.language, value)) for name, value in view.traits.items()],
            timeline=self._timeline(visit, catalog, timeline),
            # Only who has just asked is told: a request that the log did not take stays known for a day, too.
            is_leaving="deleting" in visit.query and is_being_deleted(self._services, view.user_id),
        )

    def _timeline(self, visit: Visit, catalog: Catalog, events: list[dict[str, Any]]) -> list[Moment]:
        led = self._led.of(visit, [crossing_of(event) for event in events])
        return [_moment(visit, catalog, event, found) for event, found in zip(events, led, strict=True)]

    def _course(self, visit: Visit, user: str, prediction: str) -> Course | None:
        try:
            said = list_likelihoods(self._services, self._parts.everyone, user, prediction, _MOMENTS)
        except NotStored:
            return None  # a prediction that shards have just taken up
        return _course_of(visit, said)

    def ask_delete(self, visit: Visit) -> Response:
        """Whether it is meant. Raises as `show`."""
        view = get_user(self._services, self._parts.reads, visit.query.get("id", ""))
        return visit.render("user_delete.html", user=view.user_id, wrong=False)

    async def delete(self, visit: Visit) -> Response:
        """Do it, where the id was typed again. Raises `Problem`, StoreError, BrokerUnavailable."""
        assert visit.caller is not None
        user = visit.form.get("id", "")
        if not user:
            raise Problem(Kind.NOT_FOUND, "nobody is named")
        if visit.form.get("again", "").strip() != user.strip():
            return visit.render("user_delete.html", status=422, user=user, wrong=True)
        await delete_user(self._services, self._parts.definer, user, visit.caller.key_id)
        return visit.go(f"/users/one?{urlencode({'id': user, 'deleting': '1'})}")


def _rows(visit: Visit, view: UserView) -> list[ScoreRow]:
    t = TEXTS[visit.language]
    return [
        ScoreRow(
            id=each.id,
            name=each.name,
            kind="churn" if each.kind == "churn" else "event",
            score=each.score,
            is_rank=each.scale == "percentile",
            likelihood=each.likelihood,
            category=each.category,
            lapsed_at=each.lapsed_at,
            reasons=[
                ReasonRow(feature_words(t, visit.format, r.feature, high=r.level == "high"), r.contribution > 0.0)
                for r in each.reasons
            ],
        )
        for each in view.predictions
    ]


def _course_of(visit: Visit, said: SaidList) -> Course | None:
    """None where fewer than two likelihoods were said: one is no course."""
    known = [(datetime.fromisoformat(each.time), each.likelihood) for each in said.items if each.likelihood is not None]
    if len(known) < 2:
        return None
    first, last = known[0][0], known[-1][0]
    span_s = max((last - first).total_seconds(), 1.0)
    xs = [round(charts.SIZE * (time - first).total_seconds() / span_s, 2) for time, _ in known]
    top = charts.top_of([value for _, value in known])
    line = charts.line(xs, [value for _, value in known], top)
    ends = [(each.isoformat(), visit.format.day(each.date())) for each in (first, last)]
    return Course(line, top, *ends)


def _moment(visit: Visit, catalog: Catalog, event: dict[str, Any], led: list[LedWords]) -> Moment:
    t, data = TEXTS[visit.language], event["data"]
    why = [t.origins.get(str(data["origin"]), str(data["origin"]))]
    if data.get("caused_by_goal"):
        why.append(t.by_goal_itself)
    why += [
        feature_words(t, visit.format, str(reason["feature"]), high=reason["level"] == "high")
        for reason in data.get("reasons", [])[:2]
    ]
    return Moment(
        time=str(event["time"]),
        segment=segment_name(t, catalog, str(data["segment_id"]), str(data["segment_name"])),
        segment_id=str(data["segment_id"]),
        has_entered=bool(data["in_segment"]),
        score=_number(data.get("score")),
        before=_number(data.get("previous_score")),
        why=" · ".join(why),
        led=led,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
