"""What a channel takes in and what becomes of it: single rules, and stops anywhere in a world of chance."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
import pytest

from streams.campaigns.effects import Purge, Send
from streams.runtime.channels.desk import Desk, Failure, Step, Taken, calls_of
from streams.runtime.deliveries.pace import Delivery, Limits, Pace
from streams.runtime.deliveries.sender import Outcome

NOW_S = 1_790_000_000.0
FINE, LOST = Outcome(True, "answered 200", 200), Outcome(False, "no answer in time", is_unknown=True)
REFUSED = Outcome(False, "answered 500", 500)
LIMITS = Limits(trip_after=10**6, attempts=4, at_once=1_000)


def send(number: int, user: str = "ann", **given: Any) -> Send:
    data: dict[str, Any] = {
        "id": f"id-{number}",
        "partition": 0,
        "generation": "g",
        "number": number,
        "user": user,
        "campaign": "c",
        "version": 1,
        "step": None,
        "kind": "enter",
        "channels": ("it",),
        "texts": {"it": {"body": "x"}},
        "addresses": {},
        "offer": None,
        "at_s": NOW_S,
        "expires_s": NOW_S + 3_600.0,
    }
    return Send(**data | given)


def desk(*, knows_ids: bool = True, limits: Limits = LIMITS) -> Desk:
    return Desk("it", Pace(limits), Taken(), knows_ids=knows_ids)


def ids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.id for delivery in deliveries]


def asked(number: int, **given: Any) -> Delivery:
    """What somebody wants sent."""
    each = send(number, **given)
    return Delivery(each.id, each.user, msgspec.msgpack.encode(each), 0, NOW_S, 7, NOW_S + 99.0, expires_s=NOW_S + 60.0)


def test_what_people_ask_for_waits_behind_all_others_with_all_its_attempts() -> None:
    it = desk()
    it.take_in([send(1), send(2, "bo")], ())
    step = it.take_asked({"a": asked(9, user="cy"), "b": asked(1)})
    assert (step.asked, ids(step.put)) == (["a", "b"], ["id-9"]), "what waits already is not taken twice"
    batch, _ = it.start(NOW_S)
    assert ids(batch.ready) == ["id-1", "id-2", "id-9"]
    assert (batch.ready[-1].attempts, batch.ready[-1].due_s, batch.ready[-1].number) == (0, 0.0, 2)


@pytest.mark.parametrize("outcome", [FINE, REFUSED])
def test_a_test_is_counted_nowhere_and_never_looked_at_again(outcome: Outcome) -> None:
    it, late_s = desk(limits=Limits(attempts=1)), NOW_S + 3_000.0
    it.take_asked({"a": asked(1, id="test-1"), "b": asked(2, id="id-2", user="bo")})
    for delivery in it.pace.of_user("ann"):
        delivery.expires_s = late_s + 1.0
    batch, _ = it.start(late_s)
    assert (ids(batch.ready), batch.late, it.taken.counts) == (["test-1"], [], {"stale": 1})
    it.settle(Step(), batch.ready[0], outcome, late_s, Random(1))
    assert it.taken.counts == {"stale": 1}


def test_messages_are_taken_in_once_by_their_numbers_and_ids() -> None:
    it = desk()
    assert ids(it.take_in([send(1), send(2, "bo"), send(1)], ()).put) == ["id-1", "id-2"]
    assert it.take_in([send(2, "bo")], ()).put == []
    again = send(1, generation="h")  # the store of campaigns was set back, and its numbers begin anew
    assert it.take_in([again], {"id-1"}).put == []
    assert it.taken.counts == {"repeated": 1}
    assert ids(it.take_in([send(1, "cy", partition=1, id="other")], ()).put) == ["other"]
    assert it.taken.numbers == {0: ("h", 1), 1: ("g", 1)}


def test_ids_are_kept_until_the_message_expires() -> None:
    assert desk().take_in([send(1)], ()).ids == {"id-1": NOW_S + 3_600.0}


def test_messages_of_other_channels_are_passed_over() -> None:
    it = desk()
    assert it.take_in([send(1, channels=("else",))], ()).put == []
    assert it.taken.numbers == {0: ("g", 1)}


def test_a_deletion_takes_what_was_before_it_and_nothing_behind() -> None:
    it = desk()
    it.take_in([send(1)], ())
    step = it.take_in([send(2), Purge(0, "g", 3, "ann"), send(4), send(5, "bo")], ())
    assert (ids(step.put), ids(step.drop), step.purged) == (["id-4", "id-5"], ["id-1"], ["ann"])
    assert it.taken.counts == {"purged": 2}


def test_what_has_expired_is_not_sent() -> None:
    it = desk()
    it.take_in([send(1), send(2, "bo", expires_s=NOW_S + 10.0)], ())
    batch, step = it.start(NOW_S + 10.0)
    assert (ids(batch.ready), ids(step.drop), it.taken.counts) == (["id-1"], ["id-2"], {"stale": 1})
    assert ids(batch.expired) == ["id-2"]


def test_of_a_test_that_has_expired_nobody_is_told() -> None:
    it = desk()
    it.take_asked({"a": asked(1, id="test-1")})
    batch, step = it.start(NOW_S + 60.0)
    assert (batch.expired, ids(step.drop), it.taken.counts) == ([], ["test-1"], {})


def test_what_is_late_is_looked_at_again() -> None:
    it = desk(knows_ids=False)
    it.take_in([send(1), send(2, "bo"), send(3, "cy")], ())
    batch, step = it.start(NOW_S + 61.0)
    assert (batch.ready, ids(batch.late), step.put) == ([], ["id-1", "id-2", "id-3"], [])
    one, two, three = batch.late
    it.admit(step, one)
    it.refuse(step, two, "goal")
    it.put_off(step, three, NOW_S + 120.0)
    assert (one.is_marked, ids(step.drop), three.due_s) == (True, ["id-2"], NOW_S + 120.0)
    assert it.taken.counts == {"goal": 1}
    assert it.start(NOW_S + 119.0)[0].late == []
    assert ids(it.start(NOW_S + 120.0)[0].late) == ["id-3"]


def test_who_knows_ids_is_told_again_and_who_does_not_is_not() -> None:
    for knows_ids, fate in ((True, "again"), (False, "unknown")):
        it = desk(knows_ids=knows_ids)
        it.take_in([send(1)], ())
        batch, _ = it.start(NOW_S)
        step = Step()
        assert it.settle(step, batch.ready[0], LOST, NOW_S, Random(1)) == fate
        assert (ids(step.put), ids(step.unknown)) == ((["id-1"], []) if knows_ids else ([], ["id-1"]))


def test_what_was_surely_refused_is_tried_again_and_then_given_up() -> None:
    it = desk(knows_ids=False)
    it.take_in([send(1, expires_s=1e12)], ())
    now_s, fates, given_up = NOW_S, [], list[Delivery]()
    for _ in range(4):
        batch, step = it.start(now_s)
        (delivery,) = [*batch.ready, *batch.late]
        it.admit(step, delivery)
        fates.append(it.settle(step, delivery, REFUSED, now_s, Random(1)))
        given_up += step.dead
        now_s += 10_000.0
    assert fates == ["again", "again", "again", "dead"]
    assert ids(given_up) == ["id-1"]


def settled(it: Desk, *outcomes: Outcome) -> Step:
    """One call with all that is ready."""
    step, call = Step(), it.start(NOW_S, 1)[0].ready
    it.settle_call(step, call, outcomes, NOW_S, Random(1))
    return step


def several(count: int, **given: Any) -> Desk:
    it = desk(knows_ids=False, limits=Limits(**{"per_call": 50, "trip_after": 2} | given))
    it.take_in([send(number, f"user-{number}") for number in range(1, count + 1)], ())
    return it


def test_a_call_that_fails_is_one_failure_for_the_circuit() -> None:
    it = several(5)
    settled(it, *[REFUSED] * 5)
    assert (it.pace.breaker.failures, it.pace.breaker.state(NOW_S)) == (1, "closed")
    assert (it.taken.counts, it.pace.waiting) == ({"failed": 5}, 5)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_call_that_may_be_refused_for_one_of_them_is_made_again_for_each_alone(status: int) -> None:
    it = several(3, attempts=1)
    spoiled = Outcome(False, f"answered {status}", status)
    step = settled(it, *[spoiled] * 3)
    assert [(each.is_alone, each.is_marked, each.attempts) for each in step.put] == [(True, False, 0)] * 3
    assert (it.pace.breaker.failures, it.taken.counts, step.dead) == (0, {}, [])
    (first,) = it.start(NOW_S, 1)[0].ready
    (second, third) = it.start(NOW_S, 2)[0].ready
    assert calls_of([second, third], 50) == [[second], [third]]
    for delivery, outcome in ((first, FINE), (second, spoiled), (third, FINE)):
        it.settle_call(step, [delivery], [outcome], NOW_S, Random(1))
    assert (ids(step.dead), it.taken.counts) == (["id-2"], {"arrived": 2, "failed": 1, "dead": 1})


def test_of_a_call_that_is_made_again_nothing_is_left_of_who_was_deleted_meanwhile() -> None:
    it = several(2)
    call = it.start(NOW_S, 1)[0].ready
    it.take_in([Purge(0, "g", 3, "user-1")], ())
    step = Step()
    it.settle_call(step, call, [Outcome(False, "answered 400", 400)] * 2, NOW_S, Random(1))
    assert ids(step.put) == ["id-2"]


def test_a_key_that_is_refused_is_about_all_of_a_call() -> None:
    it = several(2)
    settled(it, *[Outcome(False, "answered 401", 401)] * 2)
    assert (it.pace.breaker.failures, it.taken.counts) == (1, {"failed": 2})


@pytest.mark.parametrize(("status", "state"), [(550, "open"), (None, "closed")])
def test_refusals_for_good_trip_the_circuit_only_if_the_other_side_said_so(status: int | None, state: str) -> None:
    it = desk(limits=Limits(trip_after_refused=2))
    refused = Outcome(False, "refused", status, is_final=True)
    it.take_in([send(1), send(2, "bo")], ())
    step = Step()
    for delivery in it.start(NOW_S)[0].ready:
        it.settle(step, delivery, refused, NOW_S, Random(1))
    assert (len(step.dead), it.pace.breaker.state(NOW_S)) == (2, state)


def test_a_server_that_refuses_everybody_uses_up_one_message_at_a_start() -> None:
    """Else a service that is started again and again gives up ten at each start, and soon all."""
    refused, taken, lost = Outcome(False, "refused", 550, is_final=True), Taken(), list[str]()
    waiting = desk().take_in([send(number, f"user-{number}") for number in range(1, 41)], ()).put
    for number in range(12):
        stored = msgspec.msgpack.decode(msgspec.msgpack.encode(taken), type=Taken)
        it = Desk("it", Pace(Limits()), stored, knows_ids=True)
        it.load([each for each in waiting if each.id not in lost])
        while ready := it.start(NOW_S)[0].ready:
            for delivery in ready:
                it.settle(Step(), delivery, refused, NOW_S, Random(number))
                lost.append(delivery.id)
        taken = it.taken
    first = Limits().at_once  # all that was under way when the circuit was closed
    assert len(lost) == first + 11
    it = Desk("it", Pace(Limits()), taken, knows_ids=True)
    it.load([each for each in waiting if each.id not in lost])
    (trial,) = it.start(NOW_S)[0].ready
    it.settle(Step(), trial, FINE, NOW_S, Random(1))
    assert (it.taken.refusals, len(it.start(NOW_S)[0].ready)) == (0, 12)


def test_behind_a_stop_the_next_attempt_is_told_as_of_now() -> None:
    taken = Taken(failure=Failure("ann", "refused", NOW_S, None, NOW_S + 9.0), refusals=10)
    it = Desk("it", Pace(Limits()), taken, knows_ids=True)
    it.load([asked(1)])
    assert it.taken.failure == Failure("ann", "refused", NOW_S, NOW_S, None)


def test_what_would_be_refused_at_any_attempt_is_given_up_at_once_and_the_circuit_stays_closed() -> None:
    it = desk(limits=Limits(trip_after=1))
    it.take_in([send(1)], ())
    step = settled(it, Outcome(False, "the address was refused (550)", 550, is_final=True))
    assert (ids(step.dead), it.pace.waiting, it.pace.breaker.state(NOW_S)) == (["id-1"], 0, "closed")
    assert (step.dead[0].attempts, it.taken.counts) == (1, {"failed": 1, "dead": 1})
    assert it.taken.failure == Failure("ann", "the address was refused (550)", NOW_S, None, None)


def test_the_last_attempt_is_told_as_long_as_it_has_failed() -> None:
    it = desk(limits=Limits(trip_after=2, attempts=3))
    it.take_in([send(1), send(2, "bo")], ())
    first, second = it.start(NOW_S)[0].ready
    it.settle(Step(), first, REFUSED, NOW_S, Random(1))
    assert it.taken.failure == Failure("ann", "answered 500", NOW_S, first.due_s, None)
    it.settle(Step(), second, LOST, NOW_S + 1.0, Random(1))
    until_s = it.pace.breaker.open_until_s
    assert it.taken.failure == Failure("bo", "no answer in time", NOW_S + 1.0, until_s, until_s)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(it.taken), type=Taken)
    again = Desk("it", Pace(LIMITS), stored, knows_ids=True)
    again.load([first, second])
    assert again.taken.failure == Failure("bo", "no answer in time", NOW_S + 1.0, min(first.due_s, second.due_s), None)
    again.settle(Step(), again.start(NOW_S + 9.0)[0].ready[0], FINE, NOW_S + 9.0, Random(1))
    assert again.taken.failure is None


@pytest.mark.parametrize(("knows_ids", "outcome"), [(False, LOST), (True, REFUSED)])
def test_what_is_not_tried_again_has_no_next_attempt(outcome: Outcome, *, knows_ids: bool) -> None:
    it = desk(knows_ids=knows_ids, limits=Limits(attempts=1, trip_after=1))
    it.take_in([send(1)], ())
    it.settle(Step(), it.start(NOW_S)[0].ready[0], outcome, NOW_S, Random(1))
    assert it.taken.failure == Failure("ann", outcome.words, NOW_S, None, it.pace.breaker.open_until_s)


def test_what_came_of_the_last_attempt_goes_with_its_user() -> None:
    it = desk()
    it.take_in([send(1)], ())
    it.settle(Step(), it.start(NOW_S)[0].ready[0], REFUSED, NOW_S, Random(1))
    it.take_in([Purge(0, "g", 2, "bo")], ())
    assert it.taken.failure is not None
    it.take_in([Purge(0, "g", 3, "ann")], ())
    assert it.taken.failure is None


def test_an_attempt_whose_user_was_deleted_meanwhile_leaves_nothing() -> None:
    it = desk()
    it.take_in([send(1)], ())
    batch, _ = it.start(NOW_S)
    it.take_in([Purge(0, "g", 2, "ann")], ())
    step = Step()
    assert it.settle(step, batch.ready[0], LOST, NOW_S, Random(1)) == "dead"
    assert (step.put, step.dead, step.unknown) == ([], [], [])


def test_calls_are_filled_one_after_another() -> None:
    deliveries = [Delivery(str(n), str(n), b"", n, 0.0) for n in range(120)]
    assert [len(call) for call in calls_of(deliveries, 50)] == [50, 50, 20]


# --- stops anywhere --------------------------------------------------------------------------------------------------


class Stop(Exception):
    """The process is gone."""


@dataclass
class World:
    """A store that keeps steps, another side that loses replies, and a process that may stop at any time."""

    rng: Random
    knows_ids: bool
    stored: dict[str, Delivery] = field(default_factory=dict)
    taken: Taken = field(default_factory=Taken)
    ids: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    arrived: list[tuple[str, float]] = field(default_factory=list)
    """At the other side: id and time."""
    now_s: float = NOW_S
    _desk: Desk | None = None

    def open(self) -> Desk:
        if self._desk is None:
            self._desk = Desk("it", Pace(LIMITS), deepcopy(self.taken), knows_ids=self.knows_ids)
            waiting = sorted(deepcopy(list(self.stored.values())), key=lambda delivery: delivery.number)
            self.store(self._desk.load(waiting))
        return self._desk

    def store(self, step: Step) -> None:
        """All of it or nothing, and perhaps the last thing that is done."""
        assert self._desk is not None
        self.maybe_stop()
        for delivery in step.drop:
            self.stored.pop(delivery.id, None)
        self.stored |= {delivery.id: deepcopy(delivery) for delivery in step.put}
        self.ids |= set(step.ids)
        self.dead |= set(ids(step.dead))
        self.unknown |= set(ids(step.unknown))
        self.taken = deepcopy(self._desk.taken)
        self.maybe_stop()

    def maybe_stop(self) -> None:
        if self.rng.random() < 0.08:
            self._desk = None
            raise Stop

    def attempt(self, delivery: Delivery) -> Outcome:
        self.maybe_stop()
        how = self.rng.choice(["fine", "fine", "lost", "lost before", "refused"])
        if how in ("fine", "lost"):
            self.arrived.append((delivery.id, self.now_s))
        self.maybe_stop()
        return {"fine": FINE, "refused": REFUSED}.get(how, LOST)

    def work(self) -> None:
        it = self.open()
        batch, step = it.start(self.now_s)
        for delivery in batch.late:
            it.admit(step, delivery)
        self.store(step)
        for delivery in [*batch.ready, *batch.late]:
            settled = Step()
            it.settle(settled, delivery, self.attempt(delivery), self.now_s, self.rng)
            self.store(settled)


@pytest.mark.parametrize("knows_ids", [True, False])
@pytest.mark.parametrize("seed", range(60))
def test_wherever_it_stops_nothing_is_lost_and_who_knows_no_ids_gets_nothing_twice(
    seed: int, *, knows_ids: bool
) -> None:
    rng = Random(f"desk:{seed}:{knows_ids}")
    world = World(rng, knows_ids)
    log: list[Send | Purge] = []
    for number in range(1, 40):
        user = rng.choice("abc")
        until_s = NOW_S + rng.choice([50.0, 5_000.0, 1e9])
        log.append(Purge(0, "g", number, user) if rng.random() < 0.05 else send(number, user, expires_s=until_s))
    at = 0
    for _ in range(600):
        world.now_s += rng.choice([0.0, 1.0, 30.0, 4_000.0])
        try:
            if at < len(log) and rng.random() < 0.3:
                part = log[max(0, at - rng.randint(0, 3)) : at + rng.randint(1, 4)]  # some are said again
                step = world.open().take_in(part, world.ids)
                world.store(step)
                at = max(at, log.index(part[-1]) + 1)
            world.work()
        except Stop:
            continue
    while True:
        try:
            world.store(world.open().take_in(log, world.ids))
            world.now_s += 4_000.0
            world.work()
        except Stop:
            continue
        if not world.stored:
            break
    _audit(world, log)


def _audit(world: World, log: list[Send | Purge]) -> None:
    sends = {each.id: each for each in log if isinstance(each, Send)}
    purges = [each for each in log if isinstance(each, Purge)]
    reached = [id_ for id_, _ in world.arrived]
    for id_, send_ in sends.items():
        is_purged = any(purge.user == send_.user and purge.number > send_.number for purge in purges)
        may_expire = send_.expires_s < NOW_S + 1e8
        is_known = id_ in reached or id_ in world.dead or id_ in world.unknown
        assert is_known or is_purged or may_expire, f"{id_} was lost"
    assert all(at_s < sends[id_].expires_s for id_, at_s in world.arrived)
    if not world.knows_ids:
        assert len(set(reached)) == len(reached)
        assert all(id_ in reached or id_ in world.unknown or id_ in world.dead for id_ in reached)


def test_deliveries_that_were_stored_by_an_older_version_can_be_read() -> None:
    old = msgspec.msgpack.encode({"id": "1", "user": "u", "body": b"", "number": 0, "since_s": 1.0})
    found = msgspec.msgpack.decode(old, type=Delivery)
    assert (found.expires_s, found.is_marked) == (float("inf"), False)
