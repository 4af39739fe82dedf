"""What comes out of decoding: an `Event` that the shard can take, or a `BadEvent` that cannot be read.

Both are msgspec structs with `gc=False`: hundreds of thousands are alive at once and the cycle collector
must not walk over them (that made a run ten times slower). That is safe as they only hold JSON-like values,
which have no cycles.

Times are seconds since 1970-01-01 UTC as 64-bit floats.
"""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Any

import msgspec

DEAD_LETTER_BYTES = 16_384
"""A dead letter keeps so many bytes of the original record at most."""

MAX_USER_BYTES = 512
"""Longest user id, in bytes of UTF-8."""

MAX_NAME_BYTES = 256
"""Longest event name, in bytes of UTF-8."""

MAX_TRAIT_BYTES = 256
"""Longest textual trait value, in bytes of UTF-8."""

Scalar = str | float | bool


class DeadReason(StrEnum):
    """Why a record went to the dead letters. The table in `docs/input.md` explains each; a test compares the two."""

    UNREADABLE_JSON = "unreadable_json"
    UNREADABLE_CSV = "unreadable_csv"
    NOT_AN_OBJECT = "not_an_object"
    BAD_ENCODING = "bad_encoding"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_COLUMNS = "too_many_columns"
    TOO_FEW_COLUMNS = "too_few_columns"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_USER = "missing_user"
    BAD_USER = "bad_user"
    MISSING_EVENT = "missing_event"
    BAD_EVENT = "bad_event"
    MISSING_TIME = "missing_time"
    BAD_TIME = "bad_time"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    TIME_IN_FUTURE = "time_in_future"
    BAD_VALUE = "bad_value"
    BAD_TRAIT = "bad_trait"
    BAD_MESSAGE_ID = "bad_message_id"
    BAD_PROPERTIES = "bad_properties"
    TRUNCATED_FILE = "truncated_file"
    WRONG_PARTITION = "wrong_partition"
    TOO_MANY_USERS = "too_many_users"
    DELETED_USER = "deleted_user"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One fact about a user.

    `name` is None for an identify. `value` is the money of the event, NaN if it has none. `message_hash` is an
    unsigned 64-bit number (of the message id, or of where the record stands). `traits` holds the scalar traits that
    the catalog names, and is None if the record has none of them; numbers are floats. `properties` holds the
    properties that the catalog reads of events of this name (`where`, `remember`) as far as they are there and not
    null, and is None if there are none. `position` is the record's index in reading order. `log_time_s` is when the
    log took the record; for a file, the event's own time. `message_id` is the producer's own id, if it gave one.
    `deletes`: the record asks to delete the user, and says nothing else.
    """

    user: str
    name: str | None
    time_s: float
    value: float
    message_hash: int
    traits: dict[str, Scalar] | None
    properties: dict[str, Any] | None
    position: int
    log_time_s: float
    message_id: str | None = None
    deletes: bool = False

    @property
    def cause_id(self) -> str:
        """What transitions name as their cause: the message id, or else where the record stands."""
        return self.message_id or f"position:{self.position}"


class BadEvent(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be used: the reason, what exactly was wrong, where it stands, and its bytes.

    `raw` is cut at `DEAD_LETTER_BYTES`, and `truncated` says so. `source` names the file or topic ("" if the caller
    of the decoder did not say).
    """

    reason: DeadReason
    detail: str
    position: int
    raw: bytes
    source: str = ""
    truncated: bool = False

    def to_json(self) -> bytes:
        """The dead letter as stored: one JSON object; `raw` as text, or `raw_base64` where it is not UTF-8."""
        letter: dict[str, Any] = {
            "reason": self.reason.value,
            "detail": self.detail,
            "source": self.source,
            "position": self.position,
            "truncated": self.truncated,
        }
        try:
            letter["raw"] = self.raw.decode()
        except UnicodeDecodeError:
            letter["raw_base64"] = base64.b64encode(self.raw).decode("ascii")
        return msgspec.json.encode(letter)


def bad_event(reason: DeadReason, detail: str, position: int, raw: bytes, source: str = "") -> BadEvent:
    """A `BadEvent` whose bytes are cut at the limit."""
    return BadEvent(reason, detail, position, bytes(raw[:DEAD_LETTER_BYTES]), source, len(raw) > DEAD_LETTER_BYTES)
