"""The log of events and that of transitions become one, in the order in which it happened, however they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from streams.campaigns.inputs import Crossing, Deleted, Input, Watched
from streams.campaigns.merging import FromEvents, FromTransitions, merge


def event(offset: int, user: str = "ann", *, at_s: float | None = None, says: bool = True) -> FromEvents:
    at_s = 100.0 * offset if at_s is None else at_s
    watched = Watched(user, "Order", at_s, 0, "log0", offset, f"e{offset}")
    return FromEvents(offset, at_s, f"e{offset}", watched if says else None)


def crossing(
    offset: int, cause: int | None = None, user: str = "ann", *, at_s: float = 0.0, says: bool = True
) -> FromTransitions:
    said = Crossing(user, "s", True, offset, at_s, "decay" if cause is None else "live")
    return FromTransitions(offset, at_s, None if cause is None else f"e{cause}", said if says else None)


def order(inputs: Sequence[Input]) -> list[str]:
    """e: an event, c: a crossing; + means that there is more of the moment."""
    return [
        (f"e{each.number}" if isinstance(each, Watched) else f"c{each.sequence}") + ("+" if each.more else "")
        for each in inputs
        if isinstance(each, Watched | Crossing)
    ]


def test_a_transition_stands_behind_its_cause_and_before_the_next_event() -> None:
    found = merge([crossing(0, 1), crossing(1, 3)], [event(n) for n in range(5)], sure=5, reaches=True)
    assert order(found.inputs) == ["e0", "e1+", "c0", "e2", "e3+", "c1", "e4"]
    assert (found.transitions, found.events, found.cause) == (2, 5, "e3")


def test_all_of_one_moment_say_that_there_is_more() -> None:
    found = merge([crossing(0, 0), crossing(1, 0), crossing(2, 0, "bo")], [event(0)], sure=1, reaches=True)
    assert order(found.inputs) == ["e0+", "c0+", "c1", "c2"]
    at_once = [crossing(0, at_s=60.0), crossing(1, at_s=60.0), crossing(2, at_s=61.0)]
    assert order(merge(at_once, [], sure=0, reaches=True).inputs) == ["c0+", "c1", "c2"]


def test_a_transition_was_told_when_the_log_took_its_cause() -> None:
    found = merge(
        [crossing(0, at_s=5.0), crossing(1, 0, at_s=7.0)], [event(0)._replace(log_time_s=900.0)], sure=1, reaches=True
    )
    told = [each.told_s for each in found.inputs if isinstance(each, Crossing)]
    assert sorted(told) == [5.0, 900.0]


def test_what_nobody_listens_to_has_its_place_all_the_same() -> None:
    events = [event(0), event(1, says=False), event(2)]
    found = merge([crossing(0, 1), crossing(1, 2, says=False)], events, sure=3, reaches=True)
    assert order(found.inputs) == ["e0", "c0", "e2"]


def test_what_time_has_caused_stands_before_the_first_event_that_is_not_earlier() -> None:
    found = merge([crossing(0, at_s=250.0)], [event(n) for n in range(5)], sure=5, reaches=True)
    assert order(found.inputs) == ["e0", "e1", "e2", "c0", "e3", "e4"]


def test_nothing_passes_the_cause_of_a_later_transition() -> None:
    found = merge([crossing(0, at_s=1e9), crossing(1, 1)], [event(n) for n in range(3)], sure=3, reaches=True)
    assert order(found.inputs) == ["e0", "c0", "e1+", "c1", "e2"]


def test_an_event_waits_while_transitions_of_its_time_may_still_come() -> None:
    events = [event(n) for n in range(5)]
    found = merge([crossing(0, 1)], events, sure=0, reaches=True)
    assert (order(found.inputs), found.events) == (["e0", "e1+", "c0"], 2)
    assert order(merge([], events[2:], sure=4, reaches=True).inputs) == ["e2", "e3"]


def test_a_transition_waits_for_the_page_with_its_cause() -> None:
    transitions = [crossing(0, 1), crossing(1, 7)]
    first = merge(transitions, [event(n) for n in range(4)], sure=0, reaches=False)
    assert (order(first.inputs), first.transitions, first.events) == (["e0", "e1+", "c0", "e2", "e3"], 1, 4)
    second = merge(transitions[1:], [event(n) for n in range(4, 9)], sure=0, reaches=True, cause=first.cause)
    assert order(second.inputs) == ["e4", "e5", "e6", "e7+", "c1"]


def test_more_of_a_cause_that_was_passed_waits_for_nothing() -> None:
    found = merge([crossing(1, 0)], [event(n) for n in range(1, 4)], sure=0, reaches=False, cause="e0")
    assert (order(found.inputs), found.transitions, found.events) == (["c1"], 1, 0)


def test_a_cause_that_is_nowhere_holds_nothing_up() -> None:
    found = merge([crossing(0, 99), crossing(1, 1)], [event(0), event(1)], sure=2, reaches=True)
    assert order(found.inputs) == ["c0", "e0", "e1+", "c1"]


def test_the_first_of_two_events_with_one_id_is_the_cause() -> None:
    twice = [event(0), event(1)._replace(id="e0"), event(2)]
    assert order(merge([crossing(0, 0)], twice, sure=0, reaches=True).inputs) == ["e0+", "c0"]


def test_a_deletion_is_passed_in_its_place() -> None:
    gone = FromEvents(1, 100.0, "e1", Deleted("ann"))
    found = merge([crossing(0, 0)], [event(0), gone, event(2)], sure=3, reaches=True)
    assert [type(each).__name__ for each in found.inputs] == ["Watched", "Crossing", "Deleted", "Watched"]


# --- however they are read -------------------------------------------------------------------------------------------


class History(NamedTuple):
    """What has happened, in order."""

    events: list[FromEvents]
    transitions: list[FromTransitions]
    known_at: list[int]
    """Per transition: so many events were stored when it was published."""
    order: list[str]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A shard that takes one event after another; each may lead to transitions, and so may time before it."""
    events: list[FromEvents] = []
    transitions: list[FromTransitions] = []
    known_at, order_ = [], []
    for offset in range(draw(st.integers(1, 12))):
        for _ in range(draw(st.integers(0, 1))):
            transitions.append(crossing(len(transitions), at_s=100.0 * offset - 50.0))
            known_at.append(offset)
            order_.append(f"c{len(transitions) - 1}")
        events.append(event(offset))
        order_.append(f"e{offset}")
        for _ in range(draw(st.integers(0, 2))):
            transitions.append(crossing(len(transitions), offset))
            known_at.append(offset + 1)
            order_.append(f"c{len(transitions) - 1}")
    return History(events, transitions, known_at, order_)


class Shard:
    """Stores events, then publishes what they led to; a second batch is stored when the first one is published."""

    def __init__(self, history: History, data: st.DataObject) -> None:
        self._history = history
        self._data = data
        self.stored = 0
        self.published = 0

    def go_on(self) -> None:
        """Or do not."""
        if self.published == self.needed(self.stored):
            self.stored = self._data.draw(st.integers(self.stored, len(self._history.events)))
        self.published = self._data.draw(st.integers(self.published, self.needed(self.stored)))

    def finish(self) -> None:
        """All is stored and published."""
        self.stored, self.published = len(self._history.events), len(self._history.transitions)

    def needed(self, stored: int) -> int:
        """So many transitions are published when so many events are done with."""
        return sum(at <= stored for at in self._history.known_at)


@given(histories(), st.data())
def test_however_two_logs_are_read_they_become_the_same_one(history: History, data: st.DataObject) -> None:
    shard, found = Shard(history, data), list[str]()
    earlier = e = t = 0
    cause: str | None = None
    for rounds in range(100):
        shard.go_on() if rounds < 10 else shard.finish()
        given = history.transitions[t : min(shard.published, t + 3)]
        is_complete = t + len(given) == shard.published >= shard.needed(earlier)
        shard.go_on() if rounds < 10 else shard.finish()
        page = history.events[e : min(shard.stored, e + data.draw(st.integers(1, 4)))]
        reaches = e + len(page) >= shard.stored
        one = merge(given, page, sure=earlier if is_complete else 0, reaches=reaches, cause=cause)
        e, t, cause, earlier = e + one.events, t + one.transitions, one.cause, shard.stored
        found += [each.rstrip("+") for each in order(one.inputs)]
    assert found == history.order
