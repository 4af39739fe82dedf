"""The models that Tideline is compared with, by the names that `--compare` knows.

A peer gets the points of one prediction and answers for the judged ones. It may learn from every example whose label
was known at the time of a point, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from config.catalog import Prediction
from config.errors import ModelError, SettingsError
from models.jit import F64, I64
from streams.runtime.evaluation.bgnbd import GoalHistory, bgnbd_likelihoods
from streams.runtime.evaluation.lightgbm_peer import lightgbm_likelihoods, load_lightgbm
from streams.runtime.evaluation.points import Points
from streams.runtime.evaluation.river_peer import river_likelihoods

__all__ = ["PEERS", "TIDELINE", "Answer", "Histories", "Refusal", "ask", "check_peers", "history_event"]

TIDELINE: Final = "tideline"

Histories: TypeAlias = Mapping[str, GoalHistory]
"""All events by event name; needed for the names that `history_event` gives."""

Progress: TypeAlias = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says about the judged points."""

    score: F64
    """[judged] any number, higher means likelier."""
    is_likelihood: bool
    """Whether the score is a probability, so that calibration can be judged."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a model has nothing to say about a prediction."""

    reason: str


def history_event(prediction: Prediction) -> str | None:
    """The event whose whole history `bgnbd` needs for this prediction; None if it cannot answer it."""
    atoms = prediction.goal.atoms
    if len(atoms) != 1 or atoms[0].where:
        return None
    return atoms[0].event


def check_peers(names: Sequence[str]) -> tuple[str, ...]:
    """The names to compare with, each once, `tideline` left out (it is always there).

    Raises SettingsError for a name that is not known, ModelUnknown for one that cannot be used here. Call it before
    the long run, not after.
    """
    wanted = tuple(dict.fromkeys(name for name in names if name != TIDELINE))
    unknown = [name for name in wanted if name not in PEERS]
    if unknown:
        raise SettingsError(f"unknown models to compare with: {', '.join(unknown)}; known are {', '.join(PEERS)}")
    if "lightgbm" in wanted:
        load_lightgbm()
    return wanted


def ask(name: str, points: Points, judged: I64, histories: Histories, progress: Progress) -> Answer | Refusal:
    """What the model `name` (`tideline` or one of PEERS) says about the judged rows of `points`."""
    if name == TIDELINE:
        return Answer(points.likelihood[judged].astype(np.float64), is_likelihood=True)
    return PEERS[name](points, judged, histories, progress)


def _heuristic(points: Points, judged: I64, _histories: Histories, _progress: Progress) -> Answer | Refusal:
    return Answer(points.heuristic[judged].astype(np.float64), is_likelihood=False)


def _lightgbm(points: Points, judged: I64, _histories: Histories, progress: Progress) -> Answer | Refusal:
    return Answer(lightgbm_likelihoods(points, judged, progress), is_likelihood=True)


def _river(points: Points, judged: I64, _histories: Histories, progress: Progress) -> Answer | Refusal:
    return Answer(river_likelihoods(points, judged, progress), is_likelihood=True)


def _bgnbd(points: Points, judged: I64, histories: Histories, progress: Progress) -> Answer | Refusal:
    event = history_event(points.prediction)
    if event is None:
        return Refusal("BG/NBD answers one plain `did` or `did_not` without conditions, nothing else")
    history = histories[event]
    negated = points.prediction.goal.atoms[0].negated
    try:
        return Answer(bgnbd_likelihoods(points, judged, history, negated, progress), is_likelihood=True)
    except ModelError as error:
        return Refusal(str(error))


PEERS: Final[Mapping[str, Callable[[Points, I64, Histories, Progress], Answer | Refusal]]] = {
    "heuristic": _heuristic,
    "lightgbm": _lightgbm,
    "bgnbd": _bgnbd,
    "river": _river,
}
"""What `--compare` knows, in the order of the help text."""
