"""How a prediction spreads over its audience: by score, by category and by likelihood."""

from __future__ import annotations

from itertools import pairwise

from fastapi import FastAPI
from pydantic import BaseModel, Field

from config.catalog import category_names
from models.quality import Bucket, Selection
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.everyone import Everyone
from streams.api.judged_views import JudgedView, judged_view, why_nothing_is_judged
from streams.api.keys import Role
from streams.api.read_predictions import PredictionReads, Standings, require
from streams.api.stored import StoreReads
from streams.api.views import time_text
from streams.core.definitions import CATEGORIES
from streams.runtime.past import by_likelihood
from streams.runtime.score_table import LIKELIHOOD_EDGES, SCORE_BUCKETS, ScoreTable, Sums
from streams.runtime.stored import StoredState
from streams.runtime.summary import edges


class GroupView(BaseModel):
    """Users of the audience now, and moments of the past that were served the same."""

    users: int = Field(examples=[6120])
    mean_likelihood: float | None = Field(description="Of these users; null while it warms up.", examples=[0.31])
    judged: JudgedView = Field(description="All moments that were served the same and whose outcome is known.")


class RangeView(GroupView):
    """A bucket [low, high); the highest one is closed."""

    low: float = Field(examples=[95.0])
    high: float = Field(examples=[100.0])


class CategoryGroupView(GroupView):
    """One category. With hysteresis, users may be in one whose range their score has just left."""

    id: str = Field(examples=["high"])
    name: str = Field(examples=["High"])
    low: float = Field(description="Its scores are from here,")
    high: float = Field(description="to below here (100 belongs to the highest).")


class DistributionView(BaseModel):
    """A prediction over its whole audience."""

    prediction_id: str = Field(examples=["orders_7d"])
    status: str = Field(examples=["live"])
    frozen_at: str | None = Field(
        description="Previews: as of when everybody was scored for good; null until all shards have done it."
    )
    scale: str = Field(description="Buckets of a `percentile` hold about equally many users: it is a rank.")
    as_of: str = Field(description="When the users were counted.", examples=["2026-05-28T20:26:40Z"])
    audience: int = Field(description="Users who are counted here.")
    waiting: int = Field(description="Users whose turn since the prediction went live is still to come; not counted.")
    by_score: list[RangeView] = Field(description="20 buckets of five points.")
    by_category: list[CategoryGroupView]
    by_likelihood: list[RangeView] = Field(
        description="20 buckets, narrow at the bottom. Empty while the prediction warms up."
    )
    not_judged: str | None = Field(description="Why no outcome is known; null where some are.")


def add_distribution(
    app: FastAPI, stored: StoreReads, reads: PredictionReads, everyone: Everyone, authenticator: Authenticator
) -> None:
    """Add the route."""

    @app.get(
        "/v1/predictions/{prediction_id}/distribution",
        tags=["predictions"],
        operation_id="getDistribution",
        summary="Users, mean likelihood and actual rate by score, category and likelihood",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def distribution(prediction_id: str) -> DistributionView:
        return get_distribution(stored, reads, everyone, prediction_id)


def get_distribution(
    stored: StoreReads, reads: PredictionReads, everyone: Everyone, prediction_id: str
) -> DistributionView:
    """Of one prediction. Raises NotStored, `Problem`, StoreError."""
    with stored.reader() as reader:
        reads.standings([stored.a_state(reader)]).require(prediction_id)
        tables = everyone.tables(reader)
        judged = stored.with_learner(reader, tables.states)
    require("prediction", prediction_id, tables.tables)
    standings = reads.standings([state for _, state in tables.states])
    return _view(prediction_id, tables.tables[prediction_id], standings, judged, tables.as_of_s)


def _view(name: str, table: ScoreTable, standings: Standings, judged: StoredState, as_of_s: float) -> DistributionView:
    p = judged.definitions.prediction_ids.index(name)
    prediction = judged.catalog.predictions[name]
    past = judged.learner.predictions[p].quality.select()
    width = 100.0 / SCORE_BUCKETS
    score_edges = [k * width for k in range(SCORE_BUCKETS + 1)]
    has_likelihoods = bool(len(table.score)) and any(each.with_likelihood for each in table.by_score())
    return DistributionView(
        prediction_id=name,
        status=standings.status(name),
        frozen_at=time_text(standings.frozen_at_s(name)),
        scale=prediction.scale,
        as_of=time_text(as_of_s) or "",
        audience=len(table.score),
        waiting=table.waiting,
        by_score=_ranges(score_edges, table.by_score(), past.score_buckets()),
        by_category=_categories(judged, name, table, past),
        by_likelihood=_ranges(LIKELIHOOD_EDGES, table.by_likelihood(), by_likelihood(past)) if has_likelihoods else [],
        not_judged=None if past.n else why_nothing_is_judged(judged, p),
    )


def _ranges(
    bounds: list[float] | tuple[float, ...], users: list[Sums], past: list[Bucket] | tuple[Bucket, ...]
) -> list[RangeView]:
    return [
        RangeView(low=low, high=high, users=now.users, mean_likelihood=now.mean_likelihood, judged=judged_view(then))
        for (low, high), now, then in zip(pairwise(bounds), users, past, strict=True)
    ]


def _categories(state: StoredState, name: str, table: ScoreTable, past: Selection) -> list[CategoryGroupView]:
    prediction = state.catalog.predictions[name]
    borders, words = edges(prediction), category_names(prediction.kind)
    return [
        CategoryGroupView(
            id=category,
            name=words[k],
            low=borders[k],
            high=borders[k + 1],
            users=now.users,
            mean_likelihood=now.mean_likelihood,
            judged=judged_view(then),
        )
        for k, (category, now, then) in enumerate(zip(CATEGORIES, table.by_category(), past.categories(), strict=True))
    ]
