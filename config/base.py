"""What all types of the catalog share: the model base and the small types of its keys and values."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    Strict,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from config.durations import DAY_S, EXPECTED, HOUR_S, PATTERN, parse_duration
from config.notes import PREFIX, is_note

MAX_NAME = 200
MAX_WINDOW_S = 90 * DAY_S
MAX_DURATION_S = 3_650 * DAY_S
HOURLY_UP_TO_S = 48 * HOUR_S

ID_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
SEGMENT_PATTERN = r"^[a-z][a-z0-9_]{0,62}(\.(low|medium|high))?$"
RIVER_PATTERN = r"^river(\.[A-Za-z_][A-Za-z0-9_]*){2,}$"
DELIMITER_PATTERN = r'^[^"\r\n]$'
PATTERN_WORDS = {
    ID_PATTERN: "an id: small letters, digits and _, a letter first, at most 63 characters",
    SEGMENT_PATTERN: "the id of a segment, or PREDICTION.low, PREDICTION.medium or PREDICTION.high",
    RIVER_PATTERN: "the import path of a class of river, such as river.tree.HoeffdingTreeClassifier",
    DELIMITER_PATTERN: "one character, not a quote or a line end",
}

T = TypeVar("T")


class Model(BaseModel):
    """Base of every catalog type: immutable, no unknown keys, no guessing of types (``"8"`` is not 8)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _note_class(cls, data: Any, info: ValidationInfo) -> Any:
        # The loader wants to know which keys a mapping could have had, to suggest one for a misspelt key.
        if isinstance(info.context, dict) and isinstance(data, dict):
            info.context[id(data)] = cls
        return data


def branch(value: object, keys: dict[str, str], types: dict[str, type[Model]]) -> str | None:
    """The tag of a union's branch: by the first of ``keys`` that a mapping has, or by the type of a ready object.

    Tags begin with ``~`` so that the loader can tell them from keys of the text in the location of an error.
    None when nothing fits; pydantic then says what would.
    """
    if isinstance(value, dict):
        return next((tag for key, tag in keys.items() if key in value), None)
    return next((tag for tag, type_ in types.items() if isinstance(value, type_)), None)


NAME_SCHEMA: JsonSchemaValue = {"type": "string", "minLength": 1, "maxLength": MAX_NAME}


def bare_or(bare: JsonSchemaValue, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """The JSON schema of a mapping that may also be written as one bare value."""
    return {"anyOf": [bare, handler(core)]}


def refuse(expected: str) -> PydanticCustomError:
    """The error that says what a value should have been; the loader adds line, path and what was found.

    The loader also looks in it for a word that may be meant; `refuse_rule` is for sentences in which there is none.
    """
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


def refuse_rule(expected: str) -> PydanticCustomError:
    """The same for a rule between several values."""
    return PydanticCustomError("rule", "{expected}", {"expected": expected})


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise refuse(str(error)) from error
    elif isinstance(value, float) or (value == 0 and not isinstance(value, bool)):
        # Made in code, in seconds. In a text only 0 stands without a unit, so 7.0 is refused by `_unit`.
        seconds = float(value)
    else:
        raise refuse(EXPECTED)
    if not 0 <= seconds <= MAX_DURATION_S:
        raise refuse("a duration from 0 to 3650d")
    return seconds


def _unit(value: Any, info: ValidationInfo) -> Any:
    if info.context is not None and isinstance(value, float) and value != 0:
        raise refuse(EXPECTED)
    return value


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | bool | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise refuse("text, a number, true or false")
    return value


def _event_name(value: str) -> str:
    if value == "*":
        raise refuse("an event name (* stands for all names without a column of their own)")
    if is_note(value):
        raise refuse_rule(f"an event that users do: what begins with {PREFIX!r} is written by campaigns")
    return value


def _unique(value: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(value)) != len(value):
        raise refuse("each name once")
    return value


# Lists in the text, tuples in memory: a catalog never changes after loading.
Kind: TypeAlias = Literal["prediction", "segment"]
"""What can be defined while a service runs."""
KINDS: Final[tuple[Kind, ...]] = ("prediction", "segment")
Tup: TypeAlias = Annotated[tuple[T, ...], Strict(False)]
Unique: TypeAlias = Annotated[tuple[T, ...], Strict(False), AfterValidator(_unique)]
Scalar: TypeAlias = Annotated[str | bool | int | float, BeforeValidator(_scalar)]
Name: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
EventName: TypeAlias = Annotated[Name, AfterValidator(_event_name)]
Id: TypeAlias = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
DurationText: TypeAlias = Annotated[str, Field(pattern=PATTERN)] | Literal[0]
Duration: TypeAlias = Annotated[
    float,
    BeforeValidator(_duration, json_schema_input_type=DurationText),
    BeforeValidator(_unit, json_schema_input_type=DurationText),
]


def check_buckets(window_s: float) -> str | None:
    """What is wrong with a window that is counted in whole buckets: hours up to 48 h, days above, at most 90 days."""
    if window_s < HOUR_S or window_s > MAX_WINDOW_S:
        return "a window from 1h to 90d"
    if window_s <= HOURLY_UP_TO_S:
        return None if window_s % HOUR_S == 0 else "whole hours (windows up to 48h are counted in hours)"
    return None if window_s % DAY_S == 0 else "whole days (windows above 48h are counted in days)"
