"""What was said of a user over time, as far back as the store keeps it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from config.errors import NotStored
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.everyone import Everyone
from streams.api.gone import refuse_deleted
from streams.api.keys import Role
from streams.api.read_predictions import require
from streams.api.services import Services
from streams.api.user_search import User
from streams.api.views import time_text
from streams.core.partition import shard_of
from streams.runtime.past_likelihoods import past_likelihoods

Prediction = Annotated[str, Query(min_length=1, max_length=200, description="By what.", examples=["orders_7d"])]
Limit = Annotated[int, Query(ge=1, le=1_000, description="At most so many, the latest ones.")]


class SaidView(BaseModel):
    """What was said at one moment."""

    time: str = Field(examples=["2026-05-28T20:26:40Z"])
    moment: Literal["event", "silent", "crossing"] = Field(
        description="An event of the user; the weekly moment of one who is silent; a change of the category in silence."
    )
    likelihood: float | None = Field(description="null in the warm-up, and outside of the audience.", examples=[0.3127])
    score: float | None
    category: str | None


class SaidList(BaseModel):
    """A user's likelihoods over time, oldest first."""

    user_id: str
    prediction_id: str
    items: list[SaidView]
    reaches_back_s: float = Field(description="Moments are kept for so long, in seconds: the longest window.")
    is_sampled: bool = Field(description="Whether so many moments wait that only some of them are kept.")
    complete: bool = Field(description="false: there are more than `limit`.")


def add_likelihoods(app: FastAPI, services: Services, everyone: Everyone, authenticator: Authenticator) -> None:
    """Add the route."""

    @app.get(
        "/v1/likelihoods",
        tags=["users"],
        operation_id="listLikelihoods",
        summary="What was said of a user over the latest windows",
        responses=problems(404, 410, 422),
        **access(authenticator, Role.READ),
    )
    def likelihoods(user: User, prediction: Prediction, limit: Limit = 100) -> SaidList:
        return list_likelihoods(services, everyone, user, prediction, limit)


def list_likelihoods(services: Services, everyone: Everyone, user: str, prediction: str, limit: int) -> SaidList:
    """What was said of a user. Raises NotStored, `Problem` (for one who was deleted, too), StoreError."""
    stored = services.stored
    with stored.reader() as reader, everyone.turn() as check:
        states = stored.shard_states(reader)
        require("prediction", prediction, states[0].state.catalog.predictions)
        shard = shard_of(user, reader.info.shards)
        state = next((each for number, each in states if number == shard), None)
        judged = stored.with_learner(reader, states)
        since_s = judged.served_from_s(judged.definitions.prediction_ids.index(prediction))
        found = None
        if state is not None and prediction in state.catalog.predictions:
            p = state.definitions.prediction_ids.index(prediction)
            found = past_likelihoods(reader, state, user, p, since_s, check)
        if state is None or found is None:
            refuse_deleted(reader, user, services.ledger_key)
            raise NotStored(f"nobody has seen a user {user[:100]!r}; ids are as in the events")
    return SaidList(
        user_id=user,
        prediction_id=prediction,
        items=[
            SaidView(
                time=time_text(said.time_s) or "",
                moment=said.moment,
                likelihood=said.likelihood,
                score=said.score,
                category=said.category,
            )
            for said in found.said[-limit:]
        ],
        reaches_back_s=max(each.window_s for each in state.catalog.predictions.values()),
        is_sampled=found.is_sampled,
        complete=len(found.said) <= limit,
    )
