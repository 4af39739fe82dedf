"""Which field of an offer a problem belongs to. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "unit": ("unit", "unit"),
    "value": ("value", "offer_value"),
    "order_value": ("order_value", "order_value"),
    "budget": ("budget", "budget"),
    "prediction": ("offer_prediction", "ladder_score_of"),
    "edges": ("steps", "ladder"),
    "values": ("steps", "ladder"),
    "least": ("least", "linear_least"),
    "most": ("most", "linear_most"),
    "step": ("step", "linear_step"),
}
"""Key of an offer -> the field of the form, and the name of the text that stands at it."""
_RULES: Final[tuple[tuple[str, str], ...]] = (
    ("order_value beside", "order_value"),
    ("a budget of at least", "budget"),
    ("edges that ascend", "edges"),
    ("one value more than edges", "values"),
    ("least below most", "most"),
    ("a step that gives", "step"),
)
"""How a rule between several fields begins -> the one that is to be mended."""
_STEP: Final = re.compile(r"(edges|values)\[(\d+)\]")


def offer_field(path: str, expected: str) -> tuple[str, str]:
    """(name of the field, name of its text) of a problem at a path within an offer, by what was `expected` there."""
    if (found := _STEP.match(path)) is not None:
        is_edge, number = found[1] == "edges", int(found[2])
        return (f"step_{number + 1}_edge", "ladder") if is_edge else (f"step_{number}_value", "ladder")
    if not path:
        path = next((key for begin, key in _RULES if expected.startswith(begin)), "")
    return _FIELDS.get(re.split(r"[.\[]", path)[0], ("offer", "offer"))
