"""What all types of the catalog share: the model base and the small types of its keys and values."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from config.durations import DAY_S, EXPECTED, HOUR_S, PATTERN, parse_duration

MAX_NAME = 200
MAX_WINDOW_S = 90 * DAY_S
HOURLY_UP_TO_S = 48 * HOUR_S

T = TypeVar("T")


class Model(BaseModel):
    """Base of every catalog type: immutable, no unknown keys, no guessing of types (``"8"`` is not 8)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="constants")


    @model_validator(mode="before")
    @classmethod
    def _note_class(cls, data: Any, info: ValidationInfo) -> Any:
        # The loader wants to know which keys a mapping could have had, to suggest one for a misspelt key.
        if isinstance(info.context, dict) and isinstance(data, dict):
            info.context[id(data)] = cls
        return data


def tag_by_key(value: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """The tag of a union's branch: the first of the keys that the mapping has.

    Tags begin with ``~`` so that the loader can tell them from keys of the text in the location of an error.
    """
    return next((f"~{key}" for key in keys if key in value), None)


def refuse(expected: str) -> PydanticCustomError:
    """The error that says what a value should have been; the loader adds line, path and what was found."""
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


def _duration(value: Any) -> Any:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if isinstance(value, float):
        return value  # already seconds: a value made in code, never text (the loader refuses bare numbers)
    if not isinstance(value, str):
        raise refuse(EXPECTED)
    try:
        return parse_duration(value)
    except ValueError as error:
        raise refuse(str(error)) from error


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | bool | int | float):
        raise refuse("text, a number, true or false")
    return value


# Lists in the text, tuples in memory: a catalog never changes after loading.
Tup: TypeAlias = Annotated[tuple[T, ...], Strict(False)]
Scalar: TypeAlias = Annotated[str | bool | int | float, BeforeValidator(_scalar)]
Name: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
Id: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Duration: TypeAlias = Annotated[
    float,
    BeforeValidator(_duration, json_schema_input_type=Annotated[str, Field(pattern=PATTERN)]),
    Field(ge=0, le=10 * 365 * DAY_S),
]


def check_buckets(window_s: float) -> str | None:
    """What is wrong with a window that is counted in whole buckets: hours up to 48 h, days above, at most 90 days."""
    if window_s < HOUR_S or window_s > MAX_WINDOW_S:
        return "a window from 1h to 90d"
    if window_s <= HOURLY_UP_TO_S:
        return None if window_s % HOUR_S == 0 else "whole hours (windows up to 48h are counted in hours)"
    return None if window_s % DAY_S == 0 else "whole days (windows above 48h are counted in days)"
