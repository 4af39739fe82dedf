"""Reasons: which features make a user's likelihood higher or lower than that of a usual example.

For a linear model the logit is bias + sum of w_i x_i, so w_i (x_i - mean_i) is what feature i adds to the
logit compared with a user whose feature is at the mean of the learned examples, and all of them together
are exactly the difference between the two users. The five largest by absolute value are the reasons.
Features that say much the same (counts at several half-lives) share their effect in an arbitrary way, so
a reason says what the model looks at, and not what would happen if the feature changed.

Models that are not linear have no weights and therefore no reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models.jit import F32, F64

TOP: Final = 5

_UNITS: Final = {"m": "minute", "h": "hour", "d": "day", "w": "week"}
_MANY: Final = ("many", "few")
_LONG: Final = ("long", "short")
_LONG_OR_NEVER: Final = ("long, or never", "short")
_HIGH: Final = ("high", "low")
_FIXED: Final[dict[str, tuple[str, tuple[str, str]]]] = {
    "sessions": ("sessions", _MANY),
    "age": ("time since the first event", _LONG),
    "gap:mean": ("usual time between events", _LONG),
    "gap:last": ("latest time between events", _LONG),
    "recency": ("time since the last event", _LONG),
    "recency/gap": ("silence compared with the usual time between events", _LONG),
    "value:last": ("latest value", _HIGH),
    "value:mean": ("mean value", _HIGH),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One feature's part in a likelihood."""

    feature: str
    contribution: float
    """What it adds to the logit, against a feature at its mean; its absolute value is the strength."""
    level: Literal["high", "low"]
    """Where the user's feature lies, against the mean."""

    @property
    def direction(self) -> Literal["raises", "lowers"]:
        """What it does to the likelihood."""
        return "raises" if self.contribution > 0.0 else "lowers"

    @property
    def strength(self) -> float:
        return abs(self.contribution)

    def __str__(self) -> str:
        """For people: `Order Completed in about the last 7 days: many (+0.8)`."""
        return f"{describe(self.feature, high=self.level == 'high')} ({self.contribution:+.1f})"


def reasons(weights: F64, means: F64, x: F32, names: Sequence[str], top: int = TOP) -> tuple[Reason, ...]:
    """The strongest contributions of one row, strongest first; equal ones in column order, none that are 0.

    `weights` float64[F] on raw features, `means` float64[F], `x` float32[F], one name per feature.
    Raises ValueError when they are not equally long.
    """
    if not weights.shape == means.shape == x.shape == (len(names),):
        raise ValueError(f"{weights.shape}, {means.shape}, {x.shape} and {len(names)} names do not fit together")
    away = x.astype(np.float64) - means
    contributions = weights * away
    order = np.argsort(-np.abs(contributions), kind="stable")[:top]
    return tuple(
        Reason(names[i], float(contributions[i]), "high" if away[i] > 0.0 else "low")
        for i in order.tolist()
        if contributions[i] != 0.0
    )


def describe(feature: str, *, high: bool) -> str:
    """A feature's name and where it lies, in words: `time since the last Order Completed: short`.

    Counts and sums fade with a half-life, which "about the last" stands for. A name that is not known
    stays as it is.
    """
    subject, words = _subject(feature)
    if feature.startswith("trait:") and "=" in feature:
        trait, _, value = feature.removeprefix("trait:").partition("=")
        return f"{trait} is {value}" if high else f"{trait} is not {value}"
    return f"{subject}: {words[0] if high else words[1]}"


def _subject(feature: str) -> tuple[str, tuple[str, str]]:
    """What is measured, and the words for much and little of it."""
    if feature in _FIXED:
        return _FIXED[feature]
    kind, _, rest = feature.partition(":")
    if kind == "count" and ":" in rest:
        name, _, half_life = rest.rpartition(":")
        return f"{_event(name)} in about the last {_duration(half_life)}", _MANY
    if not rest:
        return feature, _HIGH
    subjects = {
        "total": (f"{_event(rest)} in total", _MANY),
        "since": (f"time since the last {_event(rest)}", _LONG_OR_NEVER),
        "value": (f"value in about the last {_duration(rest)}", _HIGH),
        "trait": (rest, _HIGH),
    }
    return subjects.get(kind, (feature, _HIGH))


def _event(name: str) -> str:
    return "other event" if name == "*" else name


def _duration(text: str) -> str:
    """`7d` as `7 days`, `1d` as `day`; anything else as it is."""
    number, unit = text[:-1], _UNITS.get(text[-1:], "")
    if not unit or not number.replace(".", "", 1).isdigit():
        return text
    return unit if number == "1" else f"{number} {unit}s"
