"""The report of `tideline evaluate` as tables for the terminal: one per prediction and slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from models.metrics import band
from streams.runtime.evaluation.compare import Figures, PredictionReport, Report
from streams.runtime.evaluation.peers import TIDELINE

__all__ = ["tables"]

_TITLES: Final = {
    "events": "at events",
    "silent": "while silent, one moment a week",
    "young": "of users younger than 7 days",
}

# Short enough for a terminal of 80 columns; docs/evaluation.md has the long names.
_COLUMNS: Final = (
    "model",
    "ROC\nAUC",
    "AUC −\ntideline",
    "avg.\nprec.",
    "norm.\nentropy",
    "exp.\n/obs.",
    "10%\nlift",
    "lift\nquality",
)


def tables(report: Report) -> Iterator[Table | Text]:
    """A table per prediction and slice, in the order of the catalog; a line of text for a slice without moments."""
    for prediction in report.predictions.values():
        reasons = prediction.not_judged
        name = Text.assemble((prediction.name, "bold"), f" ({prediction.prediction_id})")
        if len(reasons) == len(prediction.slices) and len(set(reasons.values())) == 1:
            yield name.append(f": nothing to judge, because {next(iter(reasons.values()))}")
            continue
        for part, models in prediction.slices.items():
            title = name.copy().append(f" {_TITLES[part]}")
            counted = models[TIDELINE]
            if part in reasons:
                yield title.append(f": nothing to judge, because {reasons[part]}")
                continue
            title.append(f": {counted.n:,}, {counted.positives / counted.n:.1%} reached the goal")
            yield _table(title, models, prediction)


def _table(title: Text, models: Mapping[str, Figures], prediction: PredictionReport) -> Table:
    reasons = "\n".join(f"{model}: {reason}" for model, reason in prediction.refused.items())
    table = Table(
        title=title,
        caption=Text(reasons) if reasons else None,
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
        title_style="",
    )
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for name, figures in models.items():
        table.add_row(name, *_cells(figures), style="bold" if name == TIDELINE else None)
    return table


def _cells(figures: Figures) -> list[str]:
    return [
        _number(figures.roc_auc, ".3f"),
        _difference(figures),
        _number(figures.average_precision, ".3f"),
        _number(figures.normalized_entropy, ".3f"),
        _number(figures.expected_over_observed, ".2f"),
        _number(figures.top_decile_lift, ".2f"),
        "–" if figures.lift_quality is None else f"{figures.lift_quality:z.0f} {band(figures.lift_quality)}",
    ]


def _difference(figures: Figures) -> str:
    difference, error = figures.roc_auc_minus_tideline, figures.roc_auc_minus_tideline_se
    if difference is None:
        return "–"
    return f"{difference:+.4f}" if error is None else f"{difference:+.4f} ±{error:.4f}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
