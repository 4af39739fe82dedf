"""History behind live events is told, once; late events among others are not."""

from __future__ import annotations

import math

import pytest

from streams.runtime.behind_log import EVERY_S, LATEST, MOST_LATE_S, Arrived, BehindLog

DAY_S = 86_400.0


def test_history_is_told_once_with_how_much_and_what_to_do() -> None:
    log = BehindLog()
    assert log.note(3, Arrived(1), 0.0) is None
    words = log.note(3, Arrived(1_000, 990, 58.2 * DAY_S), 1.0)
    assert words is not None
    assert words.startswith("partition 3 of the events: 990 events that came lately are history, up to 58d behind")
    assert "history first" in words
    assert "docs/input.md, History first" in words
    assert [log.note(3, Arrived(1_000, 1_000, 60 * DAY_S), now_s) for now_s in (2.0, 3.0, EVERY_S)] == [None] * 3
    again = log.note(3, Arrived(500, 500, 60 * DAY_S), 1.0 + EVERY_S)
    assert again is not None
    assert again.startswith("partition 3 of the events: 3,500 events that came lately are history, up to 60d behind")


@pytest.mark.parametrize(
    ("batches", "is_told"),
    [
        ([(19, 19)], False),
        ([(20, 20)], True),
        ([(10, 10), (10, 10)], True),
        ([(1_000, 499)], False),
        ([(1_000, 500)], True),
        ([(100_000, 2_000)], False),
        ([(29_000, 0), (300, 300)], True),  # live for long, then history
        ([(29_000, 0), *[(10, 10)] * 30], True),
        ([(29_000, 0), (30, 30), (29_000, 0), (30, 30)], False),  # what a phone had kept
        ([(LATEST, 0), (LATEST, LATEST)], True),
        ([(LATEST, 0), (LATEST - 1, LATEST - 1)], False),
        ([(40, 19), (0, 0)], False),
    ],
)
def test_late_events_among_others_are_usual(batches: list[tuple[int, int]], is_told: bool) -> None:
    log = BehindLog()
    told = [log.note(0, Arrived(events, behind, 2 * DAY_S), float(n)) for n, (events, behind) in enumerate(batches)]
    assert any(words is not None for words in told) == is_told


def test_nothing_is_said_when_nothing_new_is_behind() -> None:
    log = BehindLog()
    assert log.note(0, Arrived(30, 30, 2 * DAY_S), 0.0) is not None
    assert log.note(0, Arrived(5), 2 * EVERY_S) is None
    assert log.note(0, Arrived(5, 1, 2 * DAY_S), 2 * EVERY_S) is not None


def test_shards_are_told_of_apart() -> None:
    log = BehindLog()
    words = [log.note(number, Arrived(30, 30, 2 * DAY_S), 0.0) for number in (0, 1, 0)]
    assert [each is None for each in words] == [False, False, True]


def test_what_is_behind_the_clock_by_more_than_lateness_and_a_day() -> None:
    clock_s = 100 * DAY_S
    edge_s = clock_s - 3_600.0 - MOST_LATE_S
    times_s = [clock_s, clock_s + 5.0, edge_s, edge_s - 1.0, edge_s - 30 * DAY_S]
    assert Arrived.of(times_s, clock_s, 3_600.0) == (5, 2, clock_s - edge_s + 30 * DAY_S)
    assert Arrived.of(times_s, math.nan, 3_600.0) == (5, 0, 0.0)
    assert Arrived.of([], clock_s, 3_600.0) == (0, 0, 0.0)


def test_words_go_into_the_log_of_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    log = BehindLog()
    for now_s in (0.0, 1.0):
        log.tell(0, Arrived(30, 30, 2 * DAY_S), now_s)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
