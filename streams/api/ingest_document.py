"""What the ingest routes take and answer, for the document: they read bodies themselves, so it is written by hand."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

from streams.api.segment_calls import MAX_ITEMS

_OBJECT: Final = {"type": ["object", "null"]}
_TEXT: Final = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
_TIME: Final = {
    "type": ["string", "null"],
    "description": "When it happened, as ISO 8601 (other forms than this one are read, too), from 1980 to 2100. A "
    "clock that is off is corrected: received - (sentAt - this). Without it, when it was received.",
    "pattern": r"^(19[89]\d|20\d\d)-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z$",
}


def _id(description: str, **more: Any) -> dict[str, Any]:
    return {"description": description, "type": ["string", "integer"], "maxLength": 512, "pattern": _TEXT, **more}


_CALL: Final[dict[str, Any]] = {
    "userId": {"description": "Who did it.", "type": ["string", "integer", "null"], "maxLength": 512},
    "anonymousId": {"description": "Who did it, where there is no userId: taken, but nobody is scored by it."},
    "messageId": {
        "description": "By which duplicates are found: an event with its own may be sent again. Made up where there is "
        "none, and told in the answer.",
        "type": ["string", "integer", "null"],
    },
    "timestamp": _TIME,
    "sentAt": {"description": "What the sender's clock said when it sent this."},
    "context": _OBJECT,
    "integrations": _OBJECT,
}
_WHO: Final = [
    {"required": ["userId"], "properties": {"userId": _id("Who did it.")}},
    {"required": ["anonymousId"], "properties": {"anonymousId": _id("Who did it.")}},
]
_EXAMPLE: Final = {"userId": "ann", "messageId": "m-1", "timestamp": "2026-05-31T12:00:00.000Z"}
TRACK: Final[dict[str, Any]] = {
    "title": "Track",
    "type": "object",
    "required": ["event"],
    "anyOf": _WHO,
    "properties": {
        **_CALL,
        "event": {
            "description": "What was done.",
            "type": ["string", "integer"],
            "maxLength": 256,
            "pattern": _TEXT,
        },
        "properties": _OBJECT,
    },
    "example": {**_EXAMPLE, "event": "Order Completed", "properties": {"revenue": 12.5}},
}
IDENTIFY: Final[dict[str, Any]] = {
    "title": "Identify",
    "type": "object",
    "anyOf": _WHO,
    "properties": {**_CALL, "traits": _OBJECT},
    "example": {**_EXAMPLE, "traits": {"country": "DE"}},
}
OTHER: Final[dict[str, Any]] = {
    "title": "Other call",
    "type": "object",
    "example": {**_EXAMPLE, "name": "Home"},
}
BATCH: Final[dict[str, Any]] = {
    "title": "Batch",
    "type": "object",
    "required": ["batch"],
    "properties": {
        "batch": {
            "description": "Calls, each with its `type`: track and identify are used, page, screen, group and alias "
            "ignored. Whatever else is there becomes a dead letter, and does not hold up the others.",
            "type": "array",
            "maxItems": MAX_ITEMS,
            "items": {},
        },
        "sentAt": {"description": "What the sender's clock said when it sent this."},
        "context": {**_OBJECT, "description": "Holds for every call that does not say otherwise."},
        "integrations": {**_OBJECT, "description": "Likewise."},
    },
    "example": {
        "sentAt": "2026-05-31T12:00:01.000Z",
        "batch": [
            {"type": "track", **TRACK["example"]},
            {"type": "identify", **IDENTIFY["example"], "messageId": "m-2"},
        ],
    },
}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of an operation that says what body it takes."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class Unused(BaseModel):
    """An event that was taken into the log, and of which the worker will make a dead letter."""

    index: int = Field(description="Its place in the batch.")
    reason: str = Field(description="As in docs/input.md.", examples=["missing_user"])
    detail: str


class MadeId(BaseModel):
    """The message id that an event without one got."""

    index: int = Field(description="Its place in the batch.")
    messageId: str  # noqa: N815  Segment's spelling


class Accepted(BaseModel):
    """All events are in the log, and stay there whatever happens to this service."""

    success: bool = Field(description="Always true; an error has another form.")
    accepted: int = Field(description="Events in the log.")
    ignored: dict[str, int] = Field(description="Calls of types that are not used, by type; they are nowhere.")
    unusable: int = Field(description="Of those accepted, how many will be dead letters.")
    problems: list[Unused] = Field(description="The first of these.")
    messageIds: list[MadeId] = Field(description="Message ids that were made up.")  # noqa: N815  Segment's spelling
