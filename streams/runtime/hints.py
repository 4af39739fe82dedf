"""A record that could not be used, and what to do about it."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from config.catalog import Catalog, CsvInput, SegmentInput
from streams.core.event_time import EARLIEST_S, LATEST_S
from streams.core.events import DeadReason

_HINTS: Final[dict[DeadReason, str]] = {
    DeadReason.UNREADABLE_JSON: "the line is no JSON; if the file is a CSV, set input.format: csv",
    DeadReason.UNREADABLE_CSV: "a quote is opened and not closed; double the quotes inside of cells",
    DeadReason.NOT_AN_OBJECT: "write one JSON object a line",
    DeadReason.BAD_ENCODING: "write the file as UTF-8; of a CSV name its encoding, such as input.encoding: cp1252",
    DeadReason.TOO_LARGE: "send less, or raise limits.property_bytes",
    DeadReason.TOO_DEEP: "send JSON that is nested less deeply",
    DeadReason.TOO_MANY_COLUMNS: "quote cells that hold the delimiter, or set input.delimiter",
    DeadReason.TOO_FEW_COLUMNS: "quote cells that hold line ends, or set input.delimiter",
    DeadReason.UNKNOWN_TYPE: "send page views and the like as track; other JSON needs input.format: ndjson",
    DeadReason.MISSING_USER: "look whether input.user names the right field",
    DeadReason.BAD_USER: "write user ids as text of at most 512 bytes",
    DeadReason.MISSING_EVENT: "look whether input.event names the right field; {constant: NAME} if all are the same",
    DeadReason.BAD_EVENT: "write event names as text of at most 256 bytes",
    DeadReason.MISSING_TIME: "look whether input.time names the right field",
    DeadReason.BAD_TIME: "look at input.time: write days as 2024-05-31; numbers need unit: s or unit: ms",
    DeadReason.TIME_OUT_OF_RANGE: "look at input.time.unit; times must lie between 1980 and 2100",
    DeadReason.TIME_IN_FUTURE: "look at input.time.timezone, and at the clock of this machine",
    DeadReason.BAD_VALUE: "write values as 12.50, without a currency or thousands separators",
    DeadReason.BAD_TRAIT: "look at the trait: it must be text, a number, true or false",
    DeadReason.BAD_MESSAGE_ID: "write message ids as text or whole numbers",
    DeadReason.BAD_PROPERTIES: "write properties as one JSON object",
    DeadReason.TRUNCATED_FILE: "copy the file again; the rows before its broken end were used",
    DeadReason.WRONG_PARTITION: (
        "produce with the user id as the key, partitioned by murmur2 (librdkafka: partitioner=murmur2_random)"
    ),
    DeadReason.TOO_MANY_USERS: "raise limits.users",
    DeadReason.DELETED_USER: "nothing is to be done: the user was deleted, and the event is not later",
}


_MAPPED = "fields with other names need input.format: ndjson or csv, which name them"
_SEGMENT_HINTS: Final[dict[DeadReason, str]] = {
    DeadReason.MISSING_USER: f"every record needs a userId; {_MAPPED}",
    DeadReason.MISSING_EVENT: f"every track needs an event; {_MAPPED}",
    DeadReason.MISSING_TIME: f"every record needs a timestamp; {_MAPPED}",
    DeadReason.BAD_TIME: "write timestamps as text such as 2024-05-31T12:00:00Z; numbers need input.format: ndjson",
    DeadReason.TIME_OUT_OF_RANGE: "times must lie between 1980 and 2100",
    DeadReason.TIME_IN_FUTURE: "look at the time zone in the timestamps, and at the clock of this machine",
}
"""Where Segment-spec JSON is read there is no mapping to look at."""

_PRODUCER: Final = "the producer must send Segment JSON (docs/input.md)"
_LOG_HINTS: Final[dict[DeadReason, str]] = _SEGMENT_HINTS | {
    DeadReason.UNREADABLE_JSON: f"{_PRODUCER}, one object in each record; a record without a value is none",
    DeadReason.NOT_AN_OBJECT: f"{_PRODUCER}, one object in each record",
    DeadReason.BAD_ENCODING: f"{_PRODUCER}, in UTF-8",
    DeadReason.MISSING_USER: f"{_PRODUCER}, each record with userId",
    DeadReason.MISSING_EVENT: f"{_PRODUCER}, each track with event",
    DeadReason.MISSING_TIME: f"{_PRODUCER}, each record with timestamp",
    DeadReason.BAD_TIME: f"{_PRODUCER}, with timestamps as text such as 2024-05-31T12:00:00Z",
    DeadReason.UNKNOWN_TYPE: f"{_PRODUCER}: type is track or identify",
}
"""For records of a log, which are Segment-spec JSON whatever the catalog says of files."""


class DeadLetter(msgspec.Struct, frozen=True):
    """One record that could not be used, as it is stored (docs/input.md). Either `raw` or `raw_base64` is there."""

    reason: str
    detail: str
    position: int
    source: str = ""
    truncated: bool = False
    raw: str | None = None
    raw_base64: str | None = None

    @property
    def place(self) -> str:
        """`orders.csv row 17`, or where it stands in the input."""
        return self.source or f"position {self.position}"

    def start(self, characters: int) -> str:
        r"""The start of the record in one line; bytes that are not UTF-8 as `\xf6`."""
        if self.raw is not None:
            text = self.raw
        else:
            text = b64decode(self.raw_base64 or "").decode("utf-8", "backslashreplace")
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: characters + 1])
        return line if len(line) <= characters else line[: characters - 1] + "…"


@dataclass(frozen=True, slots=True)
class Refused:
    """One reason, with the latest examples that the store still has (a bound takes the oldest)."""

    reason: str
    count: int
    hint: str
    examples: tuple[DeadLetter, ...]


def hint_in_log(reason: DeadReason) -> str:
    """What to do about a reason of records of a log, Kafka's or the embedded one."""
    return _LOG_HINTS.get(reason) or _HINTS[reason]


def hint_for(reason: str, letters: Sequence[DeadLetter], catalog: Catalog) -> str:
    """What to do about a reason; sharper where an example shows what is wrong."""
    detail = letters[0].detail if letters else ""
    special = None
    if reason in (DeadReason.TIME_OUT_OF_RANGE, DeadReason.BAD_TIME):
        special = _time_hint(detail, catalog)
    elif (
        reason == DeadReason.BAD_VALUE and re.search(r"'-?[\d. ]*,\d+'", detail) and isinstance(catalog.input, CsvInput)
    ):
        special = 'the value has a decimal comma: set input.decimal: ","'
        if catalog.input.delimiter == ",":
            special += ", and part the columns by something else (input.delimiter)"
    elif reason == DeadReason.UNKNOWN_TYPE and detail.startswith('the record has no "type"'):
        special = "Segment events are track or identify; JSON of another form needs input.format: ndjson"
    if special is None and isinstance(catalog.input, SegmentInput):
        special = _SEGMENT_HINTS.get(DeadReason(reason))
    return special or _HINTS[DeadReason(reason)]


def _time_hint(detail: str, catalog: Catalog) -> str | None:
    """Which unit a number would be a time in, when it is none in the catalog's."""
    if re.search(r"'\s*(\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./]\d{1,2}[./]\d{1,2})\b", detail):
        return (
            "only ISO 8601 is read, with the year first: write 2024-05-31 or 2024-05-31 14:00 (of 05/06/2024 nobody "
            "can tell the day from the month)"
        )
    shown = re.search(r"(?<![\w.-])(\d{9,16}(?:\.\d+)?)(?![\w.])", detail)
    if shown is None or isinstance(catalog.input, SegmentInput):
        return None
    number, unit = float(shown[1]), catalog.input.time.unit
    for other, per_s, name in (("s", 1.0, "seconds"), ("ms", 1_000.0, "milliseconds")):
        if other != unit and EARLIEST_S * per_s <= number <= LATEST_S * per_s:
            day = datetime.fromtimestamp(number / per_s, UTC).date()
            return f"{shown[1]} is {day} if it is in {name}: set input.time.unit: {other} (it is {unit} now)"
    return None
