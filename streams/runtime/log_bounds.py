"""Whether a log can go on where the store stands."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zlib import crc32

from config.errors import BrokerError
from streams.runtime.records import Position, Record

_LOG: Final = logging.getLogger(__name__)
_CHOICES: Final = (
    "What to do, with all workers stopped: "
    "(1) if another log was meant, correct its address (TIDELINE_KAFKA_BOOTSTRAP_SERVERS, TIDELINE_KAFKA_TOPIC_PREFIX; "
    "of an embedded one --data-dir); "
    "(2) if its records are still somewhere, put them back at the same offsets: nothing is lost then; "
    "(3) else begin anew with what is there: export TIDELINE_KEY_PREFIX=tl2 for workers and APIs, and start them. "
    "What each keeps and loses, with all commands: docs/kafka.md, When the log is another one."
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Offsets of the first record that a partition holds, and behind the last one that it has taken."""

    begin: int
    end: int


def where_to_begin(place: str, offset: int, bounds: Bounds, *, accepts_gaps: bool) -> int:
    """From where to read for a store that stands at `offset`; 0 is one without a commit, for which all begins there.

    `place` is topic and partition. `accepts_gaps`: records that are gone are told in the log and left out. Of a store
    that is new `tell_history` tells what it never had. Raises BrokerError where records are gone (unless accepted), or
    the topic ends before `offset`: it is not the one that was read.
    """
    where = f"{place}: the store stands at offset {offset}, and the topic"
    if offset > bounds.end:
        raise BrokerError(
            f"{where} ends at {bounds.end}: it is another topic than the one that was read, or records were lost. "
            f"{_CHOICES}"
        )
    if bounds.begin <= offset:
        return offset
    if offset and not accepts_gaps:
        raise BrokerError(
            f"{where} begins at {bounds.begin}: what lies between is gone. Were workers away for longer than the "
            f"topic keeps records, or is it another topic? {_CHOICES}"
        )
    if offset:
        _LOG.warning("%s begins at %d: what lies between is left out", where, bounds.begin)
    return bounds.begin


def lacks_history(offset: int, bounds: Bounds) -> bool:
    """Whether a store that stands at `offset` is new, and the log has forgotten a part of what ever was."""
    return not offset and bounds.begin > 0


def tell_history(place: str, bounds: Bounds, oldest_s: float | None) -> None:
    """How much history was still there for a store that `lacks_history`: that it never had it is seen nowhere else.

    `oldest_s`: when the log took the oldest record that it has, seconds since 1970; None where none is left.
    """
    if oldest_s is None:
        oldest = "no record is left"
    else:
        oldest = f"the oldest record is of {datetime.fromtimestamp(oldest_s, UTC):%Y-%m-%d %H:%M} UTC"
    _LOG.warning(
        "%s: the store is new, and the topic begins at offset %d of %d; %s. What came before is gone, and counted "
        "nowhere (docs/operations.md, Rebuilding from Kafka)",
        place,
        bounds.begin,
        bounds.end,
        oldest,
    )


def can_be_known(position: Position, bounds: Bounds) -> bool:
    """Whether the last record that was worked is still to be found, so that `check_last` can be asked.

    Not by a store of before it was kept, and not once retention has taken the record: then only the bounds tell.
    """
    return position.last_offset >= bounds.begin


def check_last(place: str, position: Position, found: Record | None) -> None:
    """`found` stands now where the last record was worked; None where nothing does.

    Raises BrokerError when it is another one: the log was cut off before it, and has grown again since, or was made
    anew. Those between where it was cut off and where the store stands would never be worked.
    """
    is_same = found is not None and found.offset == position.last_offset and crc32(found.value) == position.last_crc
    if is_same:
        return
    raise BrokerError(
        f"{place}: the record at offset {position.last_offset} is not the one that was worked there. The topic was "
        "made anew, or has lost records and taken others in their place: some of those would never be worked. "
        f"{_CHOICES}"
    )
