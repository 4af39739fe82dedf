"""The engine of campaigns against a slow, obvious model; however inputs are cut, and wherever it is stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any, cast, get_args

import pytest
from msgspec.structs import replace

from config.campaigns import Campaign, Cap, Channel, Messaging
from config.journeys import Journey
from config.times import QuietHours
from streams.adapters.memory_campaigns import MemoryCampaigns, Partition
from streams.campaigns.effects import Send
from streams.campaigns.inputs import Crossing, Deleted, Facts, Input, Score, Watched
from streams.campaigns.plan import Plan, Standing
from streams.campaigns.ports import queue_order
from streams.campaigns.question import Reason
from streams.core.chance import is_control, is_held_out
from tests.campaign_world import Crash, Service, campaign, journey, plan_of, send_step
from tests.reference.campaigns import Reference

START_S = 1_774_627_200.0  # 2026-03-27T16:00:00Z: two days on, clocks in Europe are changed
USERS = ("ann", "bo", "cy", "di")
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Nowhere/Else")
GAPS_S = (0.0, 1.0, 61.0, 1_700.0, 3_600.0, 5_400.0, 20_000.0, 43_200.0, 90_000.0, 400_000.0)
SEEDS, WORLDS = 16, 20
PERIODS_S = {"minute": 60, "hour": 3_600, "day": 86_400}
SCHEDULES: tuple[dict[str, Any], ...] = (
    {"every": "day", "at": "02:30", "timezone": "Europe/Berlin"},  # on 2026-03-29 the clock skips it
    {"every": "week", "on": ["sunday", "tuesday"], "at": "18:05", "timezone": "America/New_York"},
    {"at": "2026-03-28 09:00", "timezone": "Asia/Kathmandu"},
)
QUIET = (("21:00", "08:00"), ("01:30", "02:30"), ("00:00", "12:00"), ("23:59", "00:00"))


@dataclass(frozen=True)
class Step:
    now_s: float
    read_s: float
    inputs: tuple[Input, ...]
    facts: dict[str, Facts]
    standings: dict[str, tuple[str, float]]
    """Campaign -> how it stands, and since when."""


def _quiet_hours(rng: Random) -> dict[str, str]:
    start, end = rng.choice(QUIET)
    return {"from": start, "to": end}


def _offer(rng: Random) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": rng.choice(["percent", "amount"]), "order_value": 40.0}
    found["fixed_for"] = rng.choice([0, "2h", "5d"])
    if rng.random() < 0.5:
        found |= {"prediction": "p", "edges": [30, 60], "values": rng.choice([[20, 10, 0], [1, 2, 30]])}
    else:
        found["value"] = rng.choice([0.1, 12.5])
    if rng.random() < 0.5:
        # Of one offer at least; so small that it is soon used up, and a cent more or less is noticed.
        most = max(found.get("values", [found.get("value")])) * (0.4 if found["unit"] == "percent" else 1.0)
        found["budget"] = {"amount": rng.choice([most, most + 0.5, 30, 45.5]), "per": rng.choice(["total", "day"])}
    return found


def _campaign(rng: Random) -> Campaign:
    if rng.random() < 0.3:
        return _generous(rng)
    return campaign(
        segment=rng.choice(["s", "t"]),
        trigger=rng.choice(["enter", "enter", "enter", "exit", "both", {"event": "Cart"}, *SCHEDULES]),
        filter=rng.choice([None, None, {"trait": "vip", "exists": True}]),
        origins=rng.choice([["live", "decay"], ["live"], ["live", "decay", "model"]]),
        conversion={
            "event": "Order",
            "revenue": "value",
            "revenue_is": rng.choice(["before_offer", "before_offer", "after_offer"]),
            "revenue_cap": rng.choice([30.0, 1_000.0]),
            "window": rng.choice(["1h", "1d", "7d"]),
        },
        channels=rng.choice([["open"], ["mail"], ["mail", "open"]]),
        max_trigger_age=rng.choice(["30s", "10m", "6h", "1d", "10d", "10d"]),
        skip_recent_goal=rng.choice([0, 0, "1h", "2d"]),
        reentry=rng.choice(["once", "always", "always", "always", "3h", "2d"]),
        cooldown=rng.choice([0, 0, "30m", "2d"]),
        priority=rng.choice([10, 50, 90]),
        capped=rng.random() < 0.5,
        quiet_hours=rng.choice(["default", "none", _quiet_hours(rng)]),
        control=rng.choice([0.0, 0.0, 0.5]),
        rate=rng.choice([None, None, {"sends": 1, "per": "hour"}, {"sends": 2, "per": "day"}]),
        offer=_offer(rng) if rng.random() < 0.5 else None,
    )


def _generous(rng: Random) -> Campaign:
    """One that sends whenever it can, so that its users get many offers."""
    offer = {"unit": "percent", "prediction": "p", "edges": [30, 60], "values": [20, 10, 0], "order_value": 40.0}
    return campaign(
        trigger=rng.choice(["both", {"event": "Cart"}]),
        segment=rng.choice(["s", "t"]),
        max_trigger_age="10d",
        offer=offer | {"fixed_for": rng.choice(["1h", "12h", "2d", "5d"])},
        capped=False,
        quiet_hours="none",
        rate=rng.choice([None, {"sends": 1, "per": "day"}]),
    )


def _messaging(rng: Random) -> Messaging:
    caps = rng.choice([[], [], [(1, 3_600.0)], [(1, 7_200.0), (3, 5 * 86_400.0)]])
    return Messaging(
        holdout=rng.choice([0.0, 0.0, 0.4]),
        caps=tuple(Cap(sends=sends, within=within) for sends, within in caps),
        quiet_hours=QuietHours.model_validate(_quiet_hours(rng)) if rng.random() < 0.4 else None,
        timezone_trait="zone",
        channels={
            "open": Channel(kind="log"),
            "mail": Channel.model_validate({"kind": "braze", "consent": {"trait": "mail"}}, context={}),
        },
    )


class World:
    """What happens to some users: crossings in sequence, some of them said again, events, deletions, time."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._now_s = START_S
        self._read_s = START_S
        self._numbers = {"g": 0, "h": 0}
        self._sequences: dict[tuple[str, str], int] = {}
        self._latest: dict[str, dict[str, float]] = {user: {} for user in USERS}
        self._crossed_s: dict[str, float] = {}
        self._said: list[Crossing | Watched] = []
        self.messaging = _messaging(rng)
        self.campaigns = {f"c{place}": _campaign(rng) for place in range(rng.randint(1, 3))}
        self._standings = {id_: ("paused" if rng.random() < 0.08 else "on", START_S) for id_ in self.campaigns}
        self._begun = dict(self._standings)
        self.steps = [self._step() for _ in range(rng.randint(1, 25))]

    def plan(self, found: dict[str, Journey] | None = None) -> Plan:
        """The plan of its campaigns."""
        plan = plan_of(self.campaigns, found, messaging=self.messaging)
        plan.standings = {id_: Standing(cast("Any", state), at_s) for id_, (state, at_s) in self._begun.items()}
        return plan

    def _step(self) -> Step:
        rng = self._rng
        self._now_s += rng.choice(GAPS_S)
        for id_, (state, _) in self._standings.items():
            if rng.random() < (0.05 if state == "on" else 0.4):
                self._standings[id_] = "paused" if state == "on" else "on", self._now_s
        inputs = [each for _ in range(rng.randint(0, 5)) for each in self._inputs()]
        gone = {each.user for each in inputs if isinstance(each, Deleted)}
        self._said += [each for each in inputs if isinstance(each, Crossing | Watched) and each.user not in gone]
        if rng.random() < 0.8:
            self._read_s = self._now_s
        found = {user: self._facts(user) for user in USERS}
        return Step(self._now_s, self._read_s, tuple(inputs), found, dict(self._standings))

    def _inputs(self) -> list[Input]:
        rng = self._rng
        kind = rng.choice(["cross"] * 8 + ["event"] * 4 + ["moment"] * 2 + ["again", "delete"])
        user = rng.choice(USERS)
        at_s = self._now_s - rng.choice([0.5, 0.5, 0.5, 5.0, 700.0, 30_000.0])
        if kind == "cross":
            return [self._cross(user, at_s, rng.choice(["s", "t"]))]
        if kind == "event":
            return [self._event(user, at_s)]
        if kind == "moment":
            # An event, and what it leads to, is told in one go.
            parts: list[Crossing | Watched] = [
                self._event(user, at_s),
                self._cross(user, at_s, "s"),
                self._cross(user, at_s, "t"),
            ]
            chosen = parts[rng.randint(0, 1) :]
            return [*(replace(each, more=True) for each in chosen[:-1]), chosen[-1]]
        if kind == "again":
            return self._again()
        # What was said before may come once more, but not what was said of a user who is gone.
        self._said = [each for each in self._said if each.user != user]
        self._sequences = {name: found for name, found in self._sequences.items() if name[0] != user}
        self._crossed_s[user] = self._crossed_s.get(user, 0.0) + 1.0
        return [Deleted(user)]

    def _cross(self, user: str, at_s: float, segment: str) -> Crossing:
        rng = self._rng
        sequence = self._sequences[user, segment] = self._sequences.get((user, segment), 0) + 1
        # A user's crossings never go back in time: a shard decides at its clock, or later.
        at_s = self._crossed_s[user] = max(at_s, self._crossed_s.get(user, at_s))
        origin, by_goal = rng.choice(["live", "live", "decay", "model"]), rng.random() < 0.1
        return Crossing(user, segment, sequence % 2 == 1, sequence, at_s, origin, by_goal)

    def _event(self, user: str, at_s: float) -> Watched:
        name, properties = self._rng.choice(["Cart", "Order"]), {"value": self._rng.choice([10.0, 50.0, "much"])}
        self._latest[user][name] = max(at_s, self._latest[user].get(name, at_s))
        self._numbers["g"] += 1
        number = self._numbers["g"]
        return Watched(user, name, at_s, 0, "g", number, f"m{number}", properties)

    def _again(self) -> list[Input]:
        """Said once more: as it was, or by a shard that was set back, under another generation and number."""
        if not self._said:
            return []
        each = replace(self._rng.choice(self._said), more=False)
        if isinstance(each, Crossing) or self._rng.random() < 0.5:
            return [each]
        self._numbers["h"] += 1
        return [replace(each, shard=1, generation="h", number=self._numbers["h"])]

    def _facts(self, user: str) -> Facts:
        rng = self._rng
        members = {segment for segment in ("s", "t") if self._sequences.get((user, segment), 0) % 2}
        return Facts(
            as_of_s=self._now_s - rng.choice([0.0] * 8 + [300.0, 301.0]),
            # The store may be further than what was said so far.
            segments=frozenset(members if rng.random() < 0.9 else rng.sample(["s", "t"], rng.randint(0, 2))),
            fits=frozenset(name for name in ("c0", "c1", "c2") if rng.random() < 0.7),
            scores={"p": Score(score=rng.choice([None, 0.0, 30.0, 59.9, 60.0, 100.0]))},
            traits={"zone": ZONES[USERS.index(user)], "mail": rng.random() < 0.6},
            latest_s=dict(self._latest[user]),
        )


def worlds(use: str, seed: int) -> Iterator[World]:
    for place in range(WORLDS):
        yield World(Random(f"{use}:{seed}:{place}"))


def tallied(service: Service, id_: str) -> list[tuple[str, int, float, float]]:
    found = service.book(id_).tallies
    return sorted((name, each.users, round(each.revenue, 6), round(each.net, 6)) for name, each in found.items())


def run(service: Service, step: Step, inputs: Sequence[Input] | None = None, crash: int | None = None) -> None:
    """One step of a world, or a part of its inputs."""
    chosen = step.inputs if inputs is None else inputs
    for id_, (state, since_s) in step.standings.items():
        service.stand(id_, state, since_s)
    service.step(step.now_s, chosen, step.facts, crash, read_s=step.read_s)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_engine_does_what_the_rules_say(seed: int) -> None:
    for world in worlds("rules", seed):
        _compare(world)


def _compare(world: World) -> None:
    found, messaging = world.campaigns, world.messaging
    service = Service(world.plan(), runs_schedules=True)
    reference = Reference(
        messaging,
        found,
        control=lambda id_, user: is_control(id_, user, found[id_].control),
        holdout=lambda user: is_held_out(user, messaging.holdout),
        lot=lambda id_, user: queue_order(id_, user, 0.0)[1],
    )
    for step in world.steps:
        run(service, step)
        for id_, standing in step.standings.items():
            reference.stand(id_, *standing)
        reference.step(step.now_s, step.read_s, step.inputs, step.facts)
        for id_ in found:
            wanted = Counter(each.what for each in reference.decisions if each.campaign == id_)
            wanted["replaced"] += reference.replaced.count(id_)
            assert {k: n for k, n in service.counts(id_).items() if not k.startswith("waited")} == +wanted
    sent = [(d.user, d.campaign, d.now_s, d.value) for d in reference.decisions if d.what == "sent"]
    assert [(s.user, s.campaign, s.at_s, s.offer and s.offer.value) for s in service.taken] == sent
    for id_, each in found.items():
        sums: dict[str, tuple[int, float, float]] = {}
        for arm, rung, _, revenue, cost in reference.outcomes(id_):
            n, total, net = sums.get(f"{arm}:{rung}:1", (0, 0.0, 0.0))
            capped = min(revenue, each.conversion.revenue_cap or 0.0)
            sums[f"{arm}:{rung}:1"] = (n + 1, total + revenue, net + capped - cost)
        expected = sorted((name, n, round(total, 6), round(net, 6)) for name, (n, total, net) in sums.items())
        assert tallied(service, id_) == expected


def test_the_worlds_have_everything_in_them() -> None:
    seen: set[str] = set()
    for seed in range(SEEDS):
        for world in worlds("rules", seed):
            service = Service(world.plan(), runs_schedules=True)
            for step in world.steps:
                run(service, step)
            for id_ in world.campaigns:
                book = service.book(id_)
                seen |= {*book.counts, *(name.partition(":")[0] for name in book.tallies)}
            seen |= {send.kind for send in service.taken}
    rules = set(get_args(Reason)) - {
        "unknown",
        "breaker",
        "message",
        "dry",
        "recommendations",
    }  # these have tests of their own
    waits = {"waited_quiet", "waited_rate", "waited_behind", "waited_paused"}
    assert seen == rules | waits | {"sent", "replaced", "treated", "enter", "exit", "event", "schedule"}


def journeys() -> dict[str, Journey]:
    return {
        "j0": journey(
            {
                "first": send_step(),
                "hold": {"wait": "2h"},
                "way": {"random_split": [{"share": 0.5, "then": "second"}, {"share": 0.5, "then": "till"}]},
                "second": send_step("Again", then="first_wait"),
                "till": {"wait_until": {"event": "Cart"}, "at_most": "1d", "otherwise": "end"},
                "first_wait": {"wait": "1d", "then": "end"},
            },
            quiet_hours={"from": "21:00", "to": "08:00"},
            control=0.3,
        ),
        "j1": journey(
            {"till": {"wait_until": {"enters": "t"}, "at_most": "3d"}, "then": send_step()},
            exit_on="goal",
            rate={"sends": 1, "per": "hour"},
        ),
    }


@pytest.mark.parametrize("seed", range(SEEDS))
def test_cutting_into_batches_does_not_matter(seed: int) -> None:
    for world in worlds("cut", seed):
        whole, cut = (Service(world.plan(journeys()), runs_schedules=True) for _ in range(2))
        for step in world.steps:
            run(whole, step)
            run(cut, step, ())
            for each in step.inputs:
                run(cut, step, (each,))
        assert cut.taken == whole.taken
        assert (cut.rows, cut.now, cut.notes) == (whole.rows, whole.now, whole.notes)
        assert all(cut.book(id_) == whole.book(id_) for id_ in whole.plan.versions)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_stop_anywhere_loses_nothing_and_sends_nothing_twice(seed: int) -> None:
    rng = Random(f"stops:{seed}")
    for world in worlds("stop", seed):
        smooth, rough = (Service(world.plan(journeys()), runs_schedules=True) for _ in range(2))
        for place, step in enumerate(world.steps):
            run(smooth, step)
            _until_done(rough, place, partial(_stumble, step, rng))
        assert rough.taken == smooth.taken
        assert len({send.id for send in rough.taken}) == len(rough.taken)
        assert (rough.rows, rough.now) == (smooth.rows, smooth.now)
        assert all(rough.book(id_) == smooth.book(id_) for id_ in smooth.plan.versions)


CRASHES = (None, 0, 1, 2, 3)


def _stumble(step: Step, rng: Random, service: Service) -> None:
    run(service, step, crash=rng.choice(CRASHES))


def _until_done(service: Service, place: int, attempt: Callable[[Service], None]) -> None:
    """Start again after each stop, until the step is stored."""
    while service.position == place:
        with suppress(Crash):
            attempt(service)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_stop_before_the_commit_may_change_what_is_decided_but_not_how_often(seed: int) -> None:
    """What the store says of a user is read again after a stop; nothing of the first reading has left."""
    rng = Random(f"facts:{seed}")
    for world in worlds("facts", seed):
        service = Service(world.plan(journeys()))
        for place, step in enumerate(world.steps):

            def attempt(service: Service, step: Step = step, world: World = world) -> None:
                other = Step(step.now_s, step.read_s, step.inputs, _mixed(rng, world, step), step.standings)
                run(service, other, crash=rng.choice(CRASHES))

            _until_done(service, place, attempt)
        assert len({send.id for send in service.taken}) == len(service.taken)
        numbers = sorted(send.number for send in service.taken)
        assert len(numbers) + len(service.purged) == service.now.number
        assert len(set(numbers)) == len(numbers)


def _mixed(rng: Random, world: World, step: Step) -> dict[str, Facts]:
    """Of each user what was said at some step, as of now."""
    chosen = {user: rng.choice(world.steps).facts[user] for user in USERS}
    return {user: replace(each, as_of_s=step.now_s) for user, each in chosen.items()}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_facts_are_read_of_those_only_about_whom_something_is_decided(seed: int) -> None:
    """The service here gives the engine no others: it would fail over a user whom it looks at all the same."""
    for world in worlds("needs", seed):
        service = Service(world.plan(journeys()))
        for step in world.steps:
            run(service, step)
        assert len(service.asked) <= service.decided


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_journey_never_sends_twice_in_a_minute_and_counts_its_users(seed: int) -> None:
    for world in worlds("walks", seed):
        service = Service(world.plan(journeys()))
        for step in world.steps:
            run(service, step)
        rows = service.rows.values()
        for id_ in journeys():
            # Of a user who was deleted nothing is known any more, nor when the last message was.
            mine = [send for send in service.taken if send.campaign == id_ and send.user not in service.purged]
            times = sorted((send.user, send.at_s) for send in mine)
            assert all(b - a >= 60.0 for (user, a), (other, b) in pairwise(times) if user == other)
            assert service.book(id_).inside.get(1, 0) == sum(1 for row in rows if id_ in row.journeys)
        for id_ in service.plan.versions:
            is_open = [row for row in rows if id_ in row.assigned and row.assigned[id_].is_open]
            assert service.book(id_).open.get(1, 0) == len(is_open)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_partitions_together_never_exceed_budgets_and_rates(seed: int) -> None:
    for world in worlds("partitions", seed):
        partitions = 1 + seed % 4
        store = MemoryCampaigns()
        services = [Service(world.plan(), store, number, partitions) for number in range(partitions)]
        for step in world.steps:
            for number, service in enumerate(services):
                run(service, step, [each for each in step.inputs if USERS.index(each.user) % partitions == number])
        sends = [send for service in services for send in service.taken]
        for id_, each in world.campaigns.items():
            _check_limits(each, [send for send in sends if send.campaign == id_])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nobody_waits_for_a_rate_that_has_room(seed: int) -> None:
    """Partitions that share one find all of it within some minutes, whoever holds what. Whoever is called leaves the
    queue (`Service.step` fails otherwise).
    """
    for world in worlds("room", seed):
        partitions = 1 + seed % 4
        store = MemoryCampaigns()
        services = [Service(world.plan(), store, number, partitions) for number in range(partitions)]
        for step in world.steps:
            for number, service in enumerate(services):
                run(service, step, [each for each in step.inputs if USERS.index(each.user) % partitions == number])
        now_s = world.steps[-1].now_s
        for _ in range(5):
            now_s += 61.0
            known = {user: replace(each, as_of_s=now_s) for user, each in world.steps[-1].facts.items()}
            for service in services:
                service.step(now_s, [], known)
        sends = [send for service in services for send in service.taken]
        for id_, each in world.campaigns.items():
            stands = world.steps[-1].standings[id_][0]
            if each.rate is None or stands == "paused":
                continue
            start_s = now_s // PERIODS_S[each.rate.per] * PERIODS_S[each.rate.per]
            sent = sum(1 for send in sends if send.campaign == id_ and send.at_s >= start_s)
            assert sent == each.rate.sends or store.waiting_for_rate(id_) == 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_store_that_is_set_back_spends_no_budget_twice(seed: int) -> None:
    """Messages of lost commits have gone out, and what they cost counts, although nobody remembers them."""
    rng = Random(f"back:{seed}")
    for world in worlds("back", seed):
        service = Service(world.plan())
        copy: Partition | None = None
        seen: list[Send] = []
        for step in world.steps:
            run(service, step)
            seen += [send for send in service.taken if send.id not in {each.id for each in seen}]
            if copy is None and rng.random() < 0.3:
                copy = service.store.copy(0)
            elif copy is not None and rng.random() < 0.2:
                service.store.set_back(0, copy)
                service.lose_memory()
                copy = None
        for id_, each in world.campaigns.items():
            _check_limits(each, [send for send in seen if send.campaign == id_])


def _check_limits(found: Campaign, sends: list[Send]) -> None:
    if found.rate is not None:
        length_s = PERIODS_S[found.rate.per]
        assert max(Counter(send.at_s // length_s for send in sends).values(), default=0) <= found.rate.sends
    budget = found.offer.budget if found.offer is not None else None
    if budget is not None:
        costs: Counter[float] = Counter()
        for send in sends:
            assert send.offer is not None
            costs[send.at_s // 86_400 if budget.per == "day" else 0.0] += send.offer.cost  # type: ignore[assignment]
        assert max(costs.values(), default=0) <= budget.amount + 1e-9
