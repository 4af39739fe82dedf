"""What happened to moments whose outcome is known, as routes answer it; and why there may be nothing."""

from __future__ import annotations

from pydantic import BaseModel, Field

from models.quality import Bucket
from models.snapshot import PredictionSnapshot
from streams.api.views import time_text
from streams.runtime.stored import StoredState, models_of
from streams.runtime.summary import first_judged_s


class JudgedView(BaseModel):
    """Moments (events of users, and a weekly one of each silent user) whose outcome is known. A user has several."""

    moments: float = Field(description="So many; a share that was kept counts for all.", examples=[1204.0])
    mean_likelihood: float | None = Field(description="What was said at these moments.", examples=[0.131])
    actual_rate: float | None = Field(description="How often the goal was reached within the window.", examples=[0.127])


def judged_view(bucket: Bucket) -> JudgedView:
    """As it is answered."""
    return JudgedView(moments=bucket.weight, mean_likelihood=bucket.mean_likelihood, actual_rate=bucket.actual_rate)


def latest_model(states: list[StoredState], prediction: str) -> PredictionSnapshot | None:
    """The latest model of a prediction that a shard has in force; None before the first."""
    return max((model for model, _ in models_of(states, prediction)), key=lambda each: each.version, default=None)


def why_nothing_is_judged(state: StoredState, p: int) -> str:
    """What to say where no outcome of what was served is known; `state` with the learner's."""
    judged_s = first_judged_s(state, p)
    if judged_s is None:
        return "the prediction warms up, so nothing was said that could be judged"
    return f"the first outcomes of what was said are known at {time_text(judged_s)}, and there are none of this yet"
