"""Conditions on one value: of an event property (``where``) or of a trait."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from pydantic import Discriminator, Field, GetJsonSchemaHandler, Tag, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from config.base import Model, Scalar, Tup, bare_or, branch, refuse

MAX_WHERE: Final = 16
"""Properties of one event that conditions may be of."""
EXPECTED = "a value, or one of {equals: value}, {in: [values]}, {min: number, max: number}, {exists: true}"


class Equals(Model):
    """The value is the given one. Numbers compare as numbers (1 is 1.0); true is not 1; text is case-sensitive."""

    value: Scalar = Field(alias="equals")
    """The value."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else {"equals": data}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return bare_or({"type": ["string", "boolean", "number"]}, core, handler)


class OneOf(Model):
    """The value is one of those given (1 to 256), compared as in ``Equals``."""

    values: Tup[Scalar] = Field(alias="in", min_length=1, max_length=256)
    """The values, 1 to 256."""


class Between(Model):
    """The value is a number with ``min <= value <= max``, both ends included; one of them may be left out."""

    min: float | None = None
    """At least this number."""
    max: float | None = None
    """At most this number."""

    @model_validator(mode="after")
    def _check(self) -> Between:
        check_ends(self.min, self.max)
        return self


class Exists(Model):
    """The value is there and not null (``exists: true``), or is not (``exists: false``)."""

    exists: bool
    """true: the value must be there; false: it must not."""


def check_ends(low: float | None, high: float | None) -> None:
    """Refuse a range without ends or with ends in the wrong order."""
    if low is None and high is None:
        raise refuse("min, max or both")
    if low is not None and high is not None and low > high:
        raise refuse(f"min not above max (found min {low:g}, max {high:g})")


def _condition_kind(value: Any) -> str | None:
    """The tag of a condition, by its keys or its type; None when none fits."""
    if isinstance(value, str | bool | int | float):
        return "~equals"
    keys = {"equals": "~equals", "in": "~in", "min": "~range", "max": "~range", "exists": "~exists"}
    return branch(value, keys, {"~equals": Equals, "~in": OneOf, "~range": Between, "~exists": Exists})


Condition: TypeAlias = Annotated[
    Annotated[Equals, Tag("~equals")]
    | Annotated[OneOf, Tag("~in")]
    | Annotated[Between, Tag("~range")]
    | Annotated[Exists, Tag("~exists")],
    Discriminator(
        _condition_kind,
        custom_error_type="expected",
        custom_error_message=EXPECTED,
    ),
]


class Range(Model):
    """Half-open: ``min <= x < max``. A missing end is open. For scores and likelihoods the top (100, 1) is closed."""

    min: float | None = None
    """From this on."""
    max: float | None = None
    """Up to but without this (the top of the scale is included)."""

    @model_validator(mode="after")
    def _check(self) -> Range:
        check_ends(self.min, self.max)
        if self.min is not None and self.min == self.max:
            raise refuse("min below max (a range is min <= x < max)")
        return self


class CountRange(Model):
    """How many: ``min <= count <= max``, both included, whole numbers; a missing end is open."""

    min: int | None = Field(default=None, ge=0)
    """At least so many."""
    max: int | None = Field(default=None, ge=0)
    """At most so many."""

    @model_validator(mode="after")
    def _check(self) -> CountRange:
        check_ends(self.min, self.max)
        return self

    @field_validator("min", "max")
    @classmethod
    def _bounded(cls, value: int | None) -> int | None:
        if value is not None and value > 1_000_000_000:
            raise refuse("at most 1000000000")
        return value
