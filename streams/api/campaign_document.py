"""What the routes of campaigns take, for the document: the catalog's own JSON schema."""

from __future__ import annotations

from typing import Any, Final

from config.base import ID_PATTERN
from streams.adapters.campaign_definitions import CampaignKind
from streams.api.definition_document import ID, catalog_schema

CAMPAIGN_EXAMPLE: Final[dict[str, Any]] = {
    "name": "What waits in the cart",
    "segment": "orders_7d.high",
    "trigger": {"event": "Cart Viewed"},
    "conversion": {"event": "Order Completed", "revenue": "revenue", "revenue_cap": 400},
    "channels": ["push"],
    "reentry": "14d",
    "message": {"parts": {"title": "Still there", "body": "Your cart waits, {{ user }}."}},
}
JOURNEY_EXAMPLE: Final[dict[str, Any]] = {
    "name": "Something small, and more after two days",
    "segment": "orders_7d.low",
    "conversion": {"event": "Order Completed"},
    "channels": ["push"],
    "steps": {
        "first": {"send": {"parts": {"body": "Come back"}}, "offer": {"unit": "percent", "value": 5}},
        "quiet": {"wait": "2d"},
        "second": {"send": {"parts": {"body": "Once more"}}, "offer": {"unit": "percent", "value": 10}},
    },
}
_EXAMPLES: Final = {"campaign": ("warm_cart", CAMPAIGN_EXAMPLE), "journey": ("second_try", JOURNEY_EXAMPLE)}
DUPLICATE: Final[dict[str, Any]] = {
    "title": "Duplicate",
    "type": "object",
    "required": ["id"],
    "properties": {"id": ID, "name": {"type": "string", "minLength": 1, "maxLength": 200}},
    "additionalProperties": False,
    "example": {"id": "warm_cart_2", "name": "What waits in the cart, a second try"},
}
MESSAGING: Final[dict[str, Any]] = {"$ref": "#/components/schemas/Messaging"}
TEMPLATE: Final[dict[str, Any]] = {
    "title": "For whom",
    "type": "object",
    "required": ["prediction", "channels"],
    "properties": {
        "prediction": {"type": "string", "pattern": ID_PATTERN},
        "category": {"enum": ["low", "medium", "high"]},
        "min": {"type": "number", "minimum": 0, "maximum": 100},
        "max": {"type": "number", "minimum": 0, "maximum": 100},
        "language": {"enum": ["en", "fr"], "default": "en"},
        "channels": {"type": "array", "items": {"type": "string", "pattern": ID_PATTERN}, "minItems": 1, "maxItems": 8},
        "order_value": {
            "description": "What an order is usually worth: without it percentages have no cost.",
            "type": "number",
            "exclusiveMinimum": 0,
        },
        "recommender": {
            "description": "A channel of the kind webhook that the template `recommendations` asks for them; without "
            "it the message has what is remembered of the user.",
            "type": "string",
            "pattern": ID_PATTERN,
        },
        "id": {
            "description": "What it is called, with a segment of its own; without it by template and prediction.",
            "type": "string",
            "pattern": ID_PATTERN,
        },
    },
    "additionalProperties": False,
    "example": {"prediction": "orders_7d", "category": "high", "language": "fr", "channels": ["push"]},
}


def body_schema(kind: CampaignKind, *, is_new: bool) -> dict[str, Any]:
    """What creations and edits take: what stands in a catalog, with its id. A creation needs the id."""
    whole = catalog_schema(kind.capitalize())
    id_, example = _EXAMPLES[kind]
    whole["properties"] = {"id": ID, **whole["properties"]}
    whole["title"] = f"{'New' if is_new else 'Any'} {kind}"
    whole["example"] = {"id": id_, **example} if is_new else example
    if is_new:
        whole["required"] = ["id", *whole["required"]]
    return whole
