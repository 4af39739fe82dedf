"""Which dead letters are about a user, so that they can go when the user is deleted."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streams.core.events import BadEvent

_WORD: Final = rb"[^\s,;:\"'{}\[\]()<>=&|/\\]"
"""What an id may stand beside in text that is no JSON and still be another one."""


class _Letter(msgspec.Struct):
    detail: str
    raw: str | None = None
    raw_base64: str = ""


def is_about(raw: bytes, user: str) -> bool:
    """Whether the bytes of a record name the user: as any text in a JSON document, or else as a word of its own.

    A bit too much rather than too little: what only mentions the user is about the user, too.
    """
    try:
        return _names(msgspec.json.decode(raw), user)
    except (msgspec.DecodeError, RecursionError):
        pass
    spellings = {user.encode("utf-8", "surrogatepass"), _escaped(user)}
    return any(re.search(rb"(?<!%b)%b(?!%b)" % (_WORD, re.escape(text), _WORD), raw) for text in spellings if text)


def without_bytes(bad: BadEvent) -> BadEvent:
    """The dead letter of a user who is deleted before it is stored: that there was one, and why."""
    return BadEvent(bad.reason, "its bytes went with a deleted user", bad.position, b"", bad.source)


def letter_is_about(letter: bytes, users: Sequence[str]) -> bool:
    """Whether a dead letter as it is stored (`BadEvent.to_json`) is about one of these users."""
    try:
        found = msgspec.json.decode(letter, type=_Letter)
    except msgspec.DecodeError:  # none of ours, but about somebody all the same
        return any(is_about(letter, user) for user in users)
    raw = base64.b64decode(found.raw_base64) if found.raw is None else found.raw.encode()
    return any(is_about(text, user) for user in users for text in (raw, found.detail.encode()))


def _escaped(user: str) -> bytes:
    """As ASCII JSON writes it, without the quotes."""
    return "".join(c if " " <= c < "\x7f" else f"\\u{ord(c):04x}" for c in user if ord(c) < 0x10000).encode()


def _names(value: Any, user: str) -> bool:
    if isinstance(value, str):
        return value == user
    if isinstance(value, dict):
        return any(_names(inner, user) for pair in value.items() for inner in pair)
    if isinstance(value, list):
        return any(_names(inner, user) for inner in value)
    return isinstance(value, int | float) and not isinstance(value, bool) and f"{value}" == user
