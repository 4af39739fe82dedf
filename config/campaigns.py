"""Campaigns: whom to message on which crossing, event or schedule, with what, how often, against which control group.

What all of them share stands under `Messaging`. `config.campaign_checks` looks at what one type cannot see alone, and
reads definitions. Journeys, which are campaigns of several steps, are in `config.journeys`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, field_validator, model_validator

from config.base import (
    SEGMENT_PATTERN,
    Duration,
    DurationText,
    EventName,
    Id,
    Model,
    Name,
    Scalar,
    Tup,
    Unique,
    branch,
    refuse,
    refuse_rule,
)
from config.conditions import MAX_WHERE, Condition
from config.durations import DAY_S, HOUR_S
from config.filters import Filter
from config.offers import Offer
from config.times import LocalTime, OnceTrigger, QuietHours, RecurringTrigger, Trigger, Zone

MAX_CAP_S: Final = 90 * DAY_S
REENTRY_S: Final = 30 * DAY_S
"""Unless a definition says something else. A schedule says by itself how often it goes out."""
MAX_TEMPLATE: Final = 20_000
MAX_PARTS: Final = 16
"""Of one message."""

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Template: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEMPLATE)]
Origin: TypeAlias = Literal["live", "decay", "model", "audience", "backfill", "definition_change"]


class TraitConsent(Model):
    """Consent is a trait."""

    trait: Name
    """Name of the trait."""
    values: Unique[Scalar] = Field(default=(True,), alias="in", min_length=1, max_length=16)
    """Values that mean yes; any other, and none, means no."""


class EventConsent(Model):
    """Consent is given and withdrawn by events; the later one counts.

    Where the log has lost its beginning, only consent that was given since then counts.
    """

    given: EventName | None = None
    """Event that gives it. Without it everybody has given it who has not withdrawn it."""
    withdrawn: EventName
    """Event that withdraws it."""


def _consent_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "~none" if value == "none" else None
    return branch(
        value,
        {"trait": "~trait", "given": "~withdrawn", "withdrawn": "~withdrawn"},
        {"~trait": TraitConsent, "~withdrawn": EventConsent},
    )


Consent: TypeAlias = Annotated[
    Annotated[TraitConsent, Tag("~trait")]
    | Annotated[EventConsent, Tag("~withdrawn")]
    | Annotated[Literal["none"], Tag("~none")],
    Discriminator(
        _consent_kind,
        custom_error_type="expected",
        custom_error_message="{trait: NAME}, {given: EVENT NAME, withdrawn: EVENT NAME} or none (for everybody)",
    ),
]
TO_PEOPLE: Final = ("email", "braze")
"""Kinds of channels that reach people themselves; what is behind the others may ask for consent on its own."""
NEEDED_OF_MAIL: Final = ("subject", "body")
"""Parts of a message without which no e-mail goes."""


class Channel(Model):
    """A way by which messages go."""

    kind: Literal["webhook", "braze", "segment", "topic", "email", "log"]
    """What takes the messages: webhook, braze, segment, topic, email or log."""
    consent: Consent | None = None
    """What a user must have agreed to; none: everybody is sent to. email and braze do not go without this key."""

    address: Name | None = None
    """Of email: the trait with a user's address. Users without one are not sent to."""

    @model_validator(mode="after")
    def _asks(self) -> Channel:
        if self.consent is None and self.kind in TO_PEOPLE:
            raise refuse_rule(f"consent beside kind: {self.kind} (a trait, events, or none to send to everybody)")
        if (self.address is None) == (self.kind == "email"):
            raise refuse_rule("address (the trait with a user's address) beside kind: email, and only there")
        return self


class Cap(Model):
    """At most so many messages to a user within so long, over all campaigns."""

    sends: int = Field(ge=1, le=1_000)
    """Messages."""
    within_s: Duration = Field(alias="within")
    """Within so long, from 1h to 90d."""

    @field_validator("within_s")
    @classmethod
    def _bounded(cls, value: float) -> float:
        if not HOUR_S <= value <= MAX_CAP_S:
            raise refuse("a duration from 1h to 90d")
        return value


class Messaging(Model):
    """What holds for all campaigns and journeys."""

    holdout: Share = 0.05
    """Share of all users that no campaign ever sends anything to."""
    caps: Tup[Cap] = Field(default=(), max_length=4)
    """At most so many messages to a user within so long."""
    quiet_hours: QuietHours | None = None
    """When nothing is sent, on the user's clock."""
    timezone_trait: Name | None = None
    """Trait with a user's time zone, such as Europe/Paris."""
    timezone: Zone = "UTC"
    """Time zone of users of whom none is known."""
    channels: dict[Id, Channel] = Field(default_factory=dict, max_length=32)
    """Id: a way by which messages go."""
    max_behind_s: Duration = Field(default=300.0, alias="max_behind")
    """Nothing is decided on what was known longer ago than this; it waits until shards have caught up."""


class Conversion(Model):
    """What a message is for: by this it is judged."""

    event: EventName
    """Name of the event."""
    where: dict[Name, Condition] = Field(default_factory=dict, max_length=MAX_WHERE)
    """Conditions on properties of the event, as in a goal."""
    window_s: Duration = Field(default=7 * DAY_S, alias="window")
    """It counts if it comes within so long after the first message (or where there would have been one)."""
    revenue: Name | None = None
    """Property with the money."""
    revenue_is: Literal["before_offer", "after_offer"] = "before_offer"
    """before_offer: the offer still has to be taken off the revenue; after_offer: it has been."""
    revenue_cap: float | None = Field(default=None, gt=0, le=1e9)
    """In comparisons a user's revenue counts up to this, so that no single order decides; without it no interval."""

    @field_validator("window_s")
    @classmethod
    def _bounded(cls, value: float) -> float:
        if not HOUR_S <= value <= MAX_CAP_S:
            raise refuse("a duration from 1h to 90d")
        return value


class Rate(Model):
    """At most so many messages of a campaign within every minute, hour or day; what is too much waits."""

    sends: int = Field(ge=1, le=1_000_000_000)
    """Messages."""
    per: Literal["minute", "hour", "day"]
    """In each minute, hour or day, by UTC."""


class Breaker(Model):
    """Pauses a campaign, and alerts, when it would send many times as much as usual."""

    times: float = Field(default=5.0, ge=1.5, le=1_000)
    """So many times the most that it sent in that hour of the day within a week."""
    at_least: int = Field(default=100, ge=1, le=1_000_000_000)
    """Never with less than this in an hour."""
    until_known: int = Field(default=1_000, ge=1, le=1_000_000_000)
    """At most this in an hour as long as less than a day of it is known."""


class Recommendations(Model):
    """Asked for at the send, by a signed POST, and known to the texts as `recommendations`."""

    source: Id = Field(alias="from")
    """Id of a channel of messaging of the kind webhook: its address and secret are asked."""
    on_failure: Literal["wait", "send_without"] = "wait"
    """Without an answer: ask again until it would be stale (wait), or let recommendations be an empty list."""


class Message(Model):
    """What is sent: named texts, each a Jinja template."""

    parts: dict[Id, Template] = Field(min_length=1, max_length=MAX_PARTS)
    """Name (such as subject, title, body): template."""
    by_channel: dict[Id, dict[Id, Template]] = Field(default_factory=dict, max_length=8)
    """Id of a channel: templates that it gets beside those, or in place of those of the same name."""
    recommendations: Recommendations | None = None
    """Whom to ask for recommendations before it is sent."""

    def of(self, channel: str) -> dict[str, str]:
        """The templates of a channel."""
        return {**self.parts, **self.by_channel.get(channel, {})}


ReentryText: TypeAlias = Literal["once", "always"] | DurationText


def _reentry(value: Any) -> Any:
    if isinstance(value, dict | Reentry):
        return value
    return {"after": {"once": None, "always": 0}.get(value, value) if isinstance(value, str) else value}


class Reentry(Model):
    """Whether a user may get a campaign again, written as once, always, or how long after the time before (30d)."""

    after_s: Duration | None = Field(alias="after")
    """So long after the crossing that led to it the time before. None: never."""


def _quiet_kind(value: Any) -> str | None:
    if isinstance(value, dict | QuietHours):
        return "~hours"
    return "~word" if value in ("default", "none") else None


class Rules(Model):
    """What campaigns and journeys have in common."""

    name: Name
    """Name for people."""
    state: Literal["on", "dry", "paused"] = "on"
    """How it begins: on, paused, or dry (a dry run), which decides and counts everything and sends nothing."""
    segment: Annotated[str, Field(pattern=SEGMENT_PATTERN)]
    """Whom it is for: a segment, or PREDICTION.low, PREDICTION.medium or PREDICTION.high."""
    filter: Filter | None = None
    """Who of them, by a filter as in a segment."""
    origins: Unique[Origin] = Field(default=("live", "decay"), min_length=1, max_length=6)
    """Crossings of which origins count."""
    starts: LocalTime | None = None
    """Nothing is sent before (UTC)."""
    ends: LocalTime | None = None
    """Nothing is sent from then on (UTC)."""
    conversion: Conversion
    """What it is for."""
    channels: Unique[Id] = Field(min_length=1, max_length=8)
    """Ids of channels of messaging."""
    prediction: Id | None = None
    """Whose score, category and reasons messages may name. Without it that of a segment PREDICTION.high."""
    max_trigger_age_s: Duration = Field(default=4 * HOUR_S, alias="max_trigger_age")
    """Nothing begins for a crossing, event or schedule longer ago than this."""
    skip_recent_goal_s: Duration = Field(default=DAY_S, alias="skip_recent_goal")
    """Nobody is sent to who did the event of the conversion less than so long ago."""
    reentry: Annotated[Reentry, BeforeValidator(_reentry, json_schema_input_type=ReentryText)] | None = None
    """once, always, or how long after the time before a user may get it again. Without it 30d; always on a schedule."""
    priority: int = Field(default=50, ge=0, le=100)
    """Of several at the same moment the highest goes first."""
    capped: bool = True
    """false: the caps of messaging do not hold it back (its messages count in them)."""
    quiet_hours: Annotated[
        Annotated[QuietHours, Tag("~hours")] | Annotated[Literal["default", "none"], Tag("~word")],
        Discriminator(
            _quiet_kind,
            custom_error_type="expected",
            custom_error_message='{from: "21:00", to: "08:00"}, default or none',
        ),
    ] = "default"
    """default (those of messaging), none, or its own."""
    control: Share = 0.1
    """Share of users who get nothing, to know what the rest would have done."""
    rate: Rate | None = None
    """At most so many messages within so long."""
    breaker: Breaker | None = Breaker()
    """Pauses it when it would send many times as much as usual."""

    @model_validator(mode="after")
    def _order(self) -> Rules:
        if self.starts is not None and self.ends is not None and self.starts_s >= self.ends_s:
            raise refuse_rule("starts before ends")
        return self

    @property
    def is_scheduled(self) -> bool:
        """Whether it goes to all who are in the segment at a time."""
        return False

    @property
    def again_after_s(self) -> float | None:
        """So long after the time before a user may get it again. None: never."""
        if self.reentry is not None:
            return self.reentry.after_s
        return 0.0 if self.is_scheduled else REENTRY_S

    @property
    def speaks_of(self) -> str | None:
        """The prediction that messages may speak of."""
        if self.prediction is not None:
            return self.prediction
        before, dot, _ = self.segment.partition(".")
        return before if dot else None

    @property
    def starts_s(self) -> float:
        """Seconds since 1970 UTC; minus infinity without a start."""
        return float("-inf") if self.starts is None else _utc_s(self.starts)

    @property
    def ends_s(self) -> float:
        """Seconds since 1970 UTC; infinity without an end."""
        return float("inf") if self.ends is None else _utc_s(self.ends)


class Campaign(Rules):
    """One message on a crossing, an event or a schedule."""

    trigger: Trigger = "enter"
    """When: enter, exit or both (of the segment), an event while in the segment, one time, or again and again."""
    cooldown_s: Duration = Field(default=0.0, alias="cooldown")
    """Nothing for so long after its last message to the user."""
    offer: Offer | None = None
    """What it promises. Without it nothing."""
    message: Message
    """What is sent."""

    @property
    def is_scheduled(self) -> bool:
        """Whether it goes to all who are in the segment at a time."""
        return isinstance(self.trigger, OnceTrigger | RecurringTrigger)


def _utc_s(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("UTC")).timestamp()
