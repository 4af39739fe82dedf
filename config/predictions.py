"""Predictions and segments: what is asked of every user, and who is told apart."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from config.base import MAX_WINDOW_S, RIVER_PATTERN, Duration, Model, Name, Scalar, refuse
from config.durations import HOUR_S
from config.filters import AllFilter, AnyFilter, Filter, SinceFilter, SinceRange
from config.goals import Goal


def category_names(kind: Literal["event", "churn"]) -> tuple[str, str, str]:
    """What people read for low, medium and high. For churn the higher is the worse, so the words say *risk*."""
    if kind == "churn":
        return ("Low risk", "Medium risk", "High risk")
    return ("Low", "Medium", "High")


class Categories(Model):
    """Lower edges of *medium* and *high*; *low* is what is below."""

    medium: float = 50.0
    """Lowest score of medium."""
    high: float = 75.0
    """Lowest score of high."""

    @model_validator(mode="after")
    def _order(self) -> Categories:
        if not 0 < self.medium < self.high < 100:
            raise refuse(f"0 < medium < high < 100 (found medium {self.medium:g}, high {self.high:g})")
        return self


class RiverModel(Model):
    """A river classifier by its import path, run as it is in the learner."""

    river: Annotated[str, Field(pattern=RIVER_PATTERN)]
    """Import path of a river classifier."""
    params: dict[Name, Scalar] = Field(default_factory=dict, max_length=64)
    """Its parameters."""
    scale: bool = True
    """Whether features are standardised before it."""


def _model_kind(value: Any) -> str | None:
    if value == "logistic":
        return "~logistic"
    return "~river" if isinstance(value, dict | RiverModel) else None


class Prediction(Model):
    """A question with a goal, a window and an audience; answered for every user of the audience."""

    name: Name
    """Name for people."""
    kind: Literal["event", "churn"] = "event"
    """event: the goal is wanted. churn: it is feared; did_not only, and only recently active users have a score."""
    goal: Goal
    """What must happen in the window: did, did_not, any or all of them."""
    window_s: Duration = Field(alias="window")
    """How far ahead it asks: whole hours from 1h to 90d."""
    audience: Filter | None = None
    """Who has a score: a filter over traits and events. Without it everybody."""
    given_lookback_s: Duration | None = Field(default=None, alias="lookback")
    """Churn only: how long ago the goal's event may be for a user to be in the audience. Without it the window."""
    categories: Categories = Categories()
    """Lower edges of medium and high."""
    hysteresis: float = Field(default=5.0, ge=0, le=50)
    """Points of score that a user must go past an edge to leave a category."""
    scale: Literal["percentile", "probability"] = "percentile"
    """percentile: the score is the rank in the audience. probability: it is 100 times the likelihood."""
    access: Literal["live", "preview", "demo"] = "live"
    """live: everything. preview: scored once, to be looked at, never targeted. demo: of made-up data; it moves."""
    model: Annotated[
        Annotated[Literal["logistic"], Tag("~logistic")] | Annotated[RiverModel, Tag("~river")],
        Discriminator(
            _model_kind,
            custom_error_type="expected",
            custom_error_message="logistic, or {river: river.module.Class, params: {...}, scale: true}",
        ),
    ] = "logistic"
    """logistic, or a river classifier."""
    memory_examples: int = Field(default=500_000, ge=1_000, le=1_000_000_000)
    """How many examples the model remembers; older ones fade."""
    # Left out of dumps while false: stores were made before this field existed, and know their catalog by its digest.
    archived: bool = Field(default=False, exclude_if=lambda value: not value)
    """true: nobody has a score or is in its segments; it can be restored, as long as there is room as it was."""

    @property
    def lookback_s(self) -> float:
        """Churn only: how long ago a user may have done the goal's event and still be in the audience."""
        return self.window_s if self.given_lookback_s is None else self.given_lookback_s

    @property
    def audience_filter(self) -> Filter | None:
        """The whole audience: what the catalog says and, for churn, activity within the lookback."""
        if self.kind != "churn":
            return self.audience
        names = dict.fromkeys(atom.event for atom in self.goal.atoms)
        since = SinceRange(max=self.lookback_s)
        active = AnyFilter(any=tuple(SinceFilter(event=name, since=since) for name in names))
        return active if self.audience is None else AllFilter(all=(self.audience, active))

    @field_validator("given_lookback_s")
    @classmethod
    def _lookback(cls, value: float | None) -> float | None:
        if value == 0:
            raise refuse("more than 0 (nobody would be in the audience)")
        return value

    @field_validator("window_s")
    @classmethod
    def _window(cls, value: float) -> float:
        if not HOUR_S <= value <= MAX_WINDOW_S or value % HOUR_S:
            raise refuse("whole hours, from 1h to 90d")
        return value


class Segment(Model):
    """A named filter; its members are published as they enter and leave."""

    name: Name
    """Name for people."""
    filter: Filter
    """Who is in it."""
    min_dwell_s: Duration = Field(default=0.0, alias="min_dwell")
    """How long a change must last before it counts."""
    # Left out of dumps while it is the default, as `archived` is.
    entry: Literal["now", "crossings"] = Field(default="now", exclude_if=lambda value: value == "now")
    """now: who fulfils the filter when it is made or changed enters then. crossings: not before having left it."""
    archived: bool = Field(default=False, exclude_if=lambda value: not value)
    """true: nobody is in it; it stays as a definition, and can be restored."""
    paused: bool = Field(default=False, exclude_if=lambda value: not value)
    """true: it is archived because a prediction was taken back, and comes back with that."""

    @model_validator(mode="after")
    def _paused(self) -> Segment:
        if self.paused and not self.archived:
            raise refuse("archived: true beside paused: true (a paused segment is an archived one)")
        return self
