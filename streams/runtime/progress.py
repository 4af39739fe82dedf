"""How far a prediction is on its way to being judged, in words: what it waits for, until when, and why."""

from __future__ import annotations

from config.durations import DAY_S
from streams.runtime.summary import PredictionSummary, Warmup
from streams.runtime.words import count, date, span


def warmup_words(warmup: Warmup) -> str:
    """How far a warm-up is: users with the goal of those that are needed, when that count begins, and what it lacks."""
    words = f"{count(warmup.users_with_goal)} different users have reached the goal ({count(warmup.needed)} are needed)"
    if not warmup.users_with_goal and warmup.first_labels_s is not None:
        first = date(warmup.first_labels_s)
        known = f"labels since {first}: {count(warmup.labels)}, none of them with the goal"
        words += f"; {known if warmup.labels else f'first labels on {first}'}"
    if warmup.model_auc is not None and warmup.heuristic_auc is not None:
        words += f", and it does not beat the heuristic yet (ROC AUC {warmup.model_auc:.3f} and "
        words += f"{warmup.heuristic_auc:.3f})"
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
    words = f"warming up: {warmup_words(warmup)}"
    first_s = warmup.first_labels_s
    if not warmup.labels and first_s is not None:
        words += f", when the first windows ({span(prediction.window_s)}) have closed{_still(first_s, clock_s)}"
    return f"{words}. Until it beats the heuristic there is a rank, no likelihood, and no transition"


def _still(at_s: float, clock_s: float | None) -> str:
    """How long that is after the latest event; nothing for what has passed."""
    if clock_s is None or at_s <= clock_s:
        return ""
    days = -(-(at_s - clock_s) // DAY_S)
    return f" ({span(days * DAY_S)} after the latest event)"
