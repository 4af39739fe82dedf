"""Filters: who is in a segment or in the audience of a prediction, as a tree of small conditions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from config.base import (
    SEGMENT_PATTERN,
    Duration,
    EventName,
    Id,
    Model,
    Name,
    Scalar,
    Tup,
    branch,
    check_buckets,
    refuse,
)
from config.conditions import (
    Between,
    Condition,
    CountRange,
    Equals,
    Exists,
    OneOf,
    Range,
    check_ends,
)

_Word: TypeAlias = Literal["low", "medium", "high"]


class AllFilter(Model):
    """Every filter in it holds."""

    filters: Tup[Filter] = Field(alias="all", min_length=1, max_length=64)
    """List of filters, 1 to 64."""


class AnyFilter(Model):
    """At least one filter in it holds."""

    filters: Tup[Filter] = Field(alias="any", min_length=1, max_length=64)
    """List of filters, 1 to 64."""


class NotFilter(Model):
    """The filter in it does not hold."""

    filter: Filter = Field(alias="not")
    """A filter."""


class ScoreFilter(Model):
    """The score of a live prediction is in [min, max), closed at 100. A null score never matches."""

    prediction: Id
    """Id of a prediction with access live."""
    score: Range
    """Range of the score, 0 to 100."""

    @field_validator("score")
    @classmethod
    def _scale(cls, value: Range) -> Range:
        return _inside(value, 100)


class LikelihoodFilter(Model):
    """The likelihood of a live prediction is in [min, max), closed at 1. A null likelihood never matches."""

    prediction: Id
    """Id of a prediction with access live."""
    likelihood: Range
    """Range of the likelihood, 0 to 1."""

    @field_validator("likelihood")
    @classmethod
    def _scale(cls, value: Range) -> Range:
        return _inside(value, 1)


class CategoryFilter(Model):
    """The category of a live prediction is one of ``low``, ``medium``, ``high``."""

    prediction: Id
    """Id of a prediction with access live."""
    categories: Tup[str] = Field(alias="category", min_length=1, max_length=3)
    """low, medium or high, or a list of them."""

    @field_validator("categories", mode="before", json_schema_input_type=_Word | list[_Word])
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("categories")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= {"low", "medium", "high"} or len(set(value)) != len(value):
            raise refuse("low, medium or high, or a list of them")
        return value


class TraitFilter(Model):
    """A trait fulfils a condition: exactly one of ``equals``, ``in``, ``min``/``max``, ``exists``."""

    trait: Name
    """Name of the trait; it need not be listed under features."""
    equals: Scalar | None = None
    """The trait is this value."""
    one_of: Tup[Scalar] | None = Field(default=None, alias="in", min_length=1, max_length=256)
    """The trait is one of these values, 1 to 256."""
    min: float | None = None
    """The trait is a number and at least this."""
    max: float | None = None
    """The trait is a number and at most this."""
    exists: bool | None = None
    """true: the trait is known; false: it is not."""

    @model_validator(mode="after")
    def _one_condition(self) -> TraitFilter:
        ranged = self.min is not None or self.max is not None
        given = [self.equals is not None, self.one_of is not None, ranged, self.exists is not None]
        if sum(given) != 1:
            raise refuse("exactly one of equals, in, min/max, exists beside trait")
        if ranged:
            check_ends(self.min, self.max)
        return self

    @property
    def condition(self) -> Condition:
        """The condition on the trait's value."""
        if self.equals is not None:
            return Equals(equals=self.equals)
        if self.one_of is not None:
            return OneOf.model_validate({"in": self.one_of})
        if self.exists is not None:
            return Exists(exists=self.exists)
        return Between(min=self.min, max=self.max)


class CountFilter(Model):
    """How often the user did something: ever, or within the last hours or days (names under ``history`` only)."""

    event: EventName
    """Name of the event; with within it must be listed under history."""
    count: CountRange
    """How often."""
    within_s: Duration | None = Field(default=None, alias="within")
    """Only the last so many hours (up to 48h) or days (up to 90d), the current one included."""

    @field_validator("within_s")
    @classmethod
    def _buckets(cls, value: float | None) -> float | None:
        wrong = check_buckets(value) if value is not None else None
        if wrong:
            raise refuse(wrong)
        return value


class SinceRange(Model):
    """``min <= time since < max``; a missing end is open."""

    min_s: Duration | None = Field(default=None, alias="min")
    """At least so long ago."""
    max_s: Duration | None = Field(default=None, alias="max")
    """Less long ago than this."""

    @model_validator(mode="after")
    def _check(self) -> SinceRange:
        check_ends(self.min_s, self.max_s)
        if self.min_s is not None and self.min_s == self.max_s:
            raise refuse("min below max (a range is min <= x < max)")
        return self


class SinceFilter(Model):
    """The time since the latest event of a name is in [min, max). Never matches when it never happened."""

    event: EventName
    """Name of the event."""
    since: SinceRange
    """How long ago the latest one is; never true when there is none."""


class SegmentFilter(Model):
    """The user is a member of another segment: one of ``segments``, or ``PREDICTION.low|medium|high``."""

    segment: Annotated[str, Field(pattern=SEGMENT_PATTERN)]
    """Id of a segment, or PREDICTION.low, PREDICTION.medium, PREDICTION.high."""


_TYPES: dict[str, type[Model]] = {
    "~all": AllFilter,
    "~any": AnyFilter,
    "~not": NotFilter,
    "~score": ScoreFilter,
    "~likelihood": LikelihoodFilter,
    "~category": CategoryFilter,
    "~trait": TraitFilter,
    "~count": CountFilter,
    "~since": SinceFilter,
    "~segment": SegmentFilter,
}


def _filter_kind(value: Any) -> str | None:
    return branch(value, {tag[1:]: tag for tag in _TYPES}, _TYPES)


Filter: TypeAlias = Annotated[
    Annotated[AllFilter, Tag("~all")]
    | Annotated[AnyFilter, Tag("~any")]
    | Annotated[NotFilter, Tag("~not")]
    | Annotated[ScoreFilter, Tag("~score")]
    | Annotated[LikelihoodFilter, Tag("~likelihood")]
    | Annotated[CategoryFilter, Tag("~category")]
    | Annotated[TraitFilter, Tag("~trait")]
    | Annotated[CountFilter, Tag("~count")]
    | Annotated[SinceFilter, Tag("~since")]
    | Annotated[SegmentFilter, Tag("~segment")],
    Discriminator(
        _filter_kind,
        custom_error_type="expected",
        custom_error_message="a filter: all, any, not, prediction with score, likelihood or category, trait, "
        "event with count or since, or segment",
    ),
]

AllFilter.model_rebuild()
AnyFilter.model_rebuild()
NotFilter.model_rebuild()


def _inside(value: Range, top: float) -> Range:
    low, high = value.min, value.max
    if (low is not None and not 0 <= low <= top) or (high is not None and not 0 <= high <= top):
        raise refuse(f"min and max from 0 to {top:g}")
    return value


def walk(filter_: Filter) -> Iterator[Filter]:
    """The filter and every filter inside it, outer ones first, in the order of the text."""
    yield filter_
    if isinstance(filter_, AllFilter | AnyFilter):
        for inner in filter_.filters:
            yield from walk(inner)
    elif isinstance(filter_, NotFilter):
        yield from walk(filter_.filter)
