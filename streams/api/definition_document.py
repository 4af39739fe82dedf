"""What the routes of definitions take, for the document: the catalog's own JSON schema, cut into components."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any, Final

from config.base import ID_PATTERN
from config.definitions import Kind
from config.schema import json_schema

ID: Final[dict[str, Any]] = {
    "description": "In every published event and every key in Redis: choose it to stay.",
    "type": "string",
    "pattern": ID_PATTERN,
}
_BY_ID: Final[dict[str, Any]] = {"type": "object", "propertyNames": {"pattern": ID_PATTERN}}
PREDICTION_EXAMPLE: Final[dict[str, Any]] = {
    "name": "Returns something within 30 days",
    "goal": {"did": "Order Refunded"},
    "window": "30d",
    "access": "preview",
}
SEGMENT_EXAMPLE: Final[dict[str, Any]] = {
    "name": "Bought and gone quiet",
    "filter": {
        "all": [
            {"event": "Order Completed", "count": {"min": 1}},
            {"event": "Order Completed", "since": {"min": "30d"}},
        ]
    },
    "min_dwell": "1h",
}
_EXAMPLES: Final = {"prediction": PREDICTION_EXAMPLE, "segment": SEGMENT_EXAMPLE}
SELECTION: Final[dict[str, Any]] = {
    "title": "Selection",
    "description": "Users by one prediction: a range of its score (`min` to below `max`), or a category, or several.",
    "type": "object",
    "required": ["prediction"],
    "properties": {
        "prediction": {"type": "string", "pattern": ID_PATTERN},
        "min": {"type": "number", "minimum": 0, "maximum": 100},
        "max": {"type": "number", "minimum": 0, "maximum": 100},
        "category": {
            "oneOf": [
                {"enum": ["low", "medium", "high"]},
                {"type": "array", "items": {"enum": ["low", "medium", "high"]}, "minItems": 1, "uniqueItems": True},
            ]
        },
    },
    "anyOf": [{"required": ["min"]}, {"required": ["max"]}, {"required": ["category"]}],
    "additionalProperties": False,
}
SCHEMAS: Final = "x-tideline-schemas"
"""Where an operation has the schemas that its body refers to, until the document takes them from there."""
ACCESS: Final[dict[str, Any]] = {
    "title": "Access",
    "type": "object",
    "required": ["access"],
    "properties": {"access": {"enum": ["live", "preview", "demo"]}},
    "additionalProperties": False,
    "example": {"access": "live"},
}


@cache
def _schemas() -> dict[str, Any]:
    text = json.dumps(json_schema()["$defs"]).replace("#/$defs/", "#/components/schemas/")
    found: dict[str, Any] = json.loads(text)
    return found


def catalog_schemas() -> dict[str, Any]:
    """The parts of a catalog, by the names of their types."""
    return copy.deepcopy(_schemas())


def catalog_schema(name: str) -> dict[str, Any]:
    """The part with this name alone."""
    found: dict[str, Any] = copy.deepcopy(_schemas()[name])
    return found


def definition_schema(kind: Kind) -> dict[str, Any]:
    """A definition as it stands in a catalog."""
    return {"$ref": f"#/components/schemas/{kind.capitalize()}"}


def body_schema(kind: Kind, *, is_new: bool) -> dict[str, Any]:
    """What creations, edits and estimates take: the same with its id, and for a segment the selection that it may be
    made from. A creation needs the id; to the others it may be sent as well.
    """
    whole = catalog_schema(kind.capitalize())
    whole["properties"] = {"id": ID, **whole["properties"]}
    whole["title"] = f"{'New' if is_new else 'Any'} {kind}"
    whole["example"] = {"id": "returns_30d" if kind == "prediction" else "gone_quiet", **_EXAMPLES[kind]}
    if is_new:
        whole["required"] = ["id", *whole["required"]]
    else:
        del whole["example"]["id"]
    if kind == "segment":
        whole["properties"]["selection"] = SELECTION
        whole["required"].remove("filter")
        whole["anyOf"] = [{"required": ["filter"]}, {"required": ["selection"]}]
    return whole


def set_schema() -> dict[str, Any]:
    """All that is wanted: what a catalog says of predictions and segments, and may say of campaigns."""
    properties = {
        "predictions": {**_BY_ID, "additionalProperties": definition_schema("prediction")},
        "segments": {**_BY_ID, "additionalProperties": definition_schema("segment")},
        "messaging": {"$ref": "#/components/schemas/Messaging"},
        "campaigns": {**_BY_ID, "additionalProperties": {"$ref": "#/components/schemas/Campaign"}},
        "journeys": {**_BY_ID, "additionalProperties": {"$ref": "#/components/schemas/Journey"}},
    }
    example = {"predictions": {"returns_30d": PREDICTION_EXAMPLE}, "segments": {"gone_quiet": SEGMENT_EXAMPLE}}
    return {
        "title": "Definitions",
        "type": "object",
        "required": ["predictions", "segments"],
        "properties": properties,
        "additionalProperties": False,
        "example": example,
    }


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of an operation that says what body it takes."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
