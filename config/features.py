"""What is computed of every user, and what is kept of events for message templates."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator

from config.base import Duration, EventName, Model, Name, Scalar, Tup, Unique, branch, refuse


class EventLimit(Model):
    """The names found first get columns, up to this many; all others share one."""

    limit: int = Field(ge=0, le=64)
    """How many event names get columns of their own as they are found, beside those that the catalog names."""


class TraitValues(Model):
    """A column for each of these values of the trait."""

    values: Unique[Scalar] = Field(min_length=1, max_length=256)
    """The values that get a column each."""


class TraitLimit(Model):
    """A column for each value of the trait found first, up to this many (None: ``limits.trait_values``)."""

    limit: int | None = Field(default=None, ge=1, le=1_024)
    """How many values get a column each, as they are found; without it limits.trait_values."""


class NumericTrait(Model):
    """The trait's number is one column."""

    numeric: Literal[True]
    """true: the trait is a number and one column."""


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
    """Event names with columns of their own, or {limit: N} for the first N found. All other names share one."""
    value: Name | None = None
    """Event property with the money."""
    traits: Annotated[
        Annotated[Unique[Name], Tag("~list")] | Annotated[dict[Name, TraitFeature], Tag("~map")],
        Discriminator(
            _list_or_map,
            custom_error_type="expected",
            custom_error_message="a list of trait names or a mapping from trait name to values, limit or numeric",
        ),
    ] = ()
    """Traits that become features: a list of names, or a mapping from name to values, limit or numeric."""
    half_lives_days: Tup[float] = Field(default=(1.0, 7.0, 30.0, 90.0), min_length=1, max_length=8)
    """Days after which a decayed count has halved; one column each per event name."""
    session_gap_s: Duration = Field(default=1_800.0, alias="session_gap")
    """A new session begins after so long without an event."""

    @field_validator("half_lives_days")
    @classmethod
    def _half_lives(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)) or value[0] <= 0 or value[-1] > 3_650:
            raise refuse("days above 0 and up to 3650, each longer than the one before")
        return value


class Remember(Model):
    """Properties of an event that are kept for message templates until one of ``cleared_by`` happens."""

    properties: Unique[Name] = Field(min_length=1, max_length=32)
    """Properties that are kept."""
    cleared_by: Unique[EventName] = Field(default=(), max_length=32)
    """Events that clear them."""
