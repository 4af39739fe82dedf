"""How far a prediction is on its way to being judged, in words: what it waits for, until when, and why."""

from __future__ import annotations

from config.durations import DAY_S
from streams.runtime.summary import PredictionSummary, Warmup
from streams.runtime.words import count, date, span


def goals_words(warmup: Warmup) -> str:
    """How far a warm-up is: users with the goal, of those that are needed, and when that count can begin."""
    words = f"{count(warmup.users_with_goal)} different users have reached the goal ({count(warmup.needed)} are needed)"
    if not warmup.users_with_goal and warmup.first_labels_s is not None:
        words += f"; first labels on {date(warmup.first_labels_s)}"
    return words


def progress_words(prediction: PredictionSummary, clock_s: float | None) -> str | None:
    """What a prediction waits for as of `clock_s`, the latest event time; None when what it says is judged."""
    if prediction.warmup is not None:
        return _warming_words(prediction, prediction.warmup, clock_s)
    if prediction.first_judged_s is None or any(judged.tideline.n for judged in prediction.judged.values()):
        return None
    since, on = date(prediction.live_since_s), date(prediction.first_judged_s)
    return (
        f"live since {since}; what it says is first judged on {on}, when the first windows "
        f"({span(prediction.window_s)}) have closed{_still(prediction.first_judged_s, clock_s)}"
    )


def _warming_words(prediction: PredictionSummary, warmup: Warmup, clock_s: float | None) -> str:
    words = f"warming up: {goals_words(warmup)}"
    first_s = warmup.first_labels_s
    if not prediction.learned and first_s is not None:
        words += f", when the first windows ({span(prediction.window_s)}) have closed{_still(first_s, clock_s)}"
    if prediction.learned and not warmup.users_with_goal:
        words += f"; {count(prediction.learned)} outcomes are known, all without it"
    if warmup.model_auc is not None and warmup.heuristic_auc is not None:
        words += f"; ROC AUC {warmup.model_auc:.3f}, and the heuristic {warmup.heuristic_auc:.3f}"
    return f"{words}. Until it beats the heuristic there is a rank, no likelihood, and no transition"


def _still(at_s: float, clock_s: float | None) -> str:
    """How long that is after the latest event; nothing for what has passed."""
    if clock_s is None or at_s <= clock_s:
        return ""
    days = -(-(at_s - clock_s) // DAY_S)
    return f" ({span(days * DAY_S)} after the latest event)"
