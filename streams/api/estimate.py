"""What a selection comes to before a segment is made of it: users, how many will do it, and what happened last time."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field

from config.catalog import Filter
from config.errors import NotKept
from config.written import written
from streams.api.auth import Authenticator, access
from streams.api.bodies import Bodies, described
from streams.api.document import problems
from streams.api.everyone import Everyone
from streams.api.judged_views import JudgedView, judged_view, why_nothing_is_judged
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.api.read_predictions import PredictionReads, require
from streams.api.stored import StoreReads
from streams.api.views import time_text
from streams.core.definitions import CATEGORIES
from streams.runtime.estimates import Estimate, of_filter, of_range, range_filter, why_no_segment
from streams.runtime.past import Past, last_window
from streams.runtime.stored import StoredState

_EMPTY: Final = "min is not below max, so nobody can be in it"
_NOT_KEPT: Final = (
    "of the past, moments are kept by score in steps of five points, or by category; not by other filters"
)

Low = Annotated[float, Query(alias="min", ge=0, le=100, description="Scores from here,", examples=[75])]
High = Annotated[float, Query(alias="max", ge=0, le=100, description="to below here; 100 is included.", examples=[100])]
CategoryName = Annotated[Literal["low", "medium", "high"] | None, Query(description="Only users of this category.")]


_EXAMPLE: Final[Any] = {
    "filter": {
        "all": [
            {"prediction": "orders_7d", "score": {"min": 75}},
            {"trait": "country", "equals": "AT"},
            {"event": "Product Viewed", "since": {"max": "7d"}},
        ]
    }
}


class EstimateRequest(BaseModel):
    """Any filter of the catalog's language (docs/catalog.md)."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})
    filter: Filter


class LastPeriodView(JudgedView):
    """Moments of past weeks that were served the same, whose windows have closed since."""

    start: str = Field(description="From this Monday on (UTC),")
    end: str = Field(description="to before this one: the weeks that hold the latest window which has closed.")
    min: float | None = Field(description="The scores that are counted, in whole steps of five points;")
    max: float | None = Field(description="null where a category is.")
    category: str | None


class SegmentToBeView(BaseModel):
    """The segment that could be made of it."""

    filter: dict[str, Any] | None = Field(description="Its filter, as the catalog has it; null for an empty range.")
    possible: bool
    reasons: list[str] = Field(description="What speaks against it.")


class EstimateView(BaseModel):
    """A selection as of now, seen from one prediction."""

    prediction_id: str = Field(examples=["orders_7d"])
    status: str = Field(description="Of the prediction.", examples=["live"])
    as_of: str = Field(description="When the users were counted.", examples=["2026-05-28T20:26:40Z"])
    users: int = Field(description="Everybody who is selected: the size of a segment with this filter.")
    audience: int = Field(description="Users in the prediction's audience.")
    in_audience: int = Field(description="Those of the selected who are in it.")
    expected: float | None = Field(
        description="How many of these are expected to do it within the window: the sum of their likelihoods. null "
        "while the prediction warms up."
    )
    expected_not: float | None = Field(description="How many are expected not to.")
    expected_of_audience: float | None = Field(description="How many of the whole audience are expected to do it.")
    waiting: int = Field(description="Users whose turn since the prediction went live is still to come; not counted.")
    last_period: LastPeriodView | None
    no_last_period: str | None = Field(description="Why there is none.")
    segment: SegmentToBeView


def add_estimate(
    app: FastAPI,
    stored: StoreReads,
    reads: PredictionReads,
    everyone: Everyone,
    authenticator: Authenticator,
    bodies: Bodies,
) -> None:
    """Add the routes."""
    wanted = bodies.of(EstimateRequest)
    given = access(authenticator, Role.READ)
    given["openapi_extra"] |= described(EstimateRequest)

    @app.get(
        "/v1/predictions/{prediction_id}/estimate",
        tags=["predictions"],
        operation_id="estimateRange",
        summary="What a range of scores or a category comes to",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def of_scores(
        prediction_id: str, low: Low = 0.0, high: High = 100.0, category: CategoryName = None
    ) -> EstimateView:
        if low > high:
            words = f"min is {low:g}, and max {high:g}: min may not be above max"
            raise Problem(Kind.INVALID_PARAMETERS, words)
        return estimate_range(stored, reads, everyone, prediction_id, low=low, high=high, category=category)

    @app.post(
        "/v1/predictions/{prediction_id}/estimate",
        tags=["predictions"],
        operation_id="estimateFilter",
        summary="What any filter comes to",
        responses=problems(400, 404, 408, 409, 413, 415, 422),
        **given,
    )
    def of_any(prediction_id: str, request: EstimateRequest = wanted) -> EstimateView:
        return estimate_filter(stored, reads, everyone, prediction_id, request.filter)


def estimate_range(
    stored: StoreReads,
    reads: PredictionReads,
    everyone: Everyone,
    prediction_id: str,
    *,
    low: float = 0.0,
    high: float = 100.0,
    category: str | None = None,
) -> EstimateView:
    """Of a range of scores [low, high), closed at 100, or a category. Raises NotStored, `Problem`, StoreError."""
    with stored.reader() as reader:
        reads.standings([stored.a_state(reader)]).require(prediction_id)
        tables = everyone.tables(reader)
        judged = stored.with_learner(reader, tables.states)
    require("prediction", prediction_id, tables.tables)
    estimate = of_range(tables.tables[prediction_id], low, high, category)
    states = [state for _, state in tables.states]
    return _view(
        prediction_id,
        estimate,
        status=reads.standings(states).status(prediction_id),
        as_of_s=tables.as_of_s,
        segment=_segment_of_range(states, prediction_id, low, high, category),
        past=_past_of_range(judged, prediction_id, low, high, category),
    )


def estimate_filter(
    stored: StoreReads, reads: PredictionReads, everyone: Everyone, prediction_id: str, tree: Filter
) -> EstimateView:
    """Of any filter, seen from one prediction. Raises NotStored, `Problem`, StoreError."""
    with stored.reader() as reader:
        states = stored.shard_states(reader)
        state = states[0].state
        standings = reads.standings([each for _, each in states])
        standings.require(prediction_id)
        as_of_s = everyone.wall()
        p = state.definitions.prediction_ids.index(prediction_id)
        try:
            reasons = why_no_segment([each for _, each in states], tree)
            with everyone.scan(reader, states) as pages:
                estimate = of_filter(pages, states, tree, p)
        except NotKept as error:
            raise Problem(Kind.CANNOT_ESTIMATE, str(error)) from error
    given = written(tree)
    segment = SegmentToBeView(filter=given, possible=not reasons, reasons=reasons)
    return _view(
        prediction_id,
        estimate,
        status=standings.status(prediction_id),
        as_of_s=as_of_s,
        segment=segment,
        past=_NOT_KEPT,
    )


def _view(
    name: str,
    estimate: Estimate,
    *,
    status: str,
    as_of_s: float,
    segment: SegmentToBeView,
    past: LastPeriodView | str,
) -> EstimateView:
    inside, audience = estimate.inside, estimate.audience
    is_known = inside.with_likelihood > 0 or (audience.with_likelihood > 0 and not inside.users)
    return EstimateView(
        prediction_id=name,
        status=status,
        as_of=time_text(as_of_s) or "",
        users=estimate.users,
        audience=audience.users,
        in_audience=inside.users,
        expected=inside.expected if is_known else None,
        expected_not=inside.with_likelihood - inside.expected if is_known else None,
        expected_of_audience=audience.expected if audience.with_likelihood else None,
        waiting=estimate.waiting,
        last_period=None if isinstance(past, str) else past,
        no_last_period=past if isinstance(past, str) else None,
        segment=segment,
    )


def _segment_of_range(
    states: list[StoredState], name: str, low: float, high: float, category: str | None
) -> SegmentToBeView:
    if low >= high:
        return SegmentToBeView(filter=None, possible=False, reasons=[_EMPTY])
    tree = range_filter(name, low, high, category)
    reasons = why_no_segment(states, tree)
    given = written(tree)
    return SegmentToBeView(filter=given, possible=not reasons, reasons=reasons)


def _past_of_range(
    state: StoredState, name: str, low: float, high: float, category: str | None
) -> LastPeriodView | str:
    """What happened, or why that is not known."""
    if low >= high:
        return _EMPTY
    if category is not None and (low, high) != (0.0, 100.0):
        return _NOT_KEPT
    p = state.definitions.prediction_ids.index(name)
    prediction, quality = state.catalog.predictions[name], state.learner.predictions[p].quality
    past = last_window(quality, prediction, state.catalog.time.lateness_s, state.clock_s)
    if past is None:
        return why_nothing_is_judged(state, p)
    if category is None:
        first, end, bucket = past.of_scores(low, high)
        return _last_period(past, judged_view(bucket), first, end, None)
    bucket = past.selection.categories()[CATEGORIES.index(category)]
    return _last_period(past, judged_view(bucket), None, None, category)


def _last_period(
    past: Past, judged: JudgedView, low: float | None, high: float | None, category: str | None
) -> LastPeriodView:
    return LastPeriodView(
        **judged.model_dump(),
        start=time_text(past.from_s) or "",
        end=time_text(past.until_s) or "",
        min=low,
        max=high,
        category=category,
    )
