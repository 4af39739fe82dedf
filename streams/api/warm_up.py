"""How far a prediction is in its warm-up, and when it may be over."""

from __future__ import annotations

import math

from config.durations import DAY_S
from streams.api.views import WarmUpView, time_text
from streams.runtime.stored import StoredState
from streams.runtime.summary import warmup_of


def warm_up_view(judged: StoredState, p: int) -> WarmUpView | None:
    """Of prediction number `p`; `judged` with all that the learners know. None once it is over."""
    found = warmup_of(judged, p)
    if found is None:
        return None
    return WarmUpView(
        users_with_goal=found.users_with_goal,
        needed=found.needed,
        expected_at=time_text(_expected_s(judged, p, found.users_with_goal, found.needed)),
        outcomes=found.labels,
        model_auc=found.model_auc,
        baseline_auc=found.heuristic_auc,
    )


def _expected_s(judged: StoredState, p: int, users: int, needed: int) -> float | None:
    """Users have come from the first judged moment to the latest one whose window has closed; so they go on coming."""
    first_s = next((start_s for start_s, _ in judged.learner.predictions[p].quality.by_week()), None)
    if first_s is None or not 0 < users < needed or math.isnan(judged.clock_s):
        return None
    if int(judged.population.counts[p].sum()) < needed:
        return None  # fewer are in its audience: as many may never come
    window_s = list(judged.catalog.predictions.values())[p].window_s
    span_s = max(judged.clock_s - window_s - first_s, DAY_S)
    return judged.clock_s + span_s * (needed - users) / users
