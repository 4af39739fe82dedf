"""The first page: every prediction as a card. What takes a pass over all users is asked for by a script afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from config.errors import NotStored
from streams.api.app import Parts
from streams.api.daily import Daily
from streams.api.estimate import estimate_range
from streams.api.keys import Role
from streams.api.predictions import list_predictions
from streams.api.quality import get_quality
from streams.api.read_predictions import LEARNING, NO_EVENTS
from streams.api.today import Today, TodayCounts
from streams.api.views import PredictionView
from streams.console.learning import learning_of
from streams.console.pages import TEXTS
from streams.console.prediction_words import CategoryShare, KindWord, kind_of, shares_of, stage_of
from streams.console.routing import PageRoute
from streams.console.visit import Visit


class Card(NamedTuple):
    """One prediction that shards know."""

    view: PredictionView
    kind: KindWord
    stage: str
    shares: list[CategoryShare]


class PredictionsPages:
    """The list, and its figures."""

    def __init__(self, parts: Parts, today: Today) -> None:
        self._parts = parts
        self._today = today

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened."""
        yield PageRoute("/predictions", "GET", Role.READ, self.show)
        yield PageRoute("/predictions/figures", "GET", Role.READ, self.figures)

    def show(self, visit: Visit) -> Response:
        """The page. Raises `Problem` where nothing is stored yet, StoreError."""
        found = list_predictions(self._parts.services.stored, self._parts.reads).items
        learning = learning_of(self._parts.definer.store)
        return visit.render("predictions.html", cards=[card_of(view) for view in found], learning=learning)

    async def figures(self, visit: Visit) -> Response:
        """Of each prediction: whom it expects, its quality and today's crossings, as texts. Raises as `show`."""
        counts = await self._today.counts()
        return JSONResponse(await run_in_threadpool(self._figures, visit, counts))

    def _against(self, visit: Visit, view: PredictionView, expected: float | None) -> str:
        """Of one that moves."""
        return "" if view.frozen_at is not None else against_words(visit, self._parts.daily, view.id, expected)

    def _figures(self, visit: Visit, counts: TodayCounts) -> dict[str, dict[str, str]]:
        stored, reads = self._parts.services.stored, self._parts.reads
        t, f = TEXTS[visit.language], visit.format
        found: dict[str, dict[str, str]] = {}
        for view in list_predictions(stored, reads).items:
            if view.status in (LEARNING, NO_EVENTS):
                continue
            try:
                expected = estimate_range(stored, reads, self._parts.everyone, view.id).expected
                band = get_quality(stored, reads, view.id, 1).events.served.band
            except NotStored:
                continue  # shards have not taken it up, or never will: it was archived before
            found[view.id] = {
                "expected": f.amount(expected),
                "against": self._against(visit, view, expected),
                "quality": t.quality_unknown if band is None else t.bands[band],
                "band": band or "unknown",
                "today": _today_words(visit, view, counts),
            }
        return found


def against_words(visit: Visit, daily: Daily, prediction_id: str, expected: float | None) -> str:
    """How many more or fewer are expected than a week ago; from when on that is known, where it is not yet."""
    t, f = TEXTS[visit.language], visit.format
    if expected is None:
        return ""
    comparison = daily.comparison(prediction_id)
    before = comparison.week_ago
    if before is None:
        when = datetime.fromtimestamp(daily.comparable_s(comparison), UTC)
        return t.against_none.format(date=f.day(when.date()))
    change, shown = expected - before.expected, f.amount(abs(expected - before.expected))
    if shown == f.amount(0.0):
        return t.against_same
    share = f.percent(abs(change) / before.expected) if before.expected else f.percent(None)
    return (t.against_more if change > 0 else t.against_fewer).format(n=shown, share=share)


def card_of(view: PredictionView) -> Card:
    """As the list shows it."""
    return Card(view, kind_of(view), stage_of(view), shares_of(view))


def _today_words(visit: Visit, view: PredictionView, counts: TodayCounts) -> str:
    t, f = TEXTS[visit.language], visit.format
    if not counts.is_known:
        return t.today_unknown
    segment, category = f"{view.id}.high", t.categories[f"{kind_of(view)}.high"]
    entered = f.counted(t.entered_today, counts.entered[segment], category=category)
    words = f"{entered}, {f.counted(t.left_today, counts.exited[segment])}"
    return words if counts.is_complete else f"{t.today_at_least} {words}"
