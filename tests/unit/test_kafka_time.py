"""The clock by which time passes in silence, where reading begins, and what a process keeps apart."""

from __future__ import annotations

import logging

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from config.errors import BrokerError
from streams.runtime.kafka.partitions import own_assignor
from streams.runtime.log_bounds import Bounds, lacks_history, tell_history, where_to_begin
from streams.runtime.steady_clock import SteadyClock
from tests.conftest import ROOT

PLACE = "events 3"


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.wall_s, self.pace_s = 1_000_000.0, 50.0
        self.steady = SteadyClock(lambda: self.wall_s, lambda: self.pace_s)

    def after(self, seconds: float) -> float:
        self.wall_s += seconds
        self.pace_s += seconds
        return self.steady.now_s()


def test_the_clock_is_the_wall_clock_while_nobody_sets_it() -> None:
    clocks = Clocks()
    assert [clocks.after(10.0), clocks.after(86_400.0)] == [1_000_010.0, 1_086_410.0]


def test_a_clock_that_is_set_forward_ages_nobody() -> None:
    clocks = Clocks()
    clocks.wall_s += 30 * 86_400.0
    assert clocks.after(5.0) == 1_000_005.0
    clocks.wall_s -= 30 * 86_400.0
    assert clocks.after(5.0) == 1_000_010.0


def test_a_clock_that_is_set_back_is_followed_and_comes_back() -> None:
    clocks = Clocks()
    clocks.wall_s -= 3_600.0
    assert clocks.after(5.0) == 1_000_005.0 - 3_600.0
    clocks.wall_s += 3_600.0
    assert clocks.after(5.0) == 1_000_010.0


def test_records_of_a_later_time_show_that_the_clock_was_behind() -> None:
    clocks = Clocks()
    clocks.wall_s += 3_600.0  # the machine had started with a clock that was an hour behind
    assert clocks.after(0.0) == 1_000_000.0
    clocks.steady.raise_to(1_003_599.0)
    assert clocks.after(2.0) == 1_003_601.0
    clocks.steady.raise_to(1_000_000.0)
    assert clocks.after(1.0) == 1_003_602.0


@pytest.mark.parametrize(
    ("offset", "bounds", "accepts_gaps", "begins"),
    [
        (0, Bounds(0, 5), False, 0),
        (0, Bounds(3, 5), False, 3),
        (5, Bounds(3, 5), False, 5),
        (3, Bounds(3, 5), False, 3),
        (2, Bounds(3, 5), True, 3),
        (0, Bounds(5, 5), False, 5),
    ],
)
def test_reading_begins_where_the_store_stands(offset: int, bounds: Bounds, accepts_gaps: bool, begins: int) -> None:
    assert where_to_begin(PLACE, offset, bounds, accepts_gaps=accepts_gaps) == begins


@pytest.mark.parametrize(
    ("offset", "bounds", "accepts_gaps", "words"),
    [
        (2, Bounds(3, 5), False, "begins at 3: what lies between is gone"),
        (6, Bounds(3, 5), False, "ends at 5: it is another topic"),
        (6, Bounds(3, 5), True, "ends at 5: it is another topic"),
    ],
)
def test_a_topic_that_cannot_go_on_there_is_refused(
    offset: int, bounds: Bounds, accepts_gaps: bool, words: str
) -> None:
    told = f"events 3: the store stands at offset {offset}, and the topic {words}"
    with pytest.raises(BrokerError, match=told) as raised:
        where_to_begin(PLACE, offset, bounds, accepts_gaps=accepts_gaps)
    for choice in (
        "TIDELINE_KAFKA_TOPIC_PREFIX",
        "put them back at the same offsets",
        "export TIDELINE_KEY_PREFIX=tl2",
    ):
        assert choice in str(raised.value)
    assert "### When the log is another one\n" in (ROOT / "docs" / "kafka.md").read_text()


@pytest.mark.parametrize(
    ("offset", "begin", "lacks"), [(0, 0, False), (0, 3, True), (3, 3, False)], ids=["all", "cut", "it had it"]
)
def test_a_new_store_lacks_what_the_log_has_forgotten(offset: int, begin: int, lacks: bool) -> None:
    assert lacks_history(offset, Bounds(begin, 5)) is lacks


def test_a_new_store_says_what_it_never_had(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tell_history(PLACE, Bounds(3, 5), 1_717_405_964.0)
        tell_history(PLACE, Bounds(5, 5), None)
    cut, empty = (record.getMessage() for record in caplog.records)
    assert "events 3: the store is new, and the topic begins at offset 3 of 5" in cut
    assert "the oldest record is of 2024-06-03 09:12 UTC. What came before is gone" in cut
    assert "at offset 5 of 5; no record is left. What came before is gone" in empty


def test_a_gap_that_is_accepted_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        where_to_begin(PLACE, 2, Bounds(3, 5), accepts_gaps=True)
    assert "stands at offset 2, and the topic begins at 3" in caplog.text


def test_two_groups_of_a_process_remember_their_own_partitions() -> None:
    scoring, learning = own_assignor(), own_assignor()
    scoring.on_assignment(ConsumerProtocolMemberAssignment(0, [("events", [0, 1, 2])], b""))
    learning.on_assignment(ConsumerProtocolMemberAssignment(0, [("examples", [5])], b""))
    scoring.on_generation_assignment(7)
    assert [place.topic for place in scoring.member_assignment] == ["events"] * 3
    assert [place.topic for place in learning.member_assignment] == ["examples"]
    assert (scoring.generation, learning.generation) == (7, -1)
    assert scoring.name == learning.name == "sticky"
