"""A log is known again by the last record that was worked."""

from __future__ import annotations

from zlib import crc32

import msgspec
import pytest

from config.errors import BrokerError
from streams.runtime.log_bounds import Bounds, can_be_known, check_last
from streams.runtime.records import Position, Record

LAST = Record(9, 1_700_000_000.0, b"worked")
STOOD = Position.behind(LAST, LAST.log_time_s)


def test_a_position_knows_what_stands_before_it() -> None:
    assert Position(10, LAST.log_time_s, 9, crc32(b"worked")) == STOOD
    assert Position.behind(LAST, 5.0, 12) == Position(12, 5.0, 9, crc32(b"worked"))
    assert STOOD.at_time(7.0) == Position(10, 7.0, 9, crc32(b"worked"))
    assert Position.from_bytes(STOOD.to_bytes()) == STOOD


def test_one_of_a_store_that_was_made_before_is_read_and_knows_nothing() -> None:
    before = Position.from_bytes(msgspec.msgpack.encode([10, 5.0]))
    assert before == Position(10, 5.0)
    assert not can_be_known(before, Bounds(0, 20))
    assert not can_be_known(Position.from_bytes(None), Bounds(0, 20))


def test_what_retention_has_taken_is_not_asked_for() -> None:
    assert can_be_known(STOOD, Bounds(9, 10))
    assert not can_be_known(STOOD, Bounds(10, 10))


def test_the_same_record_is_known_whenever_the_log_took_it() -> None:
    check_last("events 3", STOOD, LAST)
    check_last("events 3", STOOD, LAST._replace(log_time_s=1.0))


@pytest.mark.parametrize("found", [None, Record(9, LAST.log_time_s, b"another"), Record(8, LAST.log_time_s, b"worked")])
def test_another_one_in_its_place_is_refused(found: Record | None) -> None:
    with pytest.raises(BrokerError, match="events 3: the record at offset 9 is not the one that was worked there"):
        check_last("events 3", STOOD, found)
