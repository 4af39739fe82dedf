"""The service of deliveries with a real server for its state, and receivers that fail, hang and come back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from aiohttp import web

from config.errors import BrokerUnavailable, StoreError, StoreFull, StoreIncompatible
from streams.adapters.memory_feed import MemoryTransitionLog
from streams.adapters.redis_deliveries import Endpoint, Progress, RedisDeliveries, Secrets, Step
from streams.runtime.deliveries import endpoint_run
from streams.runtime.deliveries.pace import Limits
from streams.runtime.deliveries.sender import Sender
from streams.runtime.deliveries.service import DeliveryService
from tests.conftest import SLOWNESS
from tests.contract.worlds import RedisWorld
from tests.unit.crossing_examples import FOREIGN, crossing
from tests.unit.test_deliveries_signing import SECRET, verified
from tests.unit.webhook_receiver import Receiver

QUICK = Limits(attempts=4, first_pause_s=0.01, longest_pause_s=0.02, trip_after=6, first_open_s=0.05)
QUICK_AND_PATIENT = Limits(attempts=100, first_pause_s=0.01, longest_pause_s=0.02, trip_after=1_000)
PATIENCE_S = 20.0 * SLOWNESS
SEGMENT = "orders_7d.high"


@pytest.fixture
def store(redis_world: RedisWorld) -> Iterator[RedisDeliveries]:
    found = RedisDeliveries(redis_world.url, prefix=redis_world.prefix)
    yield found
    found.close()


class Inbox(Receiver):
    """Takes what comes while `status` says so, and remembers what it took."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.status: Callable[[dict[str, Any]], int] = lambda _: 200
        self.taken: list[dict[str, Any]] = []
        self.refused = 0
        self._more = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert verified(SECRET, {name.lower(): value for name, value in request.headers.items()}, body)
        event = json.loads(body)
        assert request.headers["webhook-id"] == event["id"]
        status = self.status(event)
        if status == 200:
            self.taken.append(event)
        else:
            self.refused += 1
        self._more.set()
        return web.Response(status=status)

    def ids(self) -> list[int]:
        return [int(event["id"], 16) for event in self.taken]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._more.clear()
                await self._more.wait()


class MemoryMembers:
    """Members of the only segment that anybody asks for."""

    def __init__(self) -> None:
        self.users: set[str] = set()

    def pages(self, segment: str) -> Iterator[list[str]]:
        assert segment == SEGMENT
        users = sorted(self.users)
        yield from (users[start : start + 7] for start in range(0, len(users), 7))

    def are_members(self, segment: str, users: Sequence[str]) -> list[bool]:
        assert segment == SEGMENT
        return [user in self.users for user in users]


@asynccontextmanager
async def delivering(
    store: RedisDeliveries, log: MemoryTransitionLog, limits: Limits = QUICK, members: MemoryMembers | None = None
) -> Any:
    """A service that runs."""
    sender = Sender(allow_private=True, timeout_s=5.0)
    service = DeliveryService(
        store, log, sender, members=members or MemoryMembers(), limits=limits, rng=Random(1), lease_s=2.0
    )
    running = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        service.stop()
        async with asyncio.timeout(PATIENCE_S):
            await running
        await sender.close()


def hook(store: RedisDeliveries, inbox: Receiver, id_: str = "wh_1", **more: Any) -> Endpoint:
    found = Endpoint(id_, f"http://127.0.0.1:{inbox.port}/{id_}", "", 1.0, **more)
    store.add(found, Secrets(SECRET), Progress([0]))
    return found


async def stored(holds: Callable[[], bool]) -> None:
    """Until it is so in the store."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a store tells nobody of its changes


def run(doing: Callable[[], Awaitable[None]]) -> None:
    async def guarded() -> None:
        await doing()

    asyncio.run(guarded())


def test_every_wanted_transition_arrives_once_signed_in_the_order_of_its_user(store: RedisDeliveries) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        async with Inbox() as inbox:
            hook(store, inbox, segments=("orders_7d.high",), direction="entered")
            async with delivering(store, log):
                for number in range(60):
                    segment = "orders_7d.high" if number % 3 else "other"
                    log.put(0, crossing(number, f"user-{number % 7}", segment, in_segment=number % 5 != 0))
                wanted = [number for number in range(60) if number % 3 and number % 5]
                await inbox.until(lambda: len(inbox.taken) == len(wanted))
                await stored(lambda: store.progress("wh_1").delivered == len(wanted))
            assert sorted(inbox.ids()) == wanted
            for user in range(7):
                own = [number for number in inbox.ids() if number % 7 == user]
                assert own == sorted(own)
            assert (store.waiting("wh_1"), store.progress("wh_1").positions) == ([], [60])
            assert {sent.id for sent in store.recent("wh_1")} == {f"{number:032x}" for number in wanted}

    run(doing)


@pytest.mark.parametrize("is_audience", [False, True])
def test_records_that_are_no_transitions_are_stepped_over(store: RedisDeliveries, is_audience: bool) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        async with Inbox() as inbox:
            endpoint = audience(store, inbox, log) if is_audience else hook(store, inbox)
            for data in (*FOREIGN, crossing(1)):
                log.put(0, data)
            async with delivering(store, log):
                await inbox.until(lambda: len(inbox.taken) == 1)
                await stored(lambda: store.progress(endpoint.id).positions == [len(FOREIGN) + 1])

    run(doing)


def test_failures_are_sent_again_until_they_arrive(store: RedisDeliveries) -> None:
    async def doing() -> None:
        log, seen = MemoryTransitionLog(), dict[str, int]()

        def every_second(event: dict[str, Any]) -> int:
            seen[event["id"]] = seen.get(event["id"], 0) + 1
            return 200 if seen[event["id"]] == 2 else 503

        async with Inbox() as inbox:
            inbox.status = every_second
            hook(store, inbox)
            async with delivering(store, log):
                for number in range(20):
                    log.put(0, crossing(number, f"user-{number}"))
                await inbox.until(lambda: len(inbox.taken) == 20)
                await stored(lambda: store.progress("wh_1").delivered == 20)
        assert sorted(inbox.ids()) == list(range(20))
        assert store.progress("wh_1").failed == inbox.refused == 20

    run(doing)


def test_what_never_arrives_is_a_dead_letter_and_can_be_sent_again(
    store: RedisDeliveries, caplog: pytest.LogCaptureFixture
) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        async with Inbox() as inbox:
            inbox.status = lambda event: 400 if event["subject"] == "bad" else 200
            hook(store, inbox)
            async with delivering(store, log):
                log.put(0, crossing(1, "bad"))
                for number in range(2, 12):
                    log.put(0, crossing(number, f"user-{number}"))
                await stored(lambda: store.dead_count("wh_1") == 1 and store.progress("wh_1").delivered == 10)
                assert inbox.refused == QUICK.attempts
                inbox.status = lambda _: 200
                assert await asyncio.to_thread(store.redrive, "wh_1", None) == 1
                await inbox.until(lambda: 1 in inbox.ids())
                await stored(lambda: store.waiting_count("wh_1") == 0)
        assert sorted(inbox.ids()) == list(range(1, 12))

    run(doing)
    (told,) = [vars(record) for record in caplog.records if "is given up" in record.getMessage()]
    assert (told["webhook"], told["transition_id"]) == ("wh_1", f"{1:032x}")
    assert "event_id" in told
    assert "bad" not in told["message"], "nothing is said of the user"


def test_of_a_deleted_user_no_dead_letter_and_nothing_that_arrived_is_kept(store: RedisDeliveries) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        async with Inbox() as inbox:
            inbox.status = lambda event: 200 if int(event["id"], 16) % 2 else 400
            hook(store, inbox, direction="entered")
            async with delivering(store, log):
                for number, user in enumerate(["ann", "ann", "bob", "bob"]):
                    log.put(0, crossing(number, user))
                await stored(lambda: store.dead_count("wh_1") == 2 and len(store.recent("wh_1")) == 2)
                log.put(0, crossing(9, "ann", "other", in_segment=False, origin="deleted"))
                await stored(lambda: store.progress("wh_1").positions == [5])
                assert [sent.user for sent in store.recent("wh_1")] == ["bob"]
                inbox.status = lambda _: 200
                assert await asyncio.to_thread(store.redrive, "wh_1", None) == 1
                await inbox.until(lambda: len(inbox.taken) == 3)
        assert sorted(inbox.ids()) == [1, 2, 3], "ann's dead letter is not sent again"

    run(doing)


def test_a_dead_endpoint_costs_the_others_nothing_and_its_state_is_bounded(store: RedisDeliveries) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        limits = Limits(waiting=30, attempts=100, first_pause_s=5.0, trip_after=3, first_open_s=0.2)
        async with Inbox() as inbox, Inbox() as broken:
            broken.status = lambda _: 500
            hook(store, inbox)
            hook(store, broken, "wh_broken")
            async with delivering(store, log, limits) as service:
                for number in range(200):
                    log.put(0, crossing(number, f"user-{number}"))
                await inbox.until(lambda: len(inbox.taken) == 200)
                await stored(lambda: store.waiting_count("wh_broken") == 30)
                position = (await asyncio.to_thread(store.progress, "wh_broken")).positions
                assert position is not None
                assert position[0] == 30, "the rest waits in the log"
                assert service.open_circuits() == 1
                assert broken.refused < 60, "the circuit is open most of the time"
                broken.status = lambda _: 200
                await broken.until(lambda: len(broken.taken) >= 150)
        assert len(set(broken.ids())) == len(broken.ids())

    run(doing)


def test_a_restart_goes_on_and_loses_nothing(store: RedisDeliveries) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        async with Inbox() as inbox:
            inbox.status = lambda event: 200 if int(event["id"], 16) % 2 else 500
            hook(store, inbox)
            slow = QUICK_AND_PATIENT
            async with delivering(store, log, slow):
                for number in range(40):
                    log.put(0, crossing(number, f"user-{number}"))
                await inbox.until(lambda: len(inbox.taken) == 20)
            for number in range(40, 50):
                log.put(0, crossing(number, f"user-{number}"))
            inbox.status = lambda _: 200
            async with delivering(store, log, slow):
                await inbox.until(lambda: set(inbox.ids()) == set(range(50)))
                await stored(lambda: store.waiting_count("wh_1") == 0)

    run(doing)


def test_a_crash_at_any_moment_loses_nothing_and_ids_stay(store: RedisDeliveries) -> None:
    async def doing() -> None:
        log, rng, count = MemoryTransitionLog(), Random(3), 0
        sender = Sender(allow_private=True, timeout_s=5.0)
        async with Inbox() as inbox:
            inbox.status = lambda _: 200 if rng.random() < 0.7 else 503
            hook(store, inbox)
            for _ in range(5):
                service = DeliveryService(
                    store, log, sender, members=MemoryMembers(), limits=QUICK_AND_PATIENT, rng=rng, lease_s=0.3
                )
                running = asyncio.create_task(service.run())
                for _ in range(40):
                    log.put(0, crossing(count, f"user-{count % 9}"))
                    count += 1
                had = len(inbox.taken)
                await inbox.until(lambda had=had: len(inbox.taken) > had + 3)  # type: ignore[misc]
                running.cancel()  # as kill -9: nothing is finished, and the lease is not given back
                await asyncio.gather(running, return_exceptions=True)
            async with delivering(store, log, QUICK_AND_PATIENT):
                await inbox.until(lambda: set(inbox.ids()) == set(range(count)))
                await stored(lambda: store.waiting_count("wh_1") == 0)
        await sender.close()
        bodies: dict[str, set[bytes]] = {}
        for _, _, headers, body in inbox.requests:
            bodies.setdefault(headers["webhook-id"], set()).add(body)
        assert len(bodies) == count
        assert all(len(found) == 1 for found in bodies.values()), "one id always says the same"
        for user in range(9):
            firsts = list(dict.fromkeys(number for number in inbox.ids() if number % 9 == user))
            assert firsts == sorted(firsts)

    run(doing)


def test_another_process_takes_over(store: RedisDeliveries, redis_world: RedisWorld) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        other_store = RedisDeliveries(redis_world.url, prefix=redis_world.prefix)
        async with Inbox() as inbox:
            hook(store, inbox)
            async with delivering(store, log) as first, delivering(other_store, log) as second:
                log.put(0, crossing(1))
                await inbox.until(lambda: inbox.ids() == [1])
                assert first.is_owner + second.is_owner == 1
                owner, standing = (first, second) if first.is_owner else (second, first)
                owner.stop()
                await stored(lambda: standing.is_owner)
                log.put(0, crossing(2))
                await inbox.until(lambda: inbox.ids() == [1, 2])
        other_store.close()

    run(doing)


def test_what_the_log_has_not_kept_is_counted(store: RedisDeliveries) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        for number in range(10):
            log.put(0, crossing(number, f"user-{number}"))
        log.forget(0, 4)
        async with Inbox() as inbox:
            hook(store, inbox)
            async with delivering(store, log):
                await inbox.until(lambda: len(inbox.taken) == 6)
                await stored(lambda: store.progress("wh_1").missed == 4)
        assert sorted(inbox.ids()) == [4, 5, 6, 7, 8, 9]

    run(doing)


REFUSALS = [StoreFull("OOM"), StoreFull("MISCONF"), StoreIncompatible("CLUSTERDOWN"), StoreError("the server refuses")]


class Refusing(RedisDeliveries):
    """Refuses the next claim, or the next step of a kind, as a server that is full or half there."""

    def __init__(self, world: RedisWorld) -> None:
        super().__init__(world.url, prefix=world.prefix)
        self.next_claim: StoreError | None = None
        self.next_step: tuple[Callable[[Step], bool], StoreError] | None = None
        self.refused = 0

    def step(self, owner: str, endpoint_id: str, step: Step) -> None:
        if self.next_step is not None and self.next_step[0](step):
            error, self.next_step = self.next_step[1], None
            self.refused += 1
            raise error
        super().step(owner, endpoint_id, step)

    def claim(self, owner: str, lease_s: float) -> bool:
        if self.next_claim is not None:
            error, self.next_claim = self.next_claim, None
            self.refused += 1
            raise error
        return super().claim(owner, lease_s)


@pytest.fixture
def refusing(redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusing]:
    monkeypatch.setattr(endpoint_run, "_AGAIN_S", 0.01)
    found = Refusing(redis_world)
    yield found
    found.close()


@pytest.mark.parametrize("error", REFUSALS, ids=str)
@pytest.mark.parametrize("kind", ["put", "drop"])
def test_a_store_that_refuses_a_step_loses_no_transition(refusing: Refusing, kind: str, error: StoreError) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        async with Inbox() as inbox:
            hook(refusing, inbox)
            refusing.next_step = (lambda step: bool(getattr(step, kind))), error
            async with delivering(refusing, log):
                log.put(0, crossing(1))
                await inbox.until(lambda: inbox.ids() == [1])
                log.put(0, crossing(2))
                await inbox.until(lambda: inbox.ids() == [1, 2])
                await stored(lambda: refusing.progress("wh_1").delivered == 2)
        assert refusing.refused == 1
        assert (refusing.waiting("wh_1"), refusing.progress("wh_1").positions) == ([], [2])

    run(doing)


@pytest.mark.parametrize("error", REFUSALS, ids=str)
def test_a_store_that_refuses_the_lease_is_waited_for(refusing: Refusing, error: StoreError) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        async with Inbox() as inbox:
            hook(refusing, inbox)
            async with delivering(refusing, log):
                log.put(0, crossing(1))
                await inbox.until(lambda: inbox.ids() == [1])
                await stored(lambda: refusing.progress("wh_1").delivered == 1)
                refusing.next_claim = error
                await stored(lambda: refusing.refused == 1)
                log.put(0, crossing(2))
                await inbox.until(lambda: inbox.ids() == [1, 2])

    run(doing)


def test_a_store_that_never_let_in_ends_the_service(refusing: Refusing) -> None:
    async def doing() -> None:
        refusing.next_claim = StoreIncompatible("the server refuses the password")
        async with asyncio.timeout(PATIENCE_S):
            sender = Sender(allow_private=True, timeout_s=5.0)
            service = DeliveryService(refusing, MemoryTransitionLog(), sender, members=MemoryMembers())
            with pytest.raises(StoreIncompatible):
                await service.run()
            await sender.close()

    run(doing)


def test_what_is_missed_is_counted_once_though_the_log_fails_then(refusing: Refusing) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        for number in range(10):
            log.put(0, crossing(number, f"user-{number}"))
        log.forget(0, 4)

        def fail_to_read(step: Step) -> bool:
            log.failure = BrokerUnavailable("the log cannot be read now") if step.progress.missed else None
            return False

        async with Inbox() as inbox:
            hook(refusing, inbox)
            refusing.next_step = fail_to_read, StoreFull("never raised")
            async with delivering(refusing, log) as service:
                await stored(lambda: log.failure is not None)
                await stored(lambda: log.open_feeds == 0)
                refusing.next_step, log.failure = None, None
                await inbox.until(lambda: len(inbox.taken) == 6)
                assert service.counts.missed == 4
                await stored(lambda: refusing.progress("wh_1").delivered == 6)
            assert refusing.progress("wh_1").missed == 4

    run(doing)


def test_endpoints_come_and_go_while_it_runs(store: RedisDeliveries) -> None:
    async def doing() -> None:
        log = MemoryTransitionLog()
        async with Inbox() as inbox, delivering(store, log):
            found = hook(store, inbox)
            log.put(0, crossing(1))
            await inbox.until(lambda: inbox.ids() == [1])
            other = hook(store, inbox, "wh_2")
            await inbox.until(lambda: inbox.ids() == [1, 1])
            gone = Endpoint(found.id, found.url, "", 1.0, archived_s=2.0)
            await asyncio.to_thread(store.replace, gone)
            await stored(lambda: log.open_feeds == 1)
            log.put(0, crossing(2))
            await inbox.until(lambda: len(inbox.taken) == 3)
            assert [path for _, path, _, _ in inbox.requests][-1] == f"/{other.id}"

    run(doing)


# --- audiences --------------------------------------------------------------------------------------------------------


class List(Inbox):
    """A list elsewhere, as whoever gets the changes keeps it."""

    def users(self) -> set[str]:
        found = set[str]()
        for event in self.taken:
            user = event["data"]["user_id"]
            assert (user in found) != event["data"]["in_segment"], "only differences are sent"
            (found.add if event["data"]["in_segment"] else found.remove)(user)
        return found


class Shop:
    """A segment whose members come and go, each time with a transition."""

    def __init__(self, seed: int) -> None:
        self.log, self.members, self._rng, self._numbers = MemoryTransitionLog(), MemoryMembers(), Random(seed), 0

    def go_on(self, count: int, users: int = 20) -> None:
        for _ in range(count):
            user = f"user-{self._rng.randrange(users)}"
            is_in = user not in self.members.users
            (self.members.users.add if is_in else self.members.users.remove)(user)
            self._numbers += 1
            self.log.put(0, crossing(self._numbers, user, SEGMENT, in_segment=is_in))
            self.log.put(0, crossing(1_000_000 + self._numbers, user, "other", in_segment=is_in))


def audience(store: RedisDeliveries, inbox: Receiver, log: MemoryTransitionLog, **more: Any) -> Endpoint:
    found = Endpoint("au_1", f"http://127.0.0.1:{inbox.port}/", "", 1.0, audience=SEGMENT, **more)
    store.add(found, Secrets(more.pop("key", SECRET)), Progress([len(log.records[0])]))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_list_is_kept_equal_by_exact_differences(store: RedisDeliveries, seed: int) -> None:
    async def doing() -> None:
        shop, rng = Shop(seed), Random(seed)
        shop.go_on(30)  # before there is an audience
        slow = Limits(waiting=5, attempts=100, first_pause_s=0.01, longest_pause_s=0.02, trip_after=1_000)
        async with List() as inbox:
            audience(store, inbox, shop.log)
            inbox.status = lambda _: 200 if rng.random() < 0.7 else 503
            for _ in range(3):  # a restart each time
                async with delivering(store, shop.log, slow, shop.members):
                    shop.go_on(40)
                    await stored(lambda: is_settled(store, shop))
                assert inbox.users() == shop.members.users
                shop.go_on(10)
            assert store.listed_count("au_1") > 0

    run(doing)


def is_settled(store: RedisDeliveries, shop: Shop) -> bool:
    progress = store.progress("au_1")
    is_read = progress.positions == [len(shop.log.records[0])]
    return is_read and progress.compared == store.asked("au_1") and store.waiting_count("au_1") == 0


def test_a_comparison_puts_right_what_was_given_up(store: RedisDeliveries) -> None:
    async def doing() -> None:
        shop = Shop(1)
        async with List() as inbox:
            audience(store, inbox, shop.log)
            async with delivering(store, shop.log, QUICK, shop.members):
                await stored(lambda: is_settled(store, shop))
                inbox.status = lambda _: 400
                shop.members.users.add("ann")
                shop.log.put(0, crossing(1, "ann", SEGMENT))
                await stored(lambda: store.progress("au_1").differing == 1)
                assert (store.dead_count("au_1"), inbox.users()) == (0, set())
                inbox.status = lambda _: 200
                await asyncio.to_thread(store.ask_to_compare, "au_1")
                await stored(lambda: store.listed_count("au_1") == 1)
                assert inbox.users() == {"ann"}
                # What the store has forgotten elsewhere's list keeps until somebody compares.
                shop.members.users.clear()
                await asyncio.to_thread(store.ask_to_compare, "au_1")
                await stored(lambda: store.listed_count("au_1") == 0 and store.progress("au_1").compared == 3)
                assert store.progress("au_1").differing == 0
            assert inbox.users() == set()

    run(doing)


def test_a_store_that_refuses_a_step_leaves_no_comparison_out(refusing: Refusing) -> None:
    async def doing() -> None:
        shop = Shop(1)
        async with List() as inbox:
            audience(refusing, inbox, shop.log)
            shop.members.users |= {"ann", "bob"}
            refusing.next_step = (lambda step: step.progress.compared == 1), StoreFull("OOM")
            async with delivering(refusing, shop.log, QUICK, shop.members):
                await stored(lambda: is_settled(refusing, shop))
            assert (inbox.users(), refusing.refused) == ({"ann", "bob"}, 1)

    run(doing)


def test_segment_gets_its_own_calls_with_its_own_login(store: RedisDeliveries) -> None:
    async def doing() -> None:
        calls: list[tuple[str, dict[str, Any]]] = []

        async def answer(request: web.Request) -> web.Response:
            calls.append((request.headers["Authorization"], json.loads(await request.read())))
            return web.Response(text="{}")

        log = MemoryTransitionLog()
        async with Receiver(answer) as receiver:
            endpoint = Endpoint(
                "au_1", f"http://127.0.0.1:{receiver.port}/v1/track", "Likely", 1.0, audience=SEGMENT, form="segment"
            )
            store.add(endpoint, Secrets("writekey"), Progress([0]))
            async with delivering(store, log):
                log.put(0, crossing(1, "ann", SEGMENT))
                log.put(0, crossing(2, "ann", SEGMENT, in_segment=False))
                await stored(lambda: store.progress("au_1").delivered == 2)
        assert {login for login, _ in calls} == {"Basic " + base64.b64encode(b"writekey:").decode()}
        assert [(call["event"], call["userId"], call["type"]) for _, call in calls] == [
            ("Audience Entered", "ann", "track"),
            ("Audience Exited", "ann", "track"),
        ]
        assert [call["properties"] for _, call in calls] == [
            {"audience_key": SEGMENT, "audience_name": "Likely", SEGMENT: flag} for flag in (True, False)
        ]
        assert len({call["messageId"] for _, call in calls}) == 2

    run(doing)
