"""What raises and lowers a prediction's likelihood for everybody, from the weights of its model.

For a linear model on standardised features, the weight of a feature says what one standard deviation more of it adds
to the logit. Snapshots hold weights on raw features (models/pipeline.py, `fold`), the learner how much each spreads.
Features that say much the same (counts at several half-lives) share their effect in an arbitrary way, as in reasons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.jit import F64
from models.pipeline import FLAT_LOGIT, CompiledLogistic
from models.reasons import describe
from models.snapshot import PredictionSnapshot
from streams.runtime.stored import StoredState


@dataclass(frozen=True, slots=True)
class Driver:
    """One feature's part in the likelihoods of all."""

    feature: str
    words: str
    """What much of it is: `Order Completed in about the last 7 days: many`."""
    effect: float
    """What one standard deviation more of it adds to the logit; its absolute value is the strength."""

    @property
    def direction(self) -> Literal["raises", "lowers"]:
        """What much of it does to the likelihood."""
        return "raises" if self.effect > 0.0 else "lowers"


def drivers(weights: F64, variances: F64, names: Sequence[str], top: int) -> list[Driver]:
    """The strongest first; equal ones in column order, none without an effect.

    `weights` float64[F] on raw features, `variances` float64[F] of those, one name per feature.
    Raises ValueError when they are not equally long.
    """
    if not weights.shape == variances.shape == (len(names),):
        raise ValueError(f"{weights.shape}, {variances.shape} and {len(names)} names do not fit together")
    effects = weights * np.sqrt(variances)
    order = np.argsort(-np.abs(effects), kind="stable")[:top].tolist()
    return [Driver(names[i], describe(names[i], high=True), float(effects[i])) for i in order if effects[i] != 0.0]


def drivers_of(state: StoredState, snapshot: PredictionSnapshot, p: int, top: int) -> list[Driver] | None:
    """Of prediction number `p`; `state` with the learner's. None for a model without weights of its own."""
    model = state.learner.predictions[p].model
    if snapshot.model is not None or not isinstance(model, CompiledLogistic):
        return None
    return drivers(snapshot.weights, model.variances, state.vocabulary.feature_names(), top)


def likelihood_at_means(snapshot: PredictionSnapshot) -> float:
    """Of somebody who is at the mean in everything: what the effects are added to."""
    logit = snapshot.bias + float(snapshot.weights @ snapshot.means)
    return 1.0 / (1.0 + math.exp(-min(max(logit, -FLAT_LOGIT), FLAT_LOGIT)))
