"""How events are read: Segment-spec JSON, or any NDJSON or CSV by naming the fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, GetJsonSchemaHandler, Tag, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from config.base import DELIMITER_PATTERN, NAME_SCHEMA, EventName, Model, Name, bare_or, refuse, refuse_rule
from config.times import Zone


class SegmentInput(Model):
    """Segment-spec ``track`` and ``identify`` JSON, one object a line."""

    format: Literal["segment"] = "segment"
    """segment: Segment-spec track and identify JSON, one object a line."""


class ConstantEvent(Model):
    """Every row is an event of this name."""

    constant: EventName
    """Every row is an event of this name."""


class TimeField(Model):
    """Where the event time is and how it is written. ``timezone`` is for ISO times that do not carry one."""

    field: Name
    """Field with the event time."""
    unit: Literal["iso", "s", "ms"] = "iso"
    """iso (ISO 8601, also a date alone or 19970101), s or ms since 1970."""
    timezone: Zone = "UTC"
    """Time zone of ISO times that carry none."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, data: Any) -> Any:
        return {"field": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return bare_or(NAME_SCHEMA, core, handler)


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
    """Field with the user id."""
    event: EventSource
    """Field with the event name, or {constant: NAME} when every row is the same event."""
    time: TimeField
    """Field with the event time, or {field, unit, timezone}."""
    message_id: Name | None = None
    """Field with an id of the event, by which duplicates are dropped; without it every row counts."""
    value: Name | None = None
    """Field with the money; it becomes the property that features.value names."""
    traits: dict[Name, Name] = Field(default_factory=dict, max_length=64)
    """Trait name: field."""
    properties: dict[Name, Name] = Field(default_factory=dict, max_length=256)
    """Property name: field."""


class NdjsonInput(MappedInput):
    """Any JSON, one object a line."""

    format: Literal["ndjson"]
    """ndjson: any JSON, one object a line; a field may be a dotted path such as context.user.id."""


class CsvInput(MappedInput):
    """Any CSV with a header line."""

    format: Literal["csv"]
    """csv: any CSV with a header line."""
    delimiter: Annotated[str, Field(pattern=DELIMITER_PATTERN)] = ","
    """The character between two columns."""
    decimal: Literal[".", ","] = "."
    """The character before the decimals of numbers; with a comma, 12,50 is a number and 12.50 is none."""
    encoding: Name = "utf-8"
    """The text encoding of the file."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError as error:
            raise refuse("a text encoding such as utf-8, latin-1 or cp1252") from error
        return value

    @model_validator(mode="after")
    def _two_characters(self) -> CsvInput:
        if self.delimiter == self.decimal:
            given = "delimiter" in self.model_fields_set
            raise refuse_rule(
                f"a delimiter other than {self.decimal!r}, which stands before the decimals: "
                + ("what parts the columns" if given else 'delimiter: ";" or what else parts the columns')
            )
        return self


def _input_format(value: Any) -> str | None:
    found = value.get("format", "segment") if isinstance(value, dict) else getattr(value, "format", None)
    return f"~{found}" if found in ("segment", "ndjson", "csv") else None


Input: TypeAlias = Annotated[
    Annotated[SegmentInput, Tag("~segment")]
    | Annotated[NdjsonInput, Tag("~ndjson")]
    | Annotated[CsvInput, Tag("~csv")],
    Discriminator(_input_format, custom_error_type="input_format", custom_error_message="segment, ndjson or csv"),
]
