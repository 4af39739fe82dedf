"""What a prediction would have to learn from, in the words of a language: the API's figures, and what is against it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from config.catalog import Prediction
from streams.api.prediction_estimate import PredictionEstimateView
from streams.console.language import Format
from streams.console.texts import Texts


class Figure(NamedTuple):
    """One figure with what it is."""

    title: str
    value: str
    """Or a time in UTC where `is_time`."""
    is_time: bool = False


class EstimateWords(NamedTuple):
    """The estimate as a page shows it."""

    figures: list[Figure]
    when: str
    """When it can begin."""
    when_at: str | None
    """The moment that belongs to it, RFC 3339."""
    parts: list[str]
    warnings: list[str]


def estimate_words(texts: Texts, form: Format, prediction: Prediction, view: PredictionEstimateView) -> EstimateWords:
    """All of it."""
    goal, log = view.goal, view.log
    figures = [
        Figure(texts.audience, form.number(view.audience)),
        Figure(
            texts.estimate_goals, texts.estimate_of.format(n=form.number(goal.users), needed=form.number(goal.needed))
        ),
        Figure(texts.estimate_events, form.number(log.events)),
    ]
    if view.first_label is not None:
        figures.append(Figure(texts.estimate_first_label, view.first_label, is_time=True))
    parts = [
        texts.estimate_part.format(event=part.event, events=form.number(part.events), users=form.number(part.users))
        for part in goal.parts
    ]
    warnings = list(_warnings(texts, form, prediction, view))
    return EstimateWords(figures, texts.estimate_when[view.enough_users], view.enough_users_at, parts, warnings)


def _warnings(texts: Texts, form: Format, prediction: Prediction, view: PredictionEstimateView) -> Iterator[str]:
    """The same as the API's, which has them in English only."""
    goal, log = view.goal, view.log
    words = texts.estimate_warnings
    if not log.events:
        yield words["no_events"].format(window=form.duration(prediction.window_s))
        return
    for part in goal.parts:
        if not part.events and log.whole:
            yield words["no_such_event"].format(event=part.event, n=form.number(log.events))
    if goal.users < goal.needed:
        yield words["too_rare"].format(n=form.number(goal.users), needed=form.number(goal.needed))
    if _span_s(view) < prediction.window_s:
        yield words["too_short"].format(window=form.duration(prediction.window_s))
    if view.audience == 0:
        yield words["nobody"]
    elif view.audience is not None and view.audience < goal.needed and _is_close(prediction, view):
        yield words["too_few"].format(n=form.number(view.audience), needed=form.number(goal.needed))


def _is_close(prediction: Prediction, view: PredictionEstimateView) -> bool:
    """Whether a small audience may keep it from learning: not where everybody is in it and enough have the goal."""
    return prediction.audience is not None or view.goal.users < view.goal.needed


def _span_s(view: PredictionEstimateView) -> float:
    if view.log.first is None or view.log.last is None:
        return 0.0
    return (datetime.fromisoformat(view.log.last) - datetime.fromisoformat(view.log.first)).total_seconds()
