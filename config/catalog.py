"""The catalog's types: the product as data. ``config.loader`` makes a ``Catalog`` from YAML; see docs/catalog.md.

Only the loader runs the checks between parts (names that must exist, cycles); use it, also for dictionaries.
Durations are seconds here (``window_s``), and text with a unit in the YAML (``window: 7d``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from config.base import (
    DELIMITER_PATTERN,
    MAX_WINDOW_S,
    RIVER_PATTERN,
    Duration,
    EventName,
    Id,
    Model,
    Name,
    Scalar,
    Tup,
    Unique,
    branch,
    refuse,
)
from config.conditions import Between, Condition, CountRange, Equals, Exists, OneOf, Range
from config.durations import HOUR_S
from config.filters import (
    AllFilter,
    AnyFilter,
    CategoryFilter,
    CountFilter,
    Filter,
    LikelihoodFilter,
    NotFilter,
    ScoreFilter,
    SegmentFilter,
    SinceFilter,
    SinceRange,
    TraitFilter,
    walk,
)
from config.goals import AllOfAtoms, AnyOfAtoms, Atom, Did, DidNot, Goal

__all__ = [
    "AllFilter",
    "AllOfAtoms",
    "AnyFilter",
    "AnyOfAtoms",
    "Atom",
    "Between",
    "Catalog",
    "Categories",
    "CategoryFilter",
    "Condition",
    "ConstantEvent",
    "CountFilter",
    "CountRange",
    "CsvInput",
    "Did",
    "DidNot",
    "Equals",
    "EventLimit",
    "Exists",
    "Features",
    "Filter",
    "Goal",
    "Input",
    "LikelihoodFilter",
    "Limits",
    "NdjsonInput",
    "NotFilter",
    "NumericTrait",
    "OneOf",
    "Prediction",
    "Range",
    "Remember",
    "RiverModel",
    "ScoreFilter",
    "Segment",
    "SegmentFilter",
    "SegmentInput",
    "SinceFilter",
    "SinceRange",
    "Time",
    "TimeField",
    "TraitFeature",
    "TraitFilter",
    "TraitLimit",
    "TraitValues",
    "category_names",
    "walk",
]


def category_names(kind: Literal["event", "churn"]) -> tuple[str, str, str]:
    """What people read for low, medium and high. For churn the higher is the worse, so the words say *risk*."""
    if kind == "churn":
        return ("Low risk", "Medium risk", "High risk")
    return ("Low", "Medium", "High")


# --- input -----------------------------------------------------------------------------------------------------------


class SegmentInput(Model):
    """Segment-spec ``track`` and ``identify`` JSON, one object a line."""

    format: Literal["segment"] = "segment"


class ConstantEvent(Model):
    """Every row is an event of this name."""

    constant: EventName


class TimeField(Model):
    """Where the event time is and how it is written. ``timezone`` is for ISO times that do not carry one."""

    field: Name
    unit: Literal["iso", "s", "ms"] = "iso"
    timezone: Name = "UTC"

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, data: Any) -> Any:
        return {"field": data} if isinstance(data, str) else data

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise refuse("a time zone such as UTC or Europe/Paris") from error
        return value


def _event_source(value: Any) -> str | None:
    if isinstance(value, str):
        return "~field"
    return "~constant" if isinstance(value, dict | ConstantEvent) else None


EventSource: TypeAlias = Annotated[
    Annotated[Name, Tag("~field")] | Annotated[ConstantEvent, Tag("~constant")],
    Discriminator(
        _event_source, custom_error_type="expected", custom_error_message="a field name or {constant: EVENT NAME}"
    ),
]


class MappedInput(Model):
    """What NDJSON and CSV have in common: names of fields (NDJSON: dotted paths such as ``context.user.id``)."""

    user: Name
    event: EventSource
    time: TimeField
    message_id: Name | None = None
    value: Name | None = None
    traits: dict[Name, Name] = Field(default_factory=dict, max_length=64)
    properties: dict[Name, Name] = Field(default_factory=dict, max_length=256)


class NdjsonInput(MappedInput):
    """Any JSON, one object a line."""

    format: Literal["ndjson"]


class CsvInput(MappedInput):
    """Any CSV with a header line."""

    format: Literal["csv"]
    delimiter: Annotated[str, Field(pattern=DELIMITER_PATTERN)] = ","
    encoding: Name = "utf-8"

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError as error:
            raise refuse("a text encoding such as utf-8, latin-1 or cp1252") from error
        return value


def _input_format(value: Any) -> str | None:
    found = value.get("format", "segment") if isinstance(value, dict) else getattr(value, "format", None)
    return f"~{found}" if found in ("segment", "ndjson", "csv") else None


Input: TypeAlias = Annotated[
    Annotated[SegmentInput, Tag("~segment")]
    | Annotated[NdjsonInput, Tag("~ndjson")]
    | Annotated[CsvInput, Tag("~csv")],
    Discriminator(_input_format, custom_error_type="input_format", custom_error_message="segment, ndjson or csv"),
]


# --- features --------------------------------------------------------------------------------------------------------


class EventLimit(Model):
    """The names found first get columns, up to this many; all others share one."""

    limit: int = Field(ge=0, le=64)


class TraitValues(Model):
    """A column for each of these values of the trait."""

    values: Unique[Scalar] = Field(min_length=1, max_length=256)


class TraitLimit(Model):
    """A column for each value of the trait found first, up to this many (None: ``limits.trait_values``)."""

    limit: int | None = Field(default=None, ge=1, le=1_024)


class NumericTrait(Model):
    """The trait's number is one column."""

    numeric: Literal[True]


def _trait_kind(value: Any) -> str | None:
    keys = {"values": "~values", "limit": "~limit", "numeric": "~numeric"}
    return branch(value, keys, {"~values": TraitValues, "~limit": TraitLimit, "~numeric": NumericTrait})


TraitFeature: TypeAlias = Annotated[
    Annotated[TraitValues, Tag("~values")]
    | Annotated[TraitLimit, Tag("~limit")]
    | Annotated[NumericTrait, Tag("~numeric")],
    Discriminator(
        _trait_kind,
        custom_error_type="expected",
        custom_error_message="{values: [...]}, {limit: number} or {numeric: true}",
    ),
]


def _list_or_map(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "~list"
    return "~map" if isinstance(value, dict | EventLimit) else None


class Features(Model):
    """What is computed of every user."""

    events: Annotated[
        Annotated[Unique[EventName], Tag("~list")] | Annotated[EventLimit, Tag("~map")],
        Discriminator(
            _list_or_map,
            custom_error_type="expected",
            custom_error_message="a list of event names or {limit: number}",
        ),
    ] = EventLimit(limit=8)
    value: Name | None = None
    traits: Annotated[
        Annotated[Unique[Name], Tag("~list")] | Annotated[dict[Name, TraitFeature], Tag("~map")],
        Discriminator(
            _list_or_map,
            custom_error_type="expected",
            custom_error_message="a list of trait names or a mapping from trait name to values, limit or numeric",
        ),
    ] = ()
    half_lives_days: Tup[float] = Field(default=(1.0, 7.0, 30.0, 90.0), min_length=1, max_length=8)
    session_gap_s: Duration = Field(default=1_800.0, alias="session_gap")

    @field_validator("half_lives_days")
    @classmethod
    def _half_lives(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)) or value[0] <= 0 or value[-1] > 3_650:
            raise refuse("days above 0 and up to 3650, each longer than the one before")
        return value


class Remember(Model):
    """Properties of an event that are kept for message templates until one of ``cleared_by`` happens."""

    properties: Unique[Name] = Field(min_length=1, max_length=32)
    cleared_by: Unique[EventName] = Field(default=(), max_length=32)


# --- predictions and segments ----------------------------------------------------------------------------------------


class Categories(Model):
    """Lower edges of *medium* and *high*; *low* is what is below."""

    medium: float = 50.0
    high: float = 75.0

    @model_validator(mode="after")
    def _order(self) -> Categories:
        if not 0 < self.medium < self.high < 100:
            raise refuse(f"0 < medium < high < 100 (found medium {self.medium:g}, high {self.high:g})")
        return self


class RiverModel(Model):
    """A river classifier by its import path, run as it is in the learner."""

    river: Annotated[str, Field(pattern=RIVER_PATTERN)]
    params: dict[Name, Scalar] = Field(default_factory=dict, max_length=64)
    scale: bool = True


def _model_kind(value: Any) -> str | None:
    if value == "logistic":
        return "~logistic"
    return "~river" if isinstance(value, dict | RiverModel) else None


class Prediction(Model):
    """A question with a goal, a window and an audience; answered for every user of the audience."""

    name: Name
    kind: Literal["event", "churn"] = "event"
    goal: Goal
    window_s: Duration = Field(alias="window")
    audience: Filter | None = None
    given_lookback_s: Duration | None = Field(default=None, alias="lookback")
    categories: Categories = Categories()
    hysteresis: float = Field(default=5.0, ge=0, le=50)
    scale: Literal["percentile", "probability"] = "percentile"
    access: Literal["live", "preview", "demo"] = "live"
    model: Annotated[
        Annotated[Literal["logistic"], Tag("~logistic")] | Annotated[RiverModel, Tag("~river")],
        Discriminator(
            _model_kind,
            custom_error_type="expected",
            custom_error_message="logistic, or {river: river.module.Class, params: {...}, scale: true}",
        ),
    ] = "logistic"
    memory_examples: int = Field(default=100_000, ge=1_000, le=1_000_000_000)

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
    filter: Filter
    min_dwell_s: Duration = Field(default=0.0, alias="min_dwell")


# --- the rest --------------------------------------------------------------------------------------------------------


class Time(Model):
    """The clock's rules."""

    max_ahead_s: Duration = Field(default=300.0, alias="max_ahead")
    lateness_s: Duration = Field(default=0.0, alias="lateness")


class Limits(Model):
    """Bounds on everything that could grow, per shard unless said otherwise."""

    users: int = Field(default=2_000_000, ge=1, le=100_000_000)
    pending_examples: int = Field(default=1_000_000, ge=1_000, le=100_000_000)
    dedupe_ids: int = Field(default=1_000_000, ge=0, le=100_000_000)
    event_names: int = Field(default=64, ge=1, le=1_024)
    trait_values: int = Field(default=64, ge=1, le=1_024)
    batch_events: int = Field(default=4_096, ge=1, le=65_536)
    property_bytes: int = Field(default=65_536, ge=256, le=16_777_216)
    dead_letters: int = Field(default=10_000, ge=0, le=10_000_000)
    backfill_users_per_minute: int = Field(default=50_000, ge=1, le=10_000_000)
    outbox: int = Field(default=100_000, ge=1_000, le=10_000_000)


class Catalog(Model):
    """Everything that Tideline is told about the events, the predictions and the segments."""

    version: Literal[1]
    name: Name
    input: Input = SegmentInput()
    features: Features = Features()
    history: Unique[EventName] = Field(default=(), max_length=32)
    remember: dict[EventName, Remember] = Field(default_factory=dict, max_length=32)
    predictions: dict[Id, Prediction] = Field(min_length=1, max_length=32)
    segments: dict[Id, Segment] = Field(default_factory=dict, max_length=256)
    time: Time = Time()
    limits: Limits = Limits()

    @property
    def value_property(self) -> str | None:
        """The event property with the money: ``features.value``, or ``value`` where only ``input.value`` is given."""
        if self.features.value is not None or isinstance(self.input, SegmentInput):
            return self.features.value
        return "value" if self.input.value is not None else None

    @property
    def trait_features(self) -> dict[str, TraitFeature]:
        """How each trait under ``features.traits`` becomes columns, limits filled in."""
        traits = self.features.traits
        given = traits if isinstance(traits, dict) else {name: TraitLimit() for name in traits}
        full = TraitLimit(limit=self.limits.trait_values)
        return {k: full if isinstance(v, TraitLimit) and v.limit is None else v for k, v in given.items()}

    def filters(self) -> list[Filter]:
        """Every audience (churn's lookback included) and segment filter, in catalog order."""
        audiences = [p.audience_filter for p in self.predictions.values()]
        return [f for f in audiences if f is not None] + [s.filter for s in self.segments.values()]

    def named_events(self) -> tuple[str, ...]:
        """Event names that need a column of their own: listed, in goals, filters or history; first use first."""
        names = dict.fromkeys(self.features.events if isinstance(self.features.events, tuple) else ())
        names |= dict.fromkeys(atom.event for p in self.predictions.values() for atom in p.goal.atoms)
        inner = [node for f in self.filters() for node in walk(f)]
        names |= dict.fromkeys(node.event for node in inner if isinstance(node, CountFilter | SinceFilter))
        names |= dict.fromkeys(self.history)
        return tuple(names)

    def named_traits(self) -> tuple[str, ...]:
        """Traits that are kept per user: those that are features and those that filters name; first use first."""
        names = dict.fromkeys(self.trait_features)
        inner = [node for f in self.filters() for node in walk(f)]
        names |= dict.fromkeys(node.trait for node in inner if isinstance(node, TraitFilter))
        return tuple(names)
