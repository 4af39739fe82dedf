"""One prediction: how its audience spreads over the score, what a selection of it comes to, and how far to trust it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any, Final, Literal, NamedTuple

from starlette.responses import JSONResponse, Response

from streams.api.app import Parts
from streams.api.distribution import DistributionView, RangeView, get_distribution
from streams.api.drivers import DriversView, get_drivers
from streams.api.estimate import EstimateView, estimate_range
from streams.api.keys import Role
from streams.api.predictions import get_detail, get_prediction
from streams.api.quality import QualityView, TouchView, get_quality
from streams.api.views import PredictionView
from streams.console import charts
from streams.console.campaign_strategies import suggestions
from streams.console.changes import changes_of
from streams.console.feature_words import feature_words
from streams.console.learning import learning_of
from streams.console.pages import TEXTS
from streams.console.prediction_words import KindWord, kind_of, shares_of, stage_of
from streams.console.routing import PageRoute
from streams.console.selection import Selection, hints_against, selection_of, selection_words
from streams.console.visit import Visit
from streams.runtime.stored import together
from streams.runtime.summary import Entries, entries_of

_WEEKS: Final = 26
_DRIVERS: Final = 12


class Scores(NamedTuple):
    """Between which scores the users of one bar are, and in which category that is."""

    low: float
    high: float
    category: Literal["low", "medium", "high"]


class Spread(NamedTuple):
    """The chart over the score, or over the likelihood."""

    ranges: list[RangeView]
    scores: list[Scores]
    """Of each."""
    users: list[charts.Bar]
    users_top: float
    likelihood: str
    """A path; so is the next."""
    rate: str
    rate_top: float


class Weeks(NamedTuple):
    """Quality by week: paths on an axis from 0 to 100."""

    served: str
    baseline: str
    first: str
    """Days, as texts."""
    last: str


class Calibration(NamedTuple):
    """What was said against what happened, both on an axis from 0 to `top`, of one kind of moments."""

    kind: str
    """Of `Texts.moments`."""
    points: str
    top: float
    moments: int
    expected_over_observed: float | None


class Touched(NamedTuple):
    """Moments of users apart by what campaigns did within the window."""

    group: str
    """Of `Texts.touches`."""
    view: TouchView


class DriverRow(NamedTuple):
    """One feature in words."""

    words: str
    direction: Literal["raises", "lowers"]
    factor: float
    """What one standard deviation more multiplies the odds by."""
    width: float
    """Of its bar, against the strongest: to 1000."""


class PredictionPages:
    """The page, and the estimates that its slider asks for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stored = parts.services.stored
        self._reads = parts.reads

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened."""
        yield PageRoute("/predictions/{id}", "GET", Role.READ, self.show)
        yield PageRoute("/predictions/{id}/estimate", "GET", Role.READ, self.estimate)

    def show(self, visit: Visit) -> Response:
        """The page. Raises NotStored, `Problem`, StoreError."""
        view = get_detail(self._stored, self._reads, self._parts.daily, visit.path("id"))
        kind, stage = kind_of(view), stage_of(view)
        common: dict[str, Any] = {
            "view": view, "kind": kind, "stage": stage, "shares": shares_of(view), **self._standing(view.id),
        }  # fmt: skip
        if stage in ("learning from history", "no events yet", "archived") or not view.audience:
            return visit.render("prediction_bare.html", **common)
        spread = get_distribution(self._stored, self._reads, self._parts.everyone, view.id)
        quality = get_quality(self._stored, self._reads, view.id, _WEEKS)
        drivers = get_drivers(self._stored, self._reads, view.id, _DRIVERS)
        selection = selection_of(visit.query, view)
        is_by_likelihood = visit.query.get("view") == "likelihood" and bool(spread.by_likelihood)
        return visit.render(
            "prediction.html",
            **common,
            distribution=spread,
            spread=_spread(view, spread, by_likelihood=is_by_likelihood),
            is_by_likelihood=is_by_likelihood,
            is_rank=is_rank(view),
            buckets=json.dumps([[r.low, r.high, r.users, r.mean_likelihood] for r in spread.by_score]),
            words=json.dumps(_words(visit, kind)),
            selection=selection,
            rank=selection_words(visit, kind, selection, is_rank=is_rank(view)),
            suggestions=suggestions(visit, view),
            estimate=_estimate_words(visit, view, self._estimate(view.id, selection)),
            against=hints_against(visit, view, stage),
            quality=quality,
            weeks=_weeks(visit, quality),
            calibrations=_calibrations(quality),
            touched=_touched(quality),
            entries=self._entries(view.id),
            drivers=_drivers(visit, drivers),
            model=drivers.model_version,
            learning_since=None if view.model is None else view.model.learning_since,
        )

    def _standing(self, id_: str) -> dict[str, Any]:
        """Who defines it, who changed it, and how far it has learned from history."""
        definer = self._parts.definer
        definitions = definer.view()
        found = definitions.whole.predictions.get(id_)
        is_own = found is not None and definitions.source("prediction", id_) == "api"
        return {
            "is_own": is_own,
            "is_archived": found is not None and found.archived,
            "changes": changes_of(definer.store, self._parts.services.keys, "prediction", id_) if is_own else None,
            "learning": learning_of(definer.store).get(id_),
        }

    def estimate(self, visit: Visit) -> Response:
        """What a selection comes to, as texts. Raises NotStored, `Problem`, StoreError."""
        view = get_prediction(self._stored, self._reads, visit.path("id"))
        found = self._estimate(view.id, selection_of(visit.query, view))
        return JSONResponse(_estimate_words(visit, view, found))

    def _estimate(self, id_: str, selection: Selection) -> EstimateView:
        low, high = (0.0, 100.0) if selection.category else (selection.low, selection.high)
        return estimate_range(
            self._stored, self._reads, self._parts.everyone, id_, low=low, high=high, category=selection.category
        )

    def _entries(self, id_: str) -> list[tuple[str, Entries]]:
        """How users came into each category, the highest first."""
        with self._stored.reader() as reader:
            state = together(self._stored.states(reader))
        if id_ not in state.catalog.predictions:
            return []  # it was changed meanwhile; the next look shows it
        found = entries_of(state, state.definitions.prediction_ids.index(id_))
        return list(zip(("high", "medium", "low"), reversed(found), strict=True))


# --- what is selected -------------------------------------------------------------------------------------------------


def _words(visit: Visit, kind: KindWord) -> dict[str, str]:
    """What the slider's script says."""
    t = TEXTS[visit.language]
    return {
        "top": t.rank_top[kind],
        "bottom": t.rank_bottom[kind],
        "between": t.rank_between,
        "everybody": t.rank_everybody,
        "scores": t.rank_scores,
        "about": t.about,
    }


def _estimate_words(visit: Visit, view: PredictionView, found: EstimateView) -> dict[str, str]:
    t, f = TEXTS[visit.language], visit.format
    share = found.in_audience / found.audience if found.audience else None
    rate = found.expected / found.in_audience if found.expected is not None and found.in_audience else None
    words = {
        "users": f.number(found.users),
        "share": t.of_audience.format(share=f.percent(share), audience=f.number(found.audience)),
        "expected": f.amount(found.expected),
        "expected_not": f.amount(found.expected_not),
        "rate": t.mean_likelihood.format(rate=f.percent(rate)),
        "past": t.last_period_none,
    }
    past = found.last_period
    if past is not None and past.actual_rate is not None:
        words["past"] = t.last_period[kind_of(view)].format(
            rate=f.percent(past.actual_rate), said=f.percent(past.mean_likelihood)
        )
    return words


def is_rank(view: PredictionView) -> bool:
    """Whether a range of scores is called a rank: those of a preview stay as they were, and the audience moves on."""
    return view.scale == "percentile" and view.access != "preview"


# --- charts -----------------------------------------------------------------------------------------------------------


def _spread(prediction: PredictionView, view: DistributionView, *, by_likelihood: bool) -> Spread:
    ranges = view.by_likelihood if by_likelihood else view.by_score
    is_rank_of_likelihood = by_likelihood and prediction.scale == "percentile"
    bounds = _ranks(ranges) if is_rank_of_likelihood else _bounds(ranges, 100.0 if by_likelihood else 1.0)
    xs = charts.middles(len(ranges))
    rates = [each.judged.actual_rate for each in ranges]
    said = [each.mean_likelihood for each in ranges]
    users_top, rate_top = charts.top_of([each.users for each in ranges]), charts.top_of([*rates, *said])
    return Spread(
        ranges=ranges,
        scores=[Scores(low, high, _category(prediction, (low + high) / 2)) for low, high in pairwise(bounds)],
        users=charts.bars([each.users for each in ranges], users_top),
        users_top=users_top,
        likelihood=charts.line(xs, said, rate_top),
        rate=charts.dots(list(zip(xs, rates, strict=True)), rate_top),
        rate_top=rate_top,
    )


def _bounds(ranges: list[RangeView], scale: float) -> list[float]:
    """The ends of buckets side by side, in points of the score."""
    return [scale * ranges[0].low, *(scale * each.high for each in ranges)]


def _ranks(ranges: list[RangeView]) -> list[float]:
    """The same of buckets of the likelihood, whose rank is the score: as many users come before each."""
    total = sum(each.users for each in ranges) or 1
    return [100.0 * before / total for before in accumulate((each.users for each in ranges), initial=0)]


def _category(prediction: PredictionView, score: float) -> Literal["low", "medium", "high"]:
    _, medium, high = prediction.categories
    return "high" if score >= high.low else "medium" if score >= medium.low else "low"


def _weeks(visit: Visit, quality: QualityView) -> Weeks | None:
    """None where fewer than two weeks can be judged: one is no course."""
    weeks = quality.events.weeks
    if sum(week.served.lift_quality is not None for week in weeks) < 2:
        return None
    xs = charts.ends(len(weeks))
    days = [visit.format.day(datetime.fromisoformat(weeks[place].start).date()) for place in (0, -1)]
    return Weeks(
        served=charts.line(xs, [_positive(week.served.lift_quality) for week in weeks], 100.0),
        baseline=charts.line(xs, [_positive(week.baseline.lift_quality) for week in weeks], 100.0),
        first=days[0],
        last=days[1],
    )


def _positive(value: float | None) -> float | None:
    """Worse than a random order is drawn as one."""
    return None if value is None else max(value, 0.0)


def _calibrations(quality: QualityView) -> list[Calibration]:
    """Of each kind of moments of which anything is judged, all on one axis."""
    kinds = {"events": quality.events, "silent": quality.silent, "crossings": quality.crossings}
    known = {
        name: [(g.mean_likelihood, g.actual_rate) for g in view.calibration if g.mean_likelihood is not None]
        for name, view in kinds.items()
    }
    top = charts.top_of([value for pairs in known.values() for pair in pairs for value in pair])
    return [
        Calibration(
            name,
            charts.dots([(round(charts.SIZE * (said or 0.0) / top, 2), rate) for said, rate in pairs], top),
            top,
            kinds[name].served.moments,
            kinds[name].served.expected_over_observed,
        )
        for name, pairs in known.items()
        if pairs
    ]


def _touched(quality: QualityView) -> list[Touched]:
    groups = quality.by_touch
    found = {"treated": groups.treated, "withheld": groups.withheld, "untouched": groups.untouched}
    return [Touched(name, view) for name, view in found.items() if view is not None]


def _drivers(visit: Visit, view: DriversView) -> list[DriverRow]:
    t, found = TEXTS[visit.language], view.drivers or []
    strongest = max((driver.strength for driver in found), default=1.0) or 1.0
    return [
        DriverRow(
            words=feature_words(t, visit.format, driver.feature, high=True),
            direction=driver.direction,
            factor=driver.odds_factor,
            width=round(charts.SIZE * driver.strength / strongest, 1),
        )
        for driver in found
    ]
