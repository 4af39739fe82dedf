"""Predictions and users as the store has them now."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from fastapi import FastAPI

from config.catalog import category_names
from config.errors import NotStored
from models.snapshot import Status
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.keys import Role
from streams.api.stored import StoreReads
from streams.api.views import CategoryView, PredictionList, PredictionView, time_text
from streams.core.definitions import CATEGORIES
from streams.runtime.stored import StoredState
from streams.runtime.summary import edges, status_word


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
            states = stored.states(reader)
        return PredictionList(items=[prediction_view(states, name) for name in states[0].catalog.predictions])

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
            states = stored.states(reader)
        require("prediction", prediction_id, states[0].catalog.predictions)
        return prediction_view(states, prediction_id)


def prediction_view(states: list[StoredState], name: str) -> PredictionView:
    """One prediction over all shards; what it is comes from the shard with the latest models."""
    latest = max(states, key=lambda state: -1 if state.snapshot is None else state.snapshot.version)
    prediction = latest.catalog.predictions[name]
    p = list(latest.catalog.predictions).index(name)
    status = Status.WARMING if latest.snapshot is None else latest.snapshot.predictions[p].status
    users = [sum(int(state.population.categories[p][k]) for state in states) for k in range(len(CATEGORIES))]
    borders = edges(prediction)
    words = category_names(prediction.kind)
    return PredictionView(
        id=name,
        name=prediction.name,
        kind=prediction.kind,
        score_name="Churn Risk Score" if prediction.kind == "churn" else "Score",
        window_s=prediction.window_s,
        scale=prediction.scale,
        access=prediction.access,
        status=status_word(latest.catalog, name, status),
        audience=sum(int(state.population.counts[p].sum()) for state in states),
        categories=[
            CategoryView(id=category, name=words[k], low=borders[k], high=borders[k + 1], users=users[k])
            for k, category in enumerate(CATEGORIES)
        ],
        clock=time_text(max((state.clock_s for state in states if state.clock_s == state.clock_s), default=None)),
    )


def require(what: str, name: str, known: Iterable[str]) -> None:
    """Raises NotStored for a name that does not exist, with one that is meant perhaps."""
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise NotStored(f"no {what} is called {name[:100]!r}." + (f" Did you mean {near[0]}?" if near else ""))
