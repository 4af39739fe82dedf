"""The ids of streamed events: one stands for the positions in all partitions of the log, behind that event.

An id is opaque to callers: a version byte, then each position as groups of 7 bits (lowest first, the high bit says that
more follow), in URL-safe base64 without padding.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streams.api.problems import Kind, Problem
from streams.ports import Kept

_VERSION: Final = 1
MAX_ID_CHARS: Final = 16_384
_LARGEST: Final = (1 << 63) - 1


def place_id(positions: Sequence[int]) -> str:
    """The id of a place: the offset of the next record of every partition."""
    data = bytearray([_VERSION])
    for position in positions:
        left = position
        while left > 0x7F:
            data.append(left & 0x7F | 0x80)
            left >>= 7
        data.append(left)
    return base64.urlsafe_b64encode(bytes(data)).decode().rstrip("=")


def positions_of(text: str) -> list[int]:
    """The positions that an id stands for. Raises `Problem` for a text that is none."""
    try:
        if len(text) > MAX_ID_CHARS:
            raise ValueError
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if not data or data[0] != _VERSION:
            raise ValueError
        positions = _numbers(data[1:])
        if place_id(positions) != text:  # cut off, or written in another way
            raise ValueError
        return positions
    except (ValueError, binascii.Error) as error:
        raise Problem(Kind.INVALID_PARAMETERS, "Last-Event-ID: this is no id that the stream has given") from error


def _numbers(data: bytes) -> list[int]:
    found, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if number > _LARGEST:
            raise ValueError
        if not byte & 0x80:
            found.append(number)
            number, shift = 0, 0
    return found


@dataclass(frozen=True, slots=True)
class Gap:
    """What a reader does not get from a partition: the records from `asked` to before `given`."""

    partition: int
    asked: int
    given: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a reader goes on, and what it has missed."""

    positions: list[int]
    gaps: tuple[Gap, ...] = ()
    is_other_log: bool = False
    """The places are not of this log as it is now: it was made anew, or has other partitions."""


def where_to_go_on(asked: Sequence[int], kept: Sequence[Kept]) -> Beginning:
    """From positions that somebody has, in a log as it is now."""
    if len(asked) != len(kept) or any(place > part.end for place, part in zip(asked, kept, strict=True)):
        return Beginning([part.begin for part in kept], is_other_log=True)
    gaps = [
        Gap(number, place, part.begin)
        for number, (place, part) in enumerate(zip(asked, kept, strict=True))
        if place < part.begin
    ]
    positions = [max(place, part.begin) for place, part in zip(asked, kept, strict=True)]
    return Beginning(positions, tuple(gaps))
