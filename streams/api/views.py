"""What the reading routes answer, as types: every answer is checked against them, and the document has them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


def time_text(time_s: float | None) -> str | None:
    """Seconds since 1970 as text in UTC; None where there is no time."""
    if time_s is None or not math.isfinite(time_s):
        return None
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class CategoryView(BaseModel):
    """One category of a prediction."""

    id: str = Field(examples=["high"])
    name: str = Field(examples=["High"])
    low: float = Field(description="Its scores are from here,")
    high: float = Field(description="to below here (100 belongs to the highest).")
    users: int


class WarmUpView(BaseModel):
    """What a prediction that warms up still waits for: users with its goal, then a model that beats the simple rule."""

    users_with_goal: int = Field(description="Different users who have reached the goal, in moments that are judged.")
    needed: int = Field(description="So many it takes at least.")
    expected_at: str | None = Field(
        description="When there will be so many at the rate so far; null where there are, or nothing can be said yet. "
        "Then the model has to beat the rule."
    )
    outcomes: int = Field(description="Moments whose outcome is known.")
    model_auc: float | None = Field(description="Of the latest comparison; null before the first.")
    baseline_auc: float | None = Field(description="The same of the simple rule.")


class PredictionView(BaseModel):
    """One prediction as of the latest commits."""

    id: str = Field(examples=["orders_7d"])
    name: str
    kind: str = Field(description="`churn` or another kind of goal.")
    score_name: str = Field(description="What people read: Score, or Churn Risk Score.")
    window_s: float = Field(description="Seconds within which the goal counts.")
    scale: str = Field(description="`percentile`: a score is a rank; `probability`: 100 times the likelihood.")
    access: str = Field(description="`live`, `preview` or `demo`.")
    status: str = Field(
        description="`no events yet`, `learning from history`, `warming up`, `going live` or `live`, and what its "
        "access adds (`preview (scores shown, not targetable)`); or `archived`. All routes tell the same.",
        examples=["live"],
    )
    frozen_at: str | None = Field(
        description="Previews: as of when everybody was scored for good; null until all shards have done it."
    )
    warm_up: WarmUpView | None = Field(description="How far its warm-up is; null once that is over.")
    audience: int = Field(description="Users with a score.")
    categories: list[CategoryView]
    clock: str | None = Field(description="The latest event time of any shard.")


class PredictionList(BaseModel):
    """All predictions."""

    items: list[PredictionView]


SegmentStatus = Literal["new", "active", "paused", "archived"]


class SegmentView(BaseModel):
    """One segment."""

    id: str = Field(examples=["orders_7d.high"])
    name: str
    status: SegmentStatus = Field(
        description="`new`: workers have not taken it up yet, and nobody is in it; `active`; `paused`: archived for as "
        "long as a prediction it rests on is not live; `archived`: by hand, or with its prediction. Nobody is in those."
    )
    members: int
    predictions: list[str] = Field(description="Those on which it rests.")
    entry: Literal["now", "crossings"] = Field(
        description="Whether who fulfilled the filter when it was made, or changed, entered then, or had to leave it "
        "first: `members` does not count those who still wait."
    )


class SegmentList(BaseModel):
    """All segments."""

    items: list[SegmentView]


class ScoreView(BaseModel):
    """What one prediction says of a user."""

    score: float | None
    likelihood: float | None = Field(description="null while the prediction warms up.")
    category: str | None


class MemberView(BaseModel):
    """One member of a segment."""

    user_id: str
    since: str | None = Field(description="null for one who left while this was read.")
    entry_count: int | None = Field(description="How often the user has entered, this time included.")
    scores: dict[str, ScoreView] = Field(description="By prediction; without those whose audience the user is not in.")


class MemberPage(BaseModel):
    """Some members, and how to get the next ones."""

    items: list[MemberView]
    next_cursor: str | None = Field(description="For `cursor`; null at the end.")


class ReasonView(BaseModel):
    """One feature that moves a likelihood."""

    feature: str
    level: str = Field(description="Where the user is against the mean: `high` or `low`.")
    contribution: float = Field(description="What it adds to the logit.")
    words: str


class UserPredictionView(ScoreView):
    """What one prediction says of a user, and why."""

    id: str
    name: str
    kind: str
    score_name: str
    scale: str
    status: str
    category_name: str | None
    frozen_at: str | None = Field(description="Previews: as of when the score is, and stays; null while it moves.")
    not_scored: str | None = Field(description="Previews: why there is no score, where everybody else has one.")
    lapsed_at: str | None = Field(description="Churn only: since when the user is out of the audience.")
    reasons: list[ReasonView]


class MembershipView(BaseModel):
    """One segment that a user is in."""

    id: str
    name: str
    since: str | None
    entry_count: int


class EventCountView(BaseModel):
    """How often a user did something."""

    name: str = Field(description="`*`: all names without a column of their own.")
    total: int
    last: str | None


class UserView(BaseModel):
    """Everything that is stored of a user."""

    user_id: str
    first_seen: str | None
    last_seen: str | None
    scored_at: str | None = Field(description="At an event, or at a look in silence.")
    predictions: list[UserPredictionView]
    segments: list[MembershipView]
    events: list[EventCountView]
    traits: dict[str, str | float | bool] = Field(description="Those that predictions and segments are made of.")
    traits_as_sent: dict[str, Any] | None = Field(
        description="All that messages, consent and addresses of campaigns go by; null where no campaigns have run."
    )
    remembered: Any = Field(description="Remembered properties; null if there are none.")
