"""Predictions as routes tell them: which there are, where they stand, how one is shown. No route finds out itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from config.catalog import Catalog, Prediction, category_names
from config.errors import NotStored
from config.problems import closest
from models.snapshot import Status
from streams.adapters.definition_store import DefinitionStore, Past
from streams.api.judged_views import latest_model
from streams.api.views import CategoryView, PredictionView, time_text
from streams.api.warm_up import warm_up_view
from streams.core.definitions import CATEGORIES
from streams.core.questions import kept_predictions
from streams.runtime.stored import StoredState, together
from streams.runtime.summary import edges, score_name, status_word

LEARNING: Final = "learning from history"
NO_EVENTS: Final = "no events yet"
BEING_SCORED: Final = "preview, being scored"
_GOING_ON: Final = ("reading", "joining")
_NOBODY: Final = (0,) * len(CATEGORIES)


@dataclass(frozen=True, slots=True)
class Standings:
    """Where all predictions stand at one moment. Pure."""

    states: list[StoredState]
    """Of the shards that have committed."""
    past: Past | None = None
    """How far workers are with learning from history; None where they tell of nothing."""
    defined: Mapping[str, Prediction] = field(default_factory=dict)
    """As they are defined now. Shards take changes up within a second; for those that are not here theirs count."""

    @property
    def ids(self) -> list[str]:
        """All of them: first those that shards know, in their order, then those that they do not know yet."""
        known = list(self.states[0].catalog.predictions) if self.states else []
        return list(dict.fromkeys([*known, *self.defined]))

    def status(self, id_: str) -> str:
        """In words (docs/api.md). Of a prediction in `ids`."""
        prediction = self._prediction(id_)
        if not prediction.archived and not self.states and not self._is_read(id_):
            return NO_EVENTS
        if not prediction.archived and self._is_learned(id_):
            return LEARNING
        status = self._model_status(id_)
        if self._is_to_be_frozen(prediction) and status == Status.LIVE and self.frozen_at_s(id_) is None:
            return BEING_SCORED
        return status_word(prediction, status)

    def frozen_at_s(self, id_: str) -> float | None:
        """As of which event time everybody was scored for good, in the last shard that has; None before."""
        if self._prediction(id_).access != "preview":
            return None
        found = [
            state.frozen_s[list(state.catalog.predictions).index(id_)] if id_ in state.catalog.predictions else None
            for state in self.states
            if not math.isnan(state.clock_s)  # the others have nobody
        ]
        known = [at_s for at_s in found if at_s is not None]
        return max(known) if known and len(known) == len(found) else None

    def require(self, id_: str) -> None:
        """Raises NotStored for what is no prediction, and for one of which shards have nothing to show yet."""
        require("prediction", id_, self.ids)
        if not self._is_known(id_):
            status = self.status(id_)
            raise NotStored(
                f"the prediction {id_!r} is {status} and has no scores; GET /v1/predictions/{id_} tells more"
            )

    def view(self, id_: str, judged: StoredState | None = None) -> PredictionView:
        """One over all shards; `judged`: with all that the learners know, for how far its warm-up is.

        Raises NotStored for one that there is not.
        """
        require("prediction", id_, self.ids)
        prediction, borders = self._prediction(id_), edges(self._prediction(id_))
        words = category_names(prediction.kind)
        state = together(self.states) if self.states else None
        known = state if self._is_known(id_) else None
        p = -1 if known is None else list(known.catalog.predictions).index(id_)
        users = _NOBODY if known is None else known.population.categories[p].tolist()
        # Learners that are not asked know nothing of its end.
        warms_up = known is not None and not prediction.archived and self._model_status(id_) == Status.WARMING
        return PredictionView(
            id=id_,
            name=prediction.name,
            kind=prediction.kind,
            score_name=score_name(prediction),
            window_s=prediction.window_s,
            scale=prediction.scale,
            access=prediction.access,
            status=self.status(id_),
            frozen_at=time_text(self.frozen_at_s(id_)),
            warm_up=warm_up_view(replace(judged, clock_s=known.clock_s, population=known.population), p)
            if judged is not None and known is not None and warms_up
            else None,
            audience=0 if known is None else int(known.population.counts[p].sum()),
            categories=[
                CategoryView(id=category, name=words[k], low=borders[k], high=borders[k + 1], users=users[k])
                for k, category in enumerate(CATEGORIES)
            ],
            clock=time_text(None if state is None or math.isnan(state.clock_s) else state.clock_s),
        )

    def _prediction(self, id_: str) -> Prediction:
        found = self.defined.get(id_)
        return self.states[0].catalog.predictions[id_] if found is None else found

    def _is_to_be_frozen(self, prediction: Prediction) -> bool:
        """Not those of a replay, which ends by itself."""
        is_live = any(state.run is None for state in self.states)
        return is_live and prediction.access == "preview" and not prediction.archived

    def _is_learned(self, id_: str) -> bool:
        """From history: shards are to take it up, wait for what is read (which they know before and after anybody
        tells how far that is), or it is being read.
        """
        if self._is_read(id_) or not self._is_known(id_):
            return True
        # What could not be read is awaited still, and will not come: it learns from now on.
        return self._phase(id_) != "failed" and any(id_ in state.awaited for state in self.states)

    def _phase(self, id_: str) -> str | None:
        """Of the log's reading for it; None where workers tell of none."""
        return self.past.phase if self.past is not None and id_ in self.past.predictions else None

    def _is_read(self, id_: str) -> bool:
        return self._phase(id_) in _GOING_ON

    def _is_known(self, id_: str) -> bool:
        """Whether all shards answer what it asks now: scores of another goal or window are none of its own."""
        prediction = self._prediction(id_)
        return bool(self.states) and all(
            id_ in state.catalog.predictions and _asks_the_same(state.catalog, id_, prediction) for state in self.states
        )

    def _model_status(self, id_: str) -> Status:
        model = latest_model(self.states, id_)
        return Status.WARMING if model is None else model.status


def _asks_the_same(catalog: Catalog, id_: str, prediction: Prediction) -> bool:
    if catalog.predictions[id_] == prediction:
        return True
    changed = catalog.model_copy(update={"predictions": {**catalog.predictions, id_: prediction}})
    return prediction.archived or id_ in kept_predictions(catalog, changed)


class PredictionReads:
    """What routes ask for where predictions stand. May be used by several threads.

    `defined` tells all predictions that are in force, as they are defined now.
    """

    def __init__(self, definitions: DefinitionStore, defined: Callable[[], Mapping[str, Prediction]]) -> None:
        self._definitions = definitions
        self._defined = defined

    def standings(self, states: list[StoredState]) -> Standings:
        """As of these states. Raises StoreError."""
        return Standings(states, self._definitions.past(), self._defined())

    def standings_of_shard(self, state: StoredState) -> Standings:
        """As one shard has them, by the definitions that it works with. Raises StoreError."""
        return Standings([state], self._definitions.past())


def require(what: str, name: str, known: Iterable[str]) -> None:
    """Raises NotStored for a name that does not exist, with one that is meant perhaps."""
    known = list(known)
    if name not in known:
        near = closest(name, known)
        raise NotStored(f"no {what} is called {name[:100]!r}." + (f" Did you mean {near}?" if near else ""))
