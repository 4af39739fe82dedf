"""The past of a log while it changes, or goes away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.errors import BrokerError, BrokerUnavailable
from streams.adapters import event_history
from streams.adapters.event_history import EmbeddedHistory, _up_to
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_format import segment_bases, segment_path
from streams.adapters.log_reader import trim
from streams.adapters.log_writer import PartitionWriter


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogFolder:
    """A log with 200 events in one partition of many segments, which is read ten events at a time."""
    monkeypatch.setattr(event_history, "_BATCH", 10)
    folder = LogFolder.make(tmp_path / "log", 1)
    writer = PartitionWriter(folder.partition("events", 0), segment_bytes=400)
    for n in range(200):
        writer.append([(b"u", b"%d" % n)])
    writer.close()
    return folder


def test_what_is_taken_away_while_one_reads_is_left_out(folder: LogFolder) -> None:
    partition = folder.partition("events", 0)
    with closing(EmbeddedHistory(lambda: folder).events()) as events:
        found = [int(next(events).value) for _ in range(10)]
        assert trim(partition, needed=None, older_than_s=0.0, max_bytes=2_000) > 5
        begin = segment_bases(partition)[0]
        found += [int(event.value) for event in events]
    behind = [n for n in found if n >= begin]
    assert behind == list(range(begin, 200))
    assert found == [*range(found.index(begin)), *behind]


def test_a_hole_in_the_log_is_still_an_error(folder: LogFolder) -> None:
    partition = folder.partition("events", 0)
    segment_path(partition, segment_bases(partition)[5]).unlink()
    with pytest.raises(BrokerError, match="missing"):
        list(EmbeddedHistory(lambda: folder).events())


class Consumer:
    """Of a Kafka that has 3 events, and gives so many of them, one each poll."""

    def __init__(self, given: int) -> None:
        self.given = given
        self.at = -1

    def position(self, place: str, timeout_ms: int | None = None) -> int | None:
        assert place == "p"
        assert timeout_ms is not None, "it would wait for ever"
        return None if self.at < 0 else self.at

    def poll(self, timeout_ms: int) -> dict[str, list[Any]]:
        assert timeout_ms > 0
        if self.at == self.given:
            return {}
        self.at += 1
        return {"p": [SimpleNamespace(timestamp=1_000, value=b"x")]} if self.at else {}


def clock() -> Iterator[float]:
    yield from (2.0 * n for n in count())


@pytest.mark.timeout(20)
def test_a_kafka_that_goes_away_is_told_after_a_while() -> None:
    assert len(list(_up_to(Consumer(3), {"p": 3}, clock().__next__))) == 3
    for given in (-1, 0, 2):
        events = _up_to(Consumer(given), {"p": 3}, clock().__next__)
        assert len([next(events) for _ in range(given)]) == max(given, 0)
        with pytest.raises(BrokerUnavailable, match="no event for 10 s"):
            next(events)
