"""What is said about a user at a moment: rank value, likelihood, score, category."""

from __future__ import annotations

import math

from tests.reference.definitions import PredictionRule
from tests.reference.filters import Answer
from tests.reference.learning import LIVE, WARMING, PredictionVersion, sigmoid
from tests.reference.margins import Margins
from tests.reference.rows import DAY_S, Row


def heuristic(rule: PredictionRule, row: Row, at_s: float) -> float:
    """log1p(frequency) - 0.7 log1p(days since), of the goal's events or, 10 lower, of all; negative for "did not"."""
    names = rule.events()
    frequency = sum(row.totals.get(name, 0.0) for name in names)
    if frequency > 0:
        latest = max(row.latest[name] for name in names if name in row.latest)
        rank = math.log1p(frequency) - 0.7 * math.log1p((at_s - latest) / DAY_S)
    else:
        rank = math.log1p(row.total()) - 0.7 * math.log1p((at_s - row.last_t) / DAY_S) - 10.0
    return -rank if rule.negative else rank


def plain_category(score: float, edges: tuple[float, float]) -> int:
    """0 below the first edge, 1 below the second, else 2."""
    return 0 if score < edges[0] else 1 if score < edges[1] else 2


def next_category(before: int | None, score: float, rule: PredictionRule, margins: Margins) -> int:
    """The category of a score, staying in the one before until it is left by more than the hysteresis."""
    if before is None:
        for edge in rule.edges:
            margins.note("edge", score, edge)
        return plain_category(score, rule.edges)
    low = (0.0, *rule.edges)[before] - rule.hysteresis
    high = (*rule.edges, 100.0)[before] + rule.hysteresis
    margins.note("lower edge", score, low)
    margins.note("upper edge", score, high)
    return before if low <= score < high else plain_category(score, rule.edges)


def answer(
    rule: PredictionRule,
    version: PredictionVersion | None,
    rank: float,
    model_logit: float,
    before: Answer,
    margins: Margins,
) -> Answer:
    """The answer for a user of the audience. `rank` is the heuristic; `version` None before the first snapshot."""
    warming = version is None or version.status == WARMING
    z = rank if warming else model_logit
    likelihood = sigmoid(z) if version is not None and version.status == LIVE else None
    ranked = 50.0 if version is None else version.percentile(z, margins)
    score = ranked if rule.percentile or warming else 100.0 * sigmoid(z)
    return Answer(True, z, likelihood, score, next_category(before.category, score, rule, margins))
