"""The catalog: the product as data. ``config.loader`` makes one from YAML; docs/catalog.md is the reference.

Only the loader runs the checks between parts (names that must exist, cycles, what a mapping leaves out).
Durations are seconds here (``window_s``), and text with a unit in the YAML (``window: 7d``).
All types of a catalog can be imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, PrivateAttr

from config.base import Duration, EventName, Id, Kind, Model, Name, Unique
from config.conditions import Between, Condition, CountRange, Equals, Exists, OneOf, Range
from config.features import EventLimit, Features, NumericTrait, Remember, TraitFeature, TraitLimit, TraitValues
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
from config.inputs import ConstantEvent, CsvInput, Input, NdjsonInput, SegmentInput, TimeField
from config.origin import Origin
from config.predictions import Categories, Prediction, RiverModel, Segment, category_names
from config.sections import Sections

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


class Time(Model):
    """The clock's rules."""

    max_ahead_s: Duration = Field(default=300.0, alias="max_ahead")
    """An event further in the future than this, seen from its arrival, is moved back to its arrival."""
    lateness_s: Duration = Field(default=0.0, alias="lateness")
    """How long labels wait for late events after their window has closed."""


class Limits(Model):
    """Bounds on everything that could grow, per shard unless said otherwise."""

    users: int = Field(default=2_000_000, ge=1, le=100_000_000)
    """Users in memory, per shard."""
    pending_examples: int = Field(default=500_000, ge=1_000, le=100_000_000)
    """Examples that wait for their label, per shard."""
    dedupe_ids: int = Field(default=1_000_000, ge=0, le=100_000_000)
    """Message ids that are remembered to drop duplicates, per shard."""
    event_names: int = Field(default=64, ge=1, le=1_024)
    """Event names with columns of their own."""
    trait_values: int = Field(default=64, ge=1, le=1_024)
    """Values with columns of their own, per trait."""
    batch_events: int = Field(default=4_096, ge=1, le=65_536)
    """Events in one batch."""
    property_bytes: int = Field(default=65_536, ge=256, le=16_777_216)
    """Size of one event as it came in."""
    dead_letters: int = Field(default=10_000, ge=0, le=10_000_000)
    """Refused events that are kept, per shard."""
    backfill_users_per_minute: int = Field(default=5_000, ge=1, le=10_000_000)
    """Users looked at per minute of event time when a prediction goes live."""
    commit_users: int = Field(default=5_000, ge=1, le=1_000_000)
    """Changed users after which the next commit is due, in the middle of a batch if need be, per shard."""
    commit_transitions: int = Field(default=5_000, ge=1, le=1_000_000)
    """Transitions after which the next commit is due, likewise."""
    remember_bytes: int = Field(default=4_096, ge=64, le=1_048_576)
    """Size of what one event leaves under `remember`, per user and event name."""
    deleted_users: int = Field(default=200_000, ge=1, le=10_000_000)
    """Deleted users that are known as such, per shard."""


class Catalog(Model):
    """Everything that Tideline is told about the events, the predictions and the segments."""

    version: Literal[1]
    """Version of this format: 1."""
    name: Name
    """Name of the catalog, for people."""
    input: Input = SegmentInput()
    """How events are read."""
    features: Features = Features()
    """What is computed of every user."""
    history: Unique[EventName] = Field(default=(), max_length=32)
    """Event names that keep counts per hour and day, for filters with within."""
    remember: dict[EventName, Remember] = Field(default_factory=dict, max_length=32)
    """Event name: properties of it that are kept for message templates."""
    predictions: dict[Id, Prediction] = Field(min_length=1, max_length=32)
    """Id: prediction, 1 to 32."""
    segments: dict[Id, Segment] = Field(default_factory=dict, max_length=256)
    """Id: segment. PREDICTION.low, .medium and .high exist by themselves."""
    time: Time = Time()
    """The clock's rules."""
    limits: Limits = Limits()
    """Bounds on everything that could grow."""
    _origin: Origin = PrivateAttr(default_factory=Origin)
    _sections: Sections = PrivateAttr(default_factory=Sections)

    @property
    def origin(self) -> Origin:
        """Where its parts stand in the text that it was read from."""
        return self._origin

    def read_from(self, origin: Origin) -> Catalog:
        """This catalog, which now knows where it was read; its meaning stays the same."""
        self._origin = origin
        return self

    @property
    def sections(self) -> Sections:
        """What the file that it was read from says of campaigns; no part of its meaning for shards."""
        return self._sections

    def with_sections(self, sections: Sections) -> Catalog:
        """This catalog, which now has campaigns beside it; its meaning stays the same."""
        self._sections = sections
        return self

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

    def of(self, kind: Kind) -> Mapping[str, Prediction | Segment]:
        """The definitions of a kind, by their ids."""
        return self.predictions if kind == "prediction" else self.segments

    def filters(self) -> list[Filter]:
        """Every audience (churn's lookback included) and segment filter, in catalog order."""
        audiences = [p.audience_filter for p in self.predictions.values()]
        return [f for f in audiences if f is not None] + [s.filter for s in self.segments.values()]

    def named_events(self) -> tuple[str, ...]:
        """Event names that need a column of their own, first use first: those of features, goals, filters, history, and
        those that clear what is remembered.
        """
        names = dict.fromkeys(self.features.events if isinstance(self.features.events, tuple) else ())
        names |= dict.fromkeys(atom.event for p in self.predictions.values() for atom in p.goal.atoms)
        inner = [node for f in self.filters() for node in walk(f)]
        names |= dict.fromkeys(node.event for node in inner if isinstance(node, CountFilter | SinceFilter))
        names |= dict.fromkeys(self.history)
        names |= dict.fromkeys(name for rule in self.remember.values() for name in rule.cleared_by)
        return tuple(names)

    def named_traits(self) -> tuple[str, ...]:
        """Traits that are kept per user: those that are features and those that filters name; first use first."""
        names = dict.fromkeys(self.trait_features)
        inner = [node for f in self.filters() for node in walk(f)]
        names |= dict.fromkeys(node.trait for node in inner if isinstance(node, TraitFilter))
        return tuple(names)
