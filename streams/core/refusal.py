"""How a record is refused while it is being decoded, and how values are shown in the detail."""

from __future__ import annotations

import msgspec

from streams.core.events import DeadReason

SHOWN_CHARS = 60


class Refused(Exception):
    """A record cannot be used. Raised and caught inside decoding only; it becomes a `BadEvent`."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def shown(value: object) -> str:
    """A value as it stands in a detail: its repr, cut, always on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # Not repr: Python refuses to print integers of thousands of digits.
        return f"{value}" if abs(value) < 1e18 else "a very large number"
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN_CHARS else repr(value[:SHOWN_CHARS]) + "..."
    return {list: "a list", dict: "an object", type(None): "null"}.get(type(value), type(value).__name__)


def plain_float(text: str) -> float:
    """A number as data writes it (`12.50`, `-1e3`, ` 7 `), not as Python does (`1_000`). Raises ValueError."""
    if "_" in text:
        raise ValueError("an underscore")
    return float(text)


def comma_float(text: str) -> float:
    """The same with a decimal comma (`12,50`). A point is refused: it may be meant to part thousands."""
    if "." in text:
        raise ValueError("a point")
    return plain_float(text.replace(",", ".", 1))


def unreadable_json(raw: bytes, error: msgspec.DecodeError) -> Refused:
    """Why a record that should be a JSON object could not be parsed."""
    first = raw.lstrip()[:1]
    if isinstance(error, msgspec.ValidationError) and first != b"{":
        return Refused(
            DeadReason.NOT_AN_OBJECT, f"the record starts with {shown(first.decode())}; expected a JSON object"
        )
    return Refused(DeadReason.UNREADABLE_JSON, str(error))
