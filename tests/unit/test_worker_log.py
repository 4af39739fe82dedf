"""What of Faust and of Kafka's clients goes into a worker's log."""

from __future__ import annotations

import logging

import pytest

from streams.runtime.worker_log import EVERY_S, MOST_KINDS, WorkerLogFilter


def told(filtered: WorkerLogFilter, name: str, level: int, words: str, *args: object) -> str | None:
    """What is written of it; None for nothing."""
    record = logging.LogRecord(name, level, "file.py", 1, words, args, None)
    return record.getMessage() if filtered.filter(record) else None


@pytest.mark.parametrize(
    ("name", "level", "words", "is_told"),
    [
        ("faust.web.drivers.aiohttp", logging.INFO, "[^--Server]: Starting...", False),
        ("mode.timers", logging.WARNING, "Timer _ask_for_ends is overlapping", False),
        ("mode.services", logging.ERROR, "[^-App]: Crashed reason=KeyError()", True),
        ("streams.runtime.kafka.scoring", logging.INFO, "[^-ScoringService]: Starting...", False),
        ("streams.runtime.kafka.scoring", logging.ERROR, "[^-ScoringService]: Crashed reason=KeyError()", True),
        ("streams.runtime.kafka.partitions", logging.INFO, "tideline.events 0: at offset 0 of 0", True),
        ("aiokafka.consumer.group_coordinator", logging.ERROR, "Group Coordinator Request failed", True),
    ],
)
def test_only_errors_of_the_framework_are_told(name: str, level: int, words: str, *, is_told: bool) -> None:
    assert (told(WorkerLogFilter(), name, level, words) is not None) == is_told


def test_what_a_client_says_again_and_again_is_told_now_and_then() -> None:
    now_s = [100.0]
    filtered = WorkerLogFilter(lambda: now_s[0])

    def said(node: int) -> str | None:
        return told(filtered, "aiokafka", logging.ERROR, "Unable connect to node with id %s: refused", node)

    assert said(1) == "Unable connect to node with id 1: refused"
    assert [said(n) for n in (1, 2, 1)] == [None] * 3
    assert told(filtered, "aiokafka", logging.ERROR, "Another thing") == "Another thing"
    now_s[0] += EVERY_S
    assert said(2) == "Unable connect to node with id 2: refused (and 3 times more since this was told last)"
    assert said(2) is None
    now_s[0] += EVERY_S
    assert told(filtered, "aiokafka", logging.ERROR, "Another thing") == "Another thing"


def test_of_endless_wordings_only_the_latest_are_known() -> None:
    filtered = WorkerLogFilter(lambda: 100.0)

    def said(kind: int) -> str | None:
        return told(filtered, "aiokafka", logging.ERROR, "About " + "x" * kind)

    assert None not in [said(kind) for kind in range(MOST_KINDS + 1)]
    assert said(1) is None
    assert said(0) == "About ", "the bound holds: the first is not known any more"


def test_our_own_words_are_told_however_often_they_are_said() -> None:
    filtered = WorkerLogFilter()
    said = [told(filtered, "streams.runtime.kafka.partitions", logging.WARNING, "waiting") for _ in range(3)]
    assert said == ["waiting"] * 3
