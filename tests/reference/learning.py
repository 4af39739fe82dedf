"""The models: river's own pipeline per prediction, learned example by example, and frozen copies of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from river import linear_model

from models.forgetting import ForgettingFTRL, ForgettingStandardScaler
from tests.reference.margins import Margins

WARMING, LIVE = 0, 2
BINS = 1_024
Z_MIN, Z_MAX = -12.0, 12.0


def sigmoid(z: float) -> float:
    """1 / (1 + e^-z) without overflow."""
    if z >= 0:
        return 1.0 / (1.0 + math.exp(-z))
    return math.exp(z) / (1.0 + math.exp(z))


def bin_of(z: float, margins: Margins) -> int:
    """The bin of the distribution F that a rank value falls into."""
    place = (z - Z_MIN) / (Z_MAX - Z_MIN) * BINS
    margins.note("distance to the edge of a bin", (place - round(place)) * (Z_MAX - Z_MIN) / BINS, 0.0)
    return min(max(math.floor(place), 0), BINS - 1)


class WarmupRule(Protocol):
    """Decides when one prediction leaves its warm-up."""

    def learned(self, example: Mapping[str, Any]) -> None:
        """An example was learned; `likelihood` is the shadow, that is what the model said even while warming up."""

    def beaten(self) -> bool:
        """Whether the model serves from now on. Asked after the examples of an hour."""
        ...


class LiveAfter:
    """Leaves the warm-up after a fixed number of learned examples."""

    def __init__(self, examples: int) -> None:
        self.left = examples

    def learned(self, example: Mapping[str, Any]) -> None:  # noqa: ARG002
        self.left -= 1

    def beaten(self) -> bool:
        return self.left <= 0


@dataclass(slots=True)
class FrozenModel:
    """A copy of a pipeline's numbers at one version."""

    weights: dict[int, float]
    intercept: float
    means: dict[int, float]
    variances: dict[int, float]

    def logit(self, x: list[float]) -> float:
        """The rank value of a row of features: what river's pipeline would put into its sigmoid."""
        z = self.intercept
        for i, value in enumerate(x):
            variance = self.variances.get(i, 0.0)
            scaled = (value - self.means.get(i, 0.0)) / math.sqrt(variance) if variance else 0.0
            z += self.weights.get(i, 0.0) * scaled
        return z


class OnlineModel:
    """`ForgettingStandardScaler | LogisticRegression(ForgettingFTRL)` over columns by their number."""

    def __init__(self, memory_examples: int) -> None:
        self.pipeline = ForgettingStandardScaler(memory_examples=memory_examples) | linear_model.LogisticRegression(
            optimizer=ForgettingFTRL(alpha=0.05, beta=1.0, memory_examples=memory_examples), l2=0.0
        )

    def learn(self, x: list[float], label: int, weight: float) -> None:
        """One example."""
        self.pipeline.learn_one(dict(enumerate(x)), bool(label), w=weight)

    def freeze(self) -> FrozenModel:
        """The numbers as they are now."""
        scaler = self.pipeline["ForgettingStandardScaler"]
        regression = self.pipeline["LogisticRegression"]
        return FrozenModel(dict(regression.weights), regression.intercept, dict(scaler.means), dict(scaler.vars))


@dataclass(slots=True)
class PredictionVersion:
    """One prediction in a snapshot: its status, its model, and F as users per bin."""

    status: int
    model: FrozenModel
    bins: dict[int, int]

    def percentile(self, z: float, margins: Margins) -> float:
        """100 (below + same / 2) / n over F; 50 when F is empty."""
        n = sum(self.bins.values())
        if n == 0:
            return 50.0
        here = bin_of(z, margins)
        below = sum(users for bin_, users in self.bins.items() if bin_ < here)
        return 100.0 * (below + self.bins.get(here, 0) / 2) / n


@dataclass(slots=True)
class Version:
    """A snapshot of all predictions. `number` is hours since 1970, 0 before the first."""

    number: int
    predictions: dict[str, PredictionVersion]


class Learner:
    """All predictions' models, learned in lock-step with the shard, and where each stands in its warm-up."""

    def __init__(self, memories: dict[str, int], warmup: Callable[[str], WarmupRule]) -> None:
        self.models = {id_: OnlineModel(memory) for id_, memory in memories.items()}
        self.rules = {id_: warmup(id_) for id_ in memories}
        self.status = dict.fromkeys(memories, WARMING)

    def learn(self, prediction: str, examples: list[dict[str, Any]]) -> None:
        """The examples of one hour, in order; then the prediction may be live."""
        for example in examples:
            self.models[prediction].learn(example["x"], example["label"], example["weight"])
            self.rules[prediction].learned(example)
        if self.status[prediction] == WARMING and examples and self.rules[prediction].beaten():
            self.status[prediction] = LIVE

    def snapshot(self, number: int, bins: dict[str, dict[int, int]]) -> Version:
        """The models as they are now together with the given distributions."""
        return Version(
            number,
            {id_: PredictionVersion(self.status[id_], model.freeze(), bins[id_]) for id_, model in self.models.items()},
        )
