"""Judge Tideline and its peers on the same points and make the report of `tideline evaluate`.

The figures are those of `models/metrics.py`, weighted by the examples' weights. docs/evaluation.md defines them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from models import metrics
from models.examples import KIND_EVENT, KIND_SILENT
from models.jit import F64, I64
from streams.runtime.evaluation.nothing import why_nothing
from streams.runtime.evaluation.peers import TIDELINE, Answer, Histories, Refusal, ask, check_peers
from streams.runtime.evaluation.points import Points

__all__ = ["RESAMPLES", "SLICES", "Figures", "PredictionReport", "Report", "evaluate"]

RESAMPLES: Final = 200
SEED: Final = 1
YOUNG_DAYS: Final = 7.0

SLICES: Final = ("events", "silent", "young")
"""Moments of events; weekly moments of silent users; both, of users first seen less than 7 days before."""

Progress: TypeAlias = Callable[[str, str, float], None]
"""Called with the prediction's id, the model's name and the part done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One model on one slice of the points; the fields are the keys of `--json`. None: no meaning here."""

    n: int
    positives: int
    roc_auc: float | None = None
    roc_auc_minus_tideline: float | None = None
    roc_auc_minus_tideline_se: float | None = None
    average_precision: float | None = None
    normalized_entropy: float | None = None
    expected_over_observed: float | None = None
    top_decile_lift: float | None = None
    lift_quality: float | None = None


@dataclass(frozen=True, slots=True)
class PredictionReport:
    """All models on one prediction."""

    prediction_id: str
    name: str
    judged_from_s: float | None
    """Time of the first judged point; None without any."""
    judged_to_s: float | None
    slices: Mapping[str, Mapping[str, Figures]]
    """Slice -> model -> figures, for every slice and every model, refused ones too."""
    refused: Mapping[str, str]
    """Model -> why it has nothing to say."""
    not_judged: Mapping[str, str] = field(default_factory=dict)
    """Slice -> why there is nothing to judge in it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `tideline evaluate` found."""

    predictions: Mapping[str, PredictionReport]

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints.

        `predictions` (id, slice, model, figures), `refused` (id, model, reason), `not_judged` (id, slice, reason) and
        `judged` (id, from and to).
        """
        reports = self.predictions.items()
        return {
            "predictions": {
                key: {
                    part: {model: dataclasses.asdict(figures) for model, figures in models.items()}
                    for part, models in report.slices.items()
                }
                for key, report in reports
            },
            "refused": {key: dict(report.refused) for key, report in reports if report.refused},
            "not_judged": {key: dict(report.not_judged) for key, report in reports if report.not_judged},
            "judged": {key: {"from_s": report.judged_from_s, "to_s": report.judged_to_s} for key, report in reports},
        }

    def to_json(self) -> str:
        """`as_dict` as strictly valid JSON."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False)


def evaluate(
    points_by_prediction: Mapping[str, Points],
    histories: Histories,
    compare: Sequence[str],
    progress: Progress | None = None,
) -> Report:
    """Judge `tideline` and the models in `compare` on every prediction, one prediction after another.

    `histories` holds the events whose names `peers.history_event` gives, where `bgnbd` is compared. Raises
    SettingsError for an unknown model, ModelUnknown for one that is not installed.
    """
    names = (TIDELINE, *check_peers(compare))
    tell: Progress = progress or (lambda _prediction, _model, _done: None)
    return Report({key: _judge(points, names, histories, tell) for key, points in points_by_prediction.items()})


def _judge(points: Points, names: Sequence[str], histories: Histories, tell: Progress) -> PredictionReport:
    judged = points.judged
    answers: dict[str, Answer] = {}
    refused: dict[str, str] = {}
    for name in names:

        def part_done(done: float, name: str = name) -> None:
            tell(points.prediction_id, name, done)

        answer = ask(name, points, judged, histories, part_done)
        if isinstance(answer, Refusal):
            refused[name] = answer.reason
        else:
            answers[name] = answer
        part_done(1.0)
    slices = {}
    masks = _slices(points, judged)
    for part, chosen in masks.items():
        figures = _figures(points, judged, chosen, answers)
        empty = figures[TIDELINE]
        # In the order in which the models were asked for, refused ones with their counts only.
        slices[part] = {name: figures.get(name, Figures(empty.n, empty.positives)) for name in names}
    times_s = points.time_s[judged]
    return PredictionReport(
        points.prediction_id,
        points.prediction.name,
        float(times_s[0]) if len(times_s) else None,
        float(times_s[-1]) if len(times_s) else None,
        slices,
        refused,
        why_nothing(points, judged, masks),
    )


def _slices(points: Points, judged: I64) -> dict[str, npt.NDArray[np.bool_]]:
    """Which judged points [judged] belong to each slice."""
    # The feature is log1p of days in 32 bits, so the bound is, too: exactly 7 days is not young.
    age = np.asarray(points.x[:, points.feature_names.index("age")])[judged]
    kind = points.kind[judged]
    return {
        "events": kind == KIND_EVENT,
        "silent": kind == KIND_SILENT,
        "young": age < np.float32(np.log1p(YOUNG_DAYS)),
    }


def _figures(
    points: Points, judged: I64, chosen: npt.NDArray[np.bool_], answers: Mapping[str, Answer]
) -> dict[str, Figures]:
    """Figures of every model on the judged points that are `chosen`."""
    rows = judged[chosen]
    y, weight = points.y[rows], points.weight[rows].astype(np.float64)
    scores = {name: answer.score[chosen] for name, answer in answers.items()}
    resampled = metrics.auc_resamples(
        y, list(scores.values()), points.user[rows], weight, resamples=RESAMPLES, seed=SEED
    )
    columns = dict(zip(scores, resampled.T, strict=True))
    result: dict[str, Figures] = {}
    for name, score in scores.items():
        alone = _alone(y, score, weight, answers[name].is_likelihood)
        result[name] = (
            alone if name == TIDELINE else _against(alone, result[TIDELINE], columns[name], columns[TIDELINE])
        )
    return result


def _alone(y: npt.NDArray[np.uint8], score: F64, weight: F64, is_likelihood: bool) -> Figures:
    ranking = metrics.rank(y, score, weight)
    return Figures(
        n=len(y),
        positives=int(y.sum()),
        roc_auc=ranking.roc_auc(),
        average_precision=ranking.average_precision(),
        normalized_entropy=metrics.normalized_entropy(y, score, weight) if is_likelihood else None,
        expected_over_observed=metrics.expected_over_observed(y, score, weight) if is_likelihood else None,
        top_decile_lift=ranking.top_decile_lift(),
        lift_quality=ranking.lift_quality(),
    )


def _against(peer: Figures, tideline: Figures, peer_resamples: F64, tideline_resamples: F64) -> Figures:
    if peer.roc_auc is None or tideline.roc_auc is None:
        return peer
    return dataclasses.replace(
        peer,
        roc_auc_minus_tideline=peer.roc_auc - tideline.roc_auc,
        roc_auc_minus_tideline_se=metrics.difference_error(peer_resamples, tideline_resamples),
    )
