"""The engine of campaigns against a slow, obvious model; however inputs are cut, and wherever it is stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, get_args

import pytest

from config.campaigns import Campaign, Cap, Channel, Messaging, TraitConsent
from config.journeys import Journey
from config.times import QuietHours
from streams.campaigns.chance import is_control, is_held_out
from streams.campaigns.decide import Reason
from streams.campaigns.effects import Send
from streams.campaigns.inputs import Crossing, Deleted, Facts, Input, Said, Watched
from tests.campaign_world import Crash, Service, SharedGrants, campaign, journey, send_step
from tests.reference.campaigns import Reference

START_S = 1_774_627_200.0  # 2026-03-27T16:00:00Z: two days on, clocks in Europe are changed
USERS = ("ann", "bo", "cy", "di")
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Nowhere/Else")
GAPS_S = (0.0, 1.0, 61.0, 1_700.0, 3_600.0, 5_400.0, 20_000.0, 43_200.0, 90_000.0, 400_000.0)
SEEDS, WORLDS = 16, 20
QUIET = (("21:00", "08:00"), ("01:30", "02:30"), ("00:00", "12:00"), ("23:59", "00:00"))


@dataclass(frozen=True)
class Step:
    now_s: float
    inputs: tuple[Input, ...]
    facts: dict[str, Facts]


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
        found["budget"] = {"amount": rng.choice([30, 45.5]), "per": rng.choice(["total", "day"])}
    return found


def _campaign(rng: Random) -> Campaign:
    return campaign(
        segment=rng.choice(["s", "t"]),
        trigger=rng.choice(["enter", "enter", "exit", "both", {"event": "Cart"}]),
        filter=rng.choice([None, None, {"trait": "vip", "exists": True}]),
        origins=rng.choice([["live", "decay"], ["live"], ["live", "decay", "model"]]),
        conversion={"event": "Order", "revenue": "value", "window": rng.choice(["1h", "1d", "7d"])},
        channels=rng.choice([["open"], ["mail"], ["mail", "open"]]),
        max_trigger_age=rng.choice(["10m", "6h", "1d", "10d", "10d"]),
        skip_recent_goal=rng.choice([0, 0, "1h", "2d"]),
        reentry=rng.choice(["once", "always", "always", "always", "3h", "2d"]),
        cooldown=rng.choice([0, 0, "30m", "2d"]),
        priority=rng.choice([10, 50, 90]),
        capped=rng.random() < 0.5,
        quiet_hours=rng.choice(["default", "none", _quiet_hours(rng)]),
        control=rng.choice([0.0, 0.0, 0.5]),
        rate=rng.choice([None, None, {"sends": 1, "per": "hour"}, {"sends": 2, "per": "day"}]),
        paused=rng.random() < 0.1,
        offer=_offer(rng) if rng.random() < 0.5 else None,
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
            "mail": Channel(kind="email", consent=TraitConsent.model_validate({"trait": "mail"})),
        },
    )


class World:
    """What happens to some users: crossings in sequence, some of them said again, events, deletions, time."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._now_s = START_S
        self._number = 0
        self._sequences: dict[tuple[str, str], int] = {}
        self._latest: dict[str, dict[str, float]] = {user: {} for user in USERS}
        self._crossed_s: dict[str, float] = {}
        self._said: list[Input] = []
        self.messaging = _messaging(rng)
        self.campaigns = {f"c{place}": _campaign(rng) for place in range(rng.randint(1, 3))}
        self.steps = [self._step() for _ in range(rng.randint(1, 25))]

    def _step(self) -> Step:
        rng = self._rng
        self._now_s += rng.choice(GAPS_S)
        inputs = [each for _ in range(rng.randint(0, 5)) if (each := self._input()) is not None]
        gone = {each.user for each in inputs if isinstance(each, Deleted)}
        self._said += [each for each in inputs if each.user not in gone]
        return Step(self._now_s, tuple(inputs), {user: self._facts(user) for user in USERS})

    def _input(self) -> Input | None:
        rng = self._rng
        kind = rng.choice(["cross"] * 8 + ["event"] * 4 + ["again", "delete"])
        user, segment = rng.choice(USERS), rng.choice(["s", "t"])
        at_s = self._now_s - rng.choice([0.0, 0.0, 0.0, 5.0, 700.0, 30_000.0])
        if kind == "cross":
            sequence = self._sequences[user, segment] = self._sequences.get((user, segment), 0) + 1
            # A user's crossings never go back in time: a shard decides at its clock, or later.
            at_s = self._crossed_s[user] = max(at_s, self._crossed_s.get(user, at_s))
            origin, by_goal = rng.choice(["live", "live", "decay", "model"]), rng.random() < 0.1
            return Crossing(user, segment, sequence % 2 == 1, sequence, at_s, origin, by_goal)
        if kind == "event":
            self._number += 1
            name, properties = rng.choice(["Cart", "Order"]), {"value": rng.choice([10.0, 50.0, "much"])}
            self._latest[user][name] = max(at_s, self._latest[user].get(name, at_s))
            return Watched(user, name, at_s, self._number, "g", f"m{self._number}", properties)
        if kind == "again":
            return rng.choice(self._said) if self._said else None
        # What was said before may come once more, but not what was said of a user who is gone.
        self._said = [each for each in self._said if each.user != user]
        self._sequences = {name: found for name, found in self._sequences.items() if name[0] != user}
        self._crossed_s[user] = self._crossed_s.get(user, 0.0) + 1.0
        return Deleted(user)

    def _facts(self, user: str) -> Facts:
        rng = self._rng
        members = {segment for segment in ("s", "t") if self._sequences.get((user, segment), 0) % 2}
        return Facts(
            # The store may be further than what was said so far.
            segments=frozenset(members if rng.random() < 0.9 else rng.sample(["s", "t"], rng.randint(0, 2))),
            fits=frozenset(name for name in ("c0", "c1", "c2") if rng.random() < 0.7),
            said={"p": Said(score=rng.choice([None, 0.0, 30.0, 59.9, 60.0, 100.0]))},
            traits={"zone": ZONES[USERS.index(user)], "mail": rng.random() < 0.6},
            latest_s=dict(self._latest[user]),
        )


def worlds(use: str, seed: int) -> Iterator[World]:
    for place in range(WORLDS):
        yield World(Random(f"{use}:{seed}:{place}"))


def tallied(service: Service, id_: str) -> list[tuple[str, int, float, float]]:
    found = service.now.tallies.get(id_, {})
    return sorted((name, each.users, round(each.revenue, 6), round(each.net, 6)) for name, each in found.items())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_engine_does_what_the_rules_say(seed: int) -> None:
    for world in worlds("rules", seed):
        _compare(world)


def _compare(world: World) -> None:
    found, messaging = world.campaigns, world.messaging
    service = Service.of(found, messaging=messaging)
    reference = Reference(
        messaging,
        found,
        control=lambda id_, user: is_control(id_, user, found[id_].control),
        holdout=lambda user: is_held_out(user, messaging.holdout),
    )
    for step in world.steps:
        service.step(step.now_s, step.inputs, step.facts)
        reference.step(step.now_s, step.inputs, step.facts)
        for id_ in found:
            wanted: dict[str, int] = {}
            for each in reference.decisions:
                if each.campaign == id_ and each.what != "waited":
                    wanted[each.what] = wanted.get(each.what, 0) + 1
            assert {k: n for k, n in service.counts(id_).items() if not k.startswith("waited")} == wanted
    sent = [(d.user, d.campaign, d.now_s, d.value) for d in reference.decisions if d.what == "sent"]
    assert [(s.user, s.campaign, s.at_s, s.offer and s.offer.value) for s in service.taken] == sent
    for id_ in found:
        sums: dict[str, tuple[int, float, float]] = {}
        for arm, rung, _, revenue, cost in reference.outcomes(id_):
            n, total, net = sums.get(f"{arm}:{rung}", (0, 0.0, 0.0))
            sums[f"{arm}:{rung}"] = (n + 1, total + revenue, net + revenue - cost)
        expected = sorted((name, n, round(total, 6), round(net, 6)) for name, (n, total, net) in sums.items())
        assert tallied(service, id_) == expected


def test_the_worlds_have_everything_in_them() -> None:
    seen: set[str] = set()
    for seed in range(SEEDS):
        for world in worlds("rules", seed):
            service = Service.of(world.campaigns, messaging=world.messaging)
            for step in world.steps:
                service.step(step.now_s, step.inputs, step.facts)
            for id_ in world.campaigns:
                seen |= {*service.counts(id_), *(name.partition(":")[0] for name in service.now.tallies.get(id_, ()))}
    rules = set(get_args(Reason)) - {"unknown", "breaker", "message"}  # these three have tests of their own
    assert seen == rules | {"sent", "waiting", "waited_quiet", "waited_rate", "treated"}


def journeys() -> dict[str, Journey]:
    return {
        "j0": journey(
            {
                "first": send_step(),
                "hold": {"wait": "2h"},
                "way": {"shares": [{"share": 0.5, "then": "second"}, {"share": 0.5, "then": "till"}]},
                "second": send_step("Again", then="first_wait"),
                "till": {"wait_until": {"event": "Cart"}, "at_most": "1d", "otherwise": "end"},
                "first_wait": {"wait": "1d", "then": "end"},
            },
            quiet_hours={"from": "21:00", "to": "08:00"},
            control=0.3,
        ),
        "j1": journey(
            {"till": {"wait_until": {"enters": "t"}, "at_most": "3d"}, "then": send_step()},
            ends_on="goal",
            rate={"sends": 1, "per": "hour"},
        ),
    }


@pytest.mark.parametrize("seed", range(SEEDS))
def test_cutting_into_batches_does_not_matter(seed: int) -> None:
    for world in worlds("cut", seed):
        whole, cut = (Service.of(world.campaigns, journeys(), messaging=world.messaging) for _ in range(2))
        for step in world.steps:
            whole.step(step.now_s, step.inputs, step.facts)
            cut.step(step.now_s, (), step.facts)
            for each in step.inputs:
                cut.step(step.now_s, (each,), step.facts)
        assert cut.taken == whole.taken
        assert (cut.rows, cut.now, cut.notes) == (whole.rows, whole.now, whole.notes)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_stop_anywhere_loses_nothing_and_sends_nothing_twice(seed: int) -> None:
    rng = Random(f"stops:{seed}")
    for world in worlds("stop", seed):
        smooth, rough = (Service.of(world.campaigns, journeys(), messaging=world.messaging) for _ in range(2))
        for place, step in enumerate(world.steps):
            smooth.step(step.now_s, step.inputs, step.facts)
            while rough.position == place:
                try:
                    rough.step(step.now_s, step.inputs, step.facts, rng.choice([None, 0, 1, 2, 3]))
                except Crash:
                    rough.publish()
        assert rough.taken == smooth.taken
        assert len({send.id for send in rough.taken}) == len(rough.taken)
        assert (rough.rows, rough.now) == (smooth.rows, smooth.now)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_stop_before_the_commit_may_change_what_is_decided_but_not_how_often(seed: int) -> None:
    """What the store says of a user is read again after a stop; nothing of the first reading has left."""
    rng = Random(f"facts:{seed}")
    for world in worlds("facts", seed):
        service = Service.of(world.campaigns, journeys(), messaging=world.messaging)
        for place, step in enumerate(world.steps):
            while service.position == place:
                facts = {user: rng.choice(world.steps).facts[user] for user in USERS}
                try:
                    service.step(step.now_s, step.inputs, facts, rng.choice([None, 0, 0, 1, 2, 3]))
                except Crash:
                    service.publish()
        assert len({send.id for send in service.taken}) == len(service.taken)
        assert [send.number for send in service.taken] == list(range(1, service.now.number + 1))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_partitions_together_never_exceed_budgets_and_rates(seed: int) -> None:
    for world in worlds("partitions", seed):
        partitions = 1 + seed % 4
        shared = SharedGrants()
        services = [Service.of(world.campaigns, grants=shared.of(number)) for number in range(partitions)]
        for step in world.steps:
            for number, service in enumerate(services):
                mine = [each for each in step.inputs if USERS.index(each.user) % partitions == number]
                service.step(step.now_s, mine, step.facts)
        sends = [send for service in services for send in service.taken]
        for id_, each in world.campaigns.items():
            _check_limits(each, [send for send in sends if send.campaign == id_])


def _check_limits(found: Campaign, sends: list[Send]) -> None:
    if found.rate is not None:
        length_s = {"minute": 60, "hour": 3_600, "day": 86_400}[found.rate.per]
        assert max(Counter(send.at_s // length_s for send in sends).values(), default=0) <= found.rate.sends
    budget = found.offer.budget if found.offer is not None else None
    if budget is not None:
        costs: Counter[float] = Counter()
        for send in sends:
            assert send.offer is not None
            costs[send.at_s // 86_400 if budget.per == "day" else 0.0] += send.offer.cost  # type: ignore[assignment]
        assert max(costs.values(), default=0) <= budget.amount + 1e-9
