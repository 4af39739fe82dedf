"""Predictions and users as the store has them now."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from fastapi import FastAPI

from config.catalog import category_names
from config.errors import NotStored
from config.problems import closest
from models.snapshot import Status
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.stored import StoreReads
from streams.api.views import CategoryView, PredictionList, PredictionView, time_text
from streams.api.warm_up import warm_up_view
from streams.core.definitions import CATEGORIES
from streams.runtime.stored import StoredState, together
from streams.runtime.summary import edges, score_name, status_word


def add_predictions(app: FastAPI, stored: StoreReads, authenticator: Authenticator) -> None:
    """Add the routes of predictions."""

    @app.get(
        "/v1/predictions",
        tags=["predictions"],
        operation_id="listPredictions",
        summary="All predictions, with their audiences",
        responses=problems(),
        **access(authenticator, Role.READ),
    )
    def all_predictions() -> PredictionList:
        with stored.reader() as reader:
            shards = stored.shard_states(reader)
            judged = stored.with_learner(reader, shards)
        states = [state for _, state in shards]
        return PredictionList(items=[prediction_view(states, name, judged) for name in states[0].catalog.predictions])

    @app.get(
        "/v1/predictions/{prediction_id}",
        tags=["predictions"],
        operation_id="getPrediction",
        summary="One prediction",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    def one_prediction(prediction_id: str) -> PredictionView:
        with stored.reader() as reader:
            shards = stored.shard_states(reader)
            judged = stored.with_learner(reader, shards)
        states = [state for _, state in shards]
        require("prediction", prediction_id, states[0].catalog.predictions)
        return prediction_view(states, prediction_id, judged)


def prediction_view(states: list[StoredState], name: str, judged: StoredState | None = None) -> PredictionView:
    """One prediction over all shards; `judged`: with all that the learners know, for how far its warm-up is."""
    state = together(states)
    prediction = state.catalog.predictions[name]
    p = list(state.catalog.predictions).index(name)
    status = Status.WARMING if state.snapshot is None else state.snapshot.predictions[p].status
    users = state.population.categories[p].tolist()
    borders = edges(prediction)
    words = category_names(prediction.kind)
    warms_up = status == Status.WARMING  # learners that are not asked know nothing of its end
    return PredictionView(
        id=name,
        name=prediction.name,
        kind=prediction.kind,
        score_name=score_name(prediction),
        window_s=prediction.window_s,
        scale=prediction.scale,
        access=prediction.access,
        status=status_word(state.catalog, name, status),
        warm_up=warm_up_view(replace(judged, clock_s=state.clock_s), p) if judged is not None and warms_up else None,
        audience=int(state.population.counts[p].sum()),
        categories=[
            CategoryView(id=category, name=words[k], low=borders[k], high=borders[k + 1], users=users[k])
            for k, category in enumerate(CATEGORIES)
        ],
        clock=time_text(None if math.isnan(state.clock_s) else state.clock_s),
    )


def require(what: str, name: str, known: Iterable[str]) -> None:
    """Raises NotStored for a name that does not exist, with one that is meant perhaps."""
    known = list(known)
    if name not in known:
        near = closest(name, known)
        raise NotStored(f"no {what} is called {name[:100]!r}." + (f" Did you mean {near}?" if near else ""))
