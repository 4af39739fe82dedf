"""Retries, the circuit breaker, and the order of each user; against what any schedule has to hold."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.runtime.deliveries.pace import Breaker, Delivery, Limits, Pace

NOW_S = 1_000.0
LIMITS = Limits(waiting=50, at_once=3, attempts=4, first_pause_s=2.0, longest_pause_s=10.0, trip_after=3)


def delivery(number: int, user: str = "ann") -> Delivery:
    return Delivery(str(number), user, b"{}", number, NOW_S)


def pace(count: int, users: int, limits: Limits = LIMITS) -> Pace:
    found = Pace(limits)
    found.add(delivery(number, f"user-{number % users}") for number in range(count))
    return found


def test_as_many_at_once_as_may_be_and_one_of_a_user() -> None:
    found = pace(10, 5)
    first = found.start(NOW_S)
    assert [each.number for each in first] == [0, 1, 2]
    assert found.start(NOW_S) == []
    assert found.next_s(NOW_S) == inf
    found.arrived(first[0])
    assert [each.number for each in found.start(NOW_S)] == [3]
    assert (found.waiting, found.room) == (9, 41)


def test_a_user_waits_for_the_delivery_before_and_others_do_not() -> None:
    found = Pace(LIMITS)
    found.add([delivery(0), delivery(1), delivery(2, "zoë")])
    ann, zoe = found.start(NOW_S)
    found.arrived(zoe)
    assert not found.failed(ann, "answered 500", None, NOW_S, Random(1))
    assert found.start(NOW_S) == []
    due_s = found.next_s(NOW_S)
    assert NOW_S + 1.0 <= due_s <= NOW_S + 2.0
    assert found.start(due_s) == [ann]
    found.arrived(ann)
    assert [each.number for each in found.start(due_s)] == [1]


def test_pauses_double_with_jitter_up_to_a_bound_and_then_it_is_dead() -> None:
    calm = Limits(attempts=6, first_pause_s=2.0, longest_pause_s=10.0, trip_after=100)
    pauses = []
    for seed in range(200):
        found, now_s = pace(1, 1, calm), NOW_S
        for attempt in range(1, 7):
            (each,) = found.start(now_s)
            is_dead = found.failed(each, "answered 500", None, now_s, Random(seed * 10 + attempt))
            assert is_dead == (attempt == 6)
            if not is_dead:
                pauses.append((attempt, found.next_s(now_s) - now_s))
                now_s = found.next_s(now_s)
        assert (found.waiting, found.next_s(now_s)) == (0, inf)
    for attempt, most_s in enumerate((2.0, 4.0, 8.0, 10.0, 10.0), 1):
        found_s = [pause_s for number, pause_s in pauses if number == attempt]
        assert most_s / 2 <= min(found_s) < 0.6 * most_s
        assert 0.9 * most_s < max(found_s) <= most_s


def test_what_the_other_side_asks_for_is_waited_for() -> None:
    found = pace(1, 1)
    (each,) = found.start(NOW_S)
    found.failed(each, "answered 429", 60.0, NOW_S, Random(1))
    assert found.next_s(NOW_S) == NOW_S + 60.0


def test_the_circuit_opens_lets_one_try_and_closes() -> None:
    found = pace(20, 20)
    for each in found.start(NOW_S):
        found.failed(each, "no answer in time", None, NOW_S, Random(2))
    assert found.breaker.state(NOW_S) == "open"
    assert found.start(NOW_S) == []
    until_s = found.next_s(NOW_S)
    assert NOW_S + 5.0 <= until_s <= NOW_S + 10.0
    (probe,) = found.start(until_s)
    assert probe.attempts == 0, "not one that has failed: it may be the delivery that is bad"
    assert found.start(until_s) == []
    assert found.next_s(until_s) == inf
    found.failed(probe, "no answer in time", None, until_s, Random(3))
    later_s = found.next_s(until_s)
    assert until_s + 10.0 <= later_s <= until_s + 20.0, "twice as long"
    (probe,) = found.start(later_s)
    found.arrived(probe)
    assert found.breaker.state(later_s) == "closed"
    assert len(found.start(later_s)) == 3


def test_what_was_on_its_way_does_not_open_the_circuit_again() -> None:
    breaker, rng = Breaker(), Random(1)
    for _ in range(10):
        breaker.failed(NOW_S, LIMITS, rng)
    assert breaker.openings == 1
    for _ in range(100):
        breaker.failed(breaker.open_until_s or 0.0, LIMITS, rng)
    assert (breaker.open_until_s or 0.0) < NOW_S + 100 * 600.0
    assert breaker.openings <= 30


def test_what_goes_in_one_call_is_counted_in_calls() -> None:
    found = pace(10, 10, Limits(at_once=2, per_call=3))
    first = found.start(NOW_S, 2)
    assert [each.number for each in first] == [0, 1, 2, 3, 4, 5]
    assert found.next_s(NOW_S) == inf, "both calls are full"
    for each in first[:3]:
        found.arrived(each)
    found.part(first[3])
    assert [each.number for each in found.start(NOW_S, 2)] == [3, 6, 7, 8], "one alone, and three together"
    assert found.start(NOW_S, 0) == []


def test_of_a_call_that_has_failed_the_circuit_takes_one() -> None:
    found = pace(3, 3)
    for number, each in enumerate(found.start(NOW_S)):
        found.failed(each, "answered 500", None, NOW_S, Random(1), is_counted=number == 0)
    assert (found.breaker.failures, found.breaker.state(NOW_S)) == (1, "closed")


def test_one_that_is_refused_for_good_is_dead_and_leaves_the_circuit_closed() -> None:
    found = pace(6, 6)
    for each in found.start(NOW_S):
        found.refused(each, "the address is none", NOW_S, Random(1))
        assert (each.attempts, each.words) == (1, "the address is none")
    assert (found.waiting, found.breaker.failures, len(found.start(NOW_S))) == (3, 0, 3)


def test_an_endpoint_that_refuses_everybody_for_good_loses_few_and_is_tried_ever_more_rarely() -> None:
    found, now_s = pace(40, 40), NOW_S
    while found.breaker.state(now_s) == "closed":
        for each in found.start(now_s):
            found.refused(each, "answered 550", now_s, Random(1))
    assert 40 - found.waiting in range(LIMITS.trip_after_refused, LIMITS.trip_after_refused + LIMITS.at_once)
    left, pauses_s = found.waiting, list[float]()
    for _ in range(3):
        pauses_s.append(found.next_s(now_s) - now_s)
        now_s = found.next_s(now_s)
        (trial,) = found.start(now_s)
        found.refused(trial, "answered 550", now_s, Random(1))
    assert (found.waiting, found.breaker.state(now_s)) == (left - 3, "open")
    assert [pause_s > 5.0 * 2.0**at for at, pause_s in enumerate(pauses_s)] == [True] * 3
    now_s = found.next_s(now_s)
    found.arrived(*found.start(now_s))
    for each in found.start(now_s):
        found.refused(each, "answered 550", now_s, Random(1))
    assert found.breaker.state(now_s) == "closed", "those of before the arrival do not count any more"


def test_one_that_waits_already_is_not_added_again() -> None:
    found = pace(3, 3)
    (first, *_) = found.start(NOW_S)
    found.add([delivery(0, "user-0")])
    assert found.waiting == 3
    found.arrived(first)
    assert "0" not in found
    assert "1" in found


def half_open(count: int) -> tuple[Pace, float]:
    """So many deliveries of as many users behind a circuit that is half-open from that time on."""
    found = pace(count, count)
    for _ in range(LIMITS.trip_after):
        found.breaker.failed(NOW_S, LIMITS, Random(1))
    assert found.breaker.open_until_s is not None
    return found, found.breaker.open_until_s


def test_what_was_put_off_is_no_trial_before_its_time_and_others_are() -> None:
    found, now_s = half_open(2)
    (held,) = found.start(now_s)
    found.put_off(held, now_s + 60.0)
    assert found.next_s(now_s) == now_s
    (other,) = found.start(now_s)
    assert other is not held
    found.put_off(other, now_s + 30.0)
    assert (found.start(now_s), found.next_s(now_s)) == ([], now_s + 30.0)
    assert found.start(now_s + 30.0) == [other]
    found.arrived(other)
    assert (found.start(now_s + 59.0), found.next_s(now_s + 59.0)) == ([], now_s + 60.0)
    assert found.start(now_s + 60.0) == [held]


def test_what_was_put_off_and_is_dropped_holds_up_nothing() -> None:
    found, now_s = half_open(1)
    (held,) = found.start(now_s)
    found.put_off(held, now_s + 60.0)
    found.drop(held)
    assert (found.start(now_s), found.next_s(now_s)) == ([], inf)
    found.add([delivery(0)])
    assert found.next_s(now_s) == now_s, "the same again, asked for by a person, is another attempt"


@given(st.integers(1, 40), st.integers(1, 8), st.floats(0.0, 1.0), st.integers(0, 1_000))
def test_everything_arrives_once_or_is_dead_and_each_users_in_order(
    count: int, users: int, share: float, seed: int
) -> None:
    rng = Random(seed)
    found, now_s = pace(count, users), NOW_S
    flying: list[Delivery] = []
    ended: list[int] = []
    tries = dict.fromkeys(range(count), 0)
    for _ in range(count * LIMITS.attempts * 4 + 100):
        state = found.breaker.state(now_s)
        started = found.start(now_s)
        assert state != "open" or not started
        flying += started
        assert len(flying) <= LIMITS.at_once
        assert len({each.user for each in flying}) == len(flying)
        if not flying:
            if not found.waiting:
                break
            assert now_s <= found.next_s(now_s) < inf, "something always comes next"
            now_s = max(found.next_s(now_s), now_s)
            continue
        each = flying.pop(rng.randrange(len(flying)))
        tries[each.number] += 1
        if rng.random() < share:
            if found.failed(each, "answered 500", None, now_s, rng):
                ended.append(each.number)
        else:
            found.arrived(each)
            ended.append(each.number)
        now_s += rng.random()
    assert sorted(ended) == list(range(count))
    assert max(tries.values()) <= LIMITS.attempts
    for user in range(users):
        own = [number for number in ended if number % users == user]
        assert own == sorted(own)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_room_is_never_less_than_nothing(share: float) -> None:
    found = pace(80, 80)
    assert (found.room, found.waiting) == (0, 80)
    for each in found.start(NOW_S):
        if share:
            found.failed(each, "", None, NOW_S, Random(1))
        else:
            found.arrived(each)
    assert found.room == 0
