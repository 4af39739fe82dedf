"""Cursors of lists that are read page by page: opaque to callers, and refused where they were not given out."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import msgspec

from streams.adapters.redis_reader import ScanPlace
from streams.api.problems import Kind, Problem

_LARGEST: Final = (1 << 64) - 1


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    segment: str
    shard: int
    cursor: int
    server: str


def members_cursor(segment: str, place: ScanPlace | None) -> str | None:
    """The text of a place in a segment's members; None at the end."""
    if place is None:
        return None
    data = msgspec.msgpack.encode(_Cursor(segment, place.shard, place.cursor, place.server))
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def members_place(segment: str, text: str | None, shards: int) -> ScanPlace:
    """The place of which a cursor tells; the beginning for None. Raises `Problem`."""
    if text is None:
        return ScanPlace()
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(data, type=_Cursor)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise invalid_cursor() from error
    if found.segment != segment or not 0 <= found.shard < shards or not 0 <= found.cursor <= _LARGEST:
        raise invalid_cursor()
    return ScanPlace(found.shard, found.cursor, found.server)


def place_cursor(of: str, place: tuple[int, int]) -> str:
    """The text of a place in the list `of` (one word)."""
    return base64.urlsafe_b64encode(f"{of}:{place[0]}-{place[1]}".encode()).decode().rstrip("=")


def place_of(of: str, cursor: str) -> tuple[int, int]:
    """The place of which a cursor of that list tells. Raises `Problem`."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise invalid_cursor() from error
    match = re.fullmatch(rf"{re.escape(of)}:([0-9]{{1,15}})-([0-9]{{1,15}})", text, re.ASCII)
    if match is None:
        raise invalid_cursor()
    return int(match[1]), int(match[2])


def invalid_cursor() -> Problem:
    """A cursor that cannot be gone on from."""
    return Problem(Kind.INVALID_CURSOR, "this cursor was not given out for this list, or the store has restarted since")
