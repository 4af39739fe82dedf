"""What a campaign did: intervals hold what they say, on users whose true answer to an offer is known."""

from __future__ import annotations

import numpy as np
import pytest

from streams.campaigns.inputs import Crossing, Score, Watched
from streams.campaigns.lift import MIN_CONVERTED, MIN_USERS, MIN_VALUED, Lift, lift, lift_by_rung, rungs
from streams.campaigns.state import Tally
from tests.campaign_world import OPEN, Service, campaign, facts

NOW_S = 1_790_000_000.0
USERS = 12_000
# Of each rung: share of users, goal rate without and with the offer, its cost.
RUNGS = ((0.3, 0.04, 0.07, 8.0), (0.5, 0.12, 0.15, 4.0), (0.2, 0.30, 0.30, 0.0))
ORDER, SPREAD = 40.0, 0.6
TRUE_RATE = sum(share * (after - before) for share, before, after, _ in RUNGS)
TRUE_NET = sum(share * (after * (ORDER - cost) - before * ORDER) for share, before, after, cost in RUNGS)


def simulated(rng: np.random.Generator, *, effect: bool = True, users: int = USERS) -> dict[str, Tally]:
    """Users of a campaign with a tenth in the control group; orders are lognormal with a mean of 40."""
    found: dict[str, Tally] = {}
    rung = rng.choice(len(RUNGS), size=users, p=[each[0] for each in RUNGS])
    control = rng.random(users) < 0.1
    luck, orders = rng.random(users), ORDER * np.exp(rng.normal(-(SPREAD**2) / 2, SPREAD, users))
    for place, (_, before, after, cost) in enumerate(RUNGS):
        for arm, chosen in (("control", control), ("treated", ~control)):
            mine = chosen & (rung == place)
            treated = arm == "treated" and effect
            hits = mine & (luck < (after if treated else before))
            net = orders[hits] - (cost if treated else 0.0)
            n, converted = int(mine.sum()), int(hits.sum())
            revenue, given = float(orders[hits].sum()), cost * converted if treated else 0.0
            found[f"{arm}:{place}:1"] = Tally(n, converted, revenue, given, n, float(net.sum()), float((net**2).sum()))
    return found


def covered(runs: list[Lift]) -> tuple[int, int]:
    rate = sum(1 for each in runs if each.rate and each.rate.low <= TRUE_RATE <= each.rate.high)
    net = sum(1 for each in runs if each.net and each.net.low <= TRUE_NET <= each.net.high)
    return rate, net


def test_the_interval_covers_the_true_effect_in_93_to_97_of_100_runs() -> None:
    """Ten times a hundred runs: in one hundred alone, chance moves the number by two."""
    runs = [lift(simulated(np.random.default_rng([6, seed]))) for seed in range(1_000)]
    for hits in covered(runs):
        assert 93.0 <= hits / 10 <= 97.0, covered(runs)


def test_through_the_engine_users_with_a_known_answer_give_the_true_effect() -> None:
    """Users of whom it is known what they do with and without a message; the engine alone decides who gets one."""
    rng = np.random.default_rng(12)
    users = [f"user-{number}" for number in range(3_000)]
    scores = rng.uniform(0.0, 100.0, len(users))
    without = rng.random(len(users)) < 0.05 + 0.002 * scores
    with_it = without | (rng.random(len(users)) < 0.15)
    offer = {"unit": "amount", "prediction": "p", "edges": [30, 70], "values": [6, 3, 0], "order_value": ORDER}
    messaging = OPEN.model_copy(update={"holdout": 0.2})
    service = Service.of({"c": campaign(control=0.4, offer=offer)}, messaging=messaging)
    known = {user: facts("s", scores={"p": Score(score)}) for user, score in zip(users, scores.tolist(), strict=True)}
    service.step(NOW_S, [Crossing(user, "s", True, 1, NOW_S, "live") for user in users], known)
    sent = {send.user for send in service.taken}
    orders = [user for n, user in enumerate(users) if (with_it[n] if user in sent else without[n])]
    bought = [Watched(user, "Order", NOW_S + 60.0, 0, "g", n, user, {"value": ORDER}) for n, user in enumerate(orders)]
    service.step(NOW_S + 60.0, bought, known)
    service.step(NOW_S + 8 * 86_400.0, [], known)

    tallies = service.book("c").tallies
    found = lift(tallies)
    assert found.rate is not None
    assert found.net is not None
    assert found.treated_users == len(sent)
    assert found.rate.low <= float(np.mean(with_it) - np.mean(without)) <= found.rate.high
    values = np.array([6.0, 3.0, 0.0])[np.searchsorted([30.0, 70.0], scores, side="right")]
    true_net = float(np.mean(with_it * (ORDER - values)) - np.mean(without) * ORDER)
    assert found.net.low <= true_net <= found.net.high
    held = [tally for name, tally in tallies.items() if name.startswith("holdout")]
    rate, n = sum(each.converted for each in held) / sum(each.users for each in held), sum(each.users for each in held)
    base = float(np.mean(without))
    assert abs(rate - base) < 4.0 * (base * (1.0 - base) / n) ** 0.5
    treated_rate = found.rate.treated
    assert treated_rate - base > 4.0 * (base * (1.0 - base) / found.treated_users) ** 0.5


def test_each_rung_has_an_interval_of_its_own() -> None:
    hits = 0
    for seed in range(300):
        tallies = simulated(np.random.default_rng([8, seed]), users=8_000)
        assert rungs(tallies) == [0, 1, 2]
        for rung, found in lift_by_rung(tallies).items():
            _, before, after, _ = RUNGS[rung]
            assert found.rate is not None
            hits += found.rate.low <= after - before <= found.rate.high
    assert 0.93 <= hits / 900 <= 0.97


def skewed(rng: np.random.Generator, users: int, rate: float, sigma: float, cost: float, cap: float) -> Tally:
    """A group of which few order, and some of these much; only those who order are drawn."""
    hits = int(rng.binomial(users, rate))
    orders = np.minimum(ORDER * np.exp(rng.normal(-(sigma**2) / 2, sigma, hits)), cap)
    net = orders - cost
    sums = (float(net.sum()), float((net**2).sum()))
    return Tally(users, hits, float(orders.sum()), cost * hits, users, *sums)


def mean_order(sigma: float, cap: float) -> float:
    """Of lognormal orders with a mean of 40, each counted up to the cap."""
    orders = ORDER * np.exp(np.random.default_rng(1).normal(-(sigma**2) / 2, sigma, 2_000_000))
    return float(np.minimum(orders, cap).mean())


@pytest.mark.parametrize("sigma", [1.2, 1.8])
@pytest.mark.parametrize(("rate", "users"), [(0.01, 150_000), (0.04, 60_000)])
def test_the_interval_of_money_holds_where_orders_are_rare_and_very_different(
    sigma: float, rate: float, users: int
) -> None:
    """With a cap of five mean orders: without one, 65 to 92 of 100 intervals held the truth."""
    cap, cost, covered_runs = 5.0 * ORDER, 4.0, 0
    mean = mean_order(sigma, cap)
    true = 1.2 * rate * (mean - cost) - rate * mean
    for seed in range(1_000):
        rng = np.random.default_rng([13, seed])
        treated = skewed(rng, users * 9 // 10, 1.2 * rate, sigma, cost, cap)
        found = lift({"treated:0:1": treated, "control:0:1": skewed(rng, users // 10, rate, sigma, 0.0, cap)}).net
        assert found is not None
        covered_runs += found.low <= true <= found.high
    assert 925 <= covered_runs <= 970, covered_runs


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [1.2, 1.8])
def test_who_looks_every_day_at_rare_and_different_orders_is_not_told_of_an_effect_that_is_none(sigma: float) -> None:
    cap, claims = 10.0 * ORDER, 0
    for seed in range(200):
        rng, total, claimed = np.random.default_rng([14, seed]), {"treated:0:1": Tally(), "control:0:1": Tally()}, False
        for _ in range(25):
            total["treated:0:1"] += skewed(rng, 7_200, 0.01, sigma, 0.0, cap)
            total["control:0:1"] += skewed(rng, 800, 0.01, sigma, 0.0, cap)
            net = lift(total).net
            claimed = claimed or (net is not None and net.verdict != "too early")
        claims += claimed
    assert claims <= 14, claims  # 5 % and what chance adds


@pytest.mark.slow
def test_who_looks_every_day_is_not_told_of_an_effect_that_is_none() -> None:
    """The plain interval would leave 0 in many of these runs at some time; what is claimed may in one of twenty."""
    claims, plain = {"rate": 0, "net": 0}, 0
    for seed in range(300):
        rng = np.random.default_rng([9, seed])
        total: dict[str, Tally] = {}
        claimed: set[str] = set()
        is_outside = False
        for _ in range(25):
            for name, tally in simulated(rng, effect=False, users=600).items():
                total[name] = total.get(name, Tally()) + tally
            found = lift(total)
            if found.rate is None:
                continue
            claimed |= {"rate"} if found.rate.verdict != "too early" else set()
            claimed |= {"net"} if found.net is not None and found.net.verdict != "too early" else set()
            is_outside |= not found.rate.low <= 0.0 <= found.rate.high
        plain += is_outside
        for name in claimed:
            claims[name] += 1
    assert max(claims.values()) <= 15, claims
    assert plain > 30


def test_a_large_effect_is_found_in_time() -> None:
    rng = np.random.default_rng(10)
    found = lift(simulated(rng, users=60_000)).rate
    assert found is not None
    assert found.verdict == "more"
    assert found.low_always < found.low < found.estimate < found.high < found.high_always


def test_with_few_users_nothing_is_said() -> None:
    few = group(MIN_USERS - 1, MIN_USERS // 2)
    assert lift({"treated:-1:1": few + few, "control:-1:1": few}) == Lift(2 * MIN_USERS - 2, MIN_USERS - 1, None, None)
    assert lift({}) == Lift(0, 0, None, None)


def group(users: int, converted: int, *, cap: float | None = 100.0) -> Tally:
    """Users of whom some order for 10."""
    found = Tally()
    for number in range(users):
        found.add(int(number < converted), 10.0 if number < converted else 0.0, 0.0, cap)
    return found


def test_with_few_who_converted_nothing_is_claimed_and_of_money_nothing_is_said() -> None:
    many, none = group(2_000, 1_000), group(2_000, MIN_CONVERTED - 1)
    rate = lift({"treated:-1:1": many, "control:-1:1": none}).rate
    assert rate is not None
    assert (rate.low_always > 0.0, rate.verdict) == (True, "too early")
    few = group(2_000, MIN_VALUED - 1)
    found = lift({"treated:-1:1": many, "control:-1:1": few})
    assert found.rate is not None
    assert (found.rate.verdict, found.net) == ("more", None)
    assert lift({"treated:-1:1": many, "control:-1:1": group(2_000, MIN_VALUED)}).net is not None


def test_without_a_cap_nothing_is_said_of_money() -> None:
    plain = group(2_000, 1_000, cap=None)
    found = lift({"treated:-1:1": plain, "control:-1:1": plain})
    assert found.rate is not None
    assert found.net is None


def test_versions_are_compared_each_by_itself() -> None:
    """In the second version half are in the control group, and everybody orders more often: no effect in either."""
    tallies = {
        "treated:-1:1": group(9_000, 900),
        "control:-1:1": group(1_000, 100),
        "treated:-1:2": group(1_000, 500),
        "control:-1:2": group(1_000, 500),
    }
    found = lift(tallies)
    assert found.rate is not None
    assert found.net is not None
    assert (found.rate.estimate, found.rate.verdict) == (0.0, "too early")
    assert abs(found.net.estimate) < 1e-9
    few = lift({**tallies, "control:-1:2": group(MIN_USERS - 1, 50)}).rate
    assert few is not None
    assert few.treated == 0.1  # a version that nobody can be compared in is left out


def test_what_is_claimed_of_rungs_holds_for_all_of_them_together() -> None:
    """Ten rungs without any effect, each looked at alone, would bring a claim in one of three campaigns."""
    rng, claims, alone = np.random.default_rng(15), 0, 0
    for _ in range(300):
        tallies = {}
        for rung in range(10):
            for arm, users in (("treated", 1_000), ("control", 1_000)):
                hits = int(rng.binomial(users, 0.1))
                tallies[f"{arm}:{rung}:1"] = Tally(users, hits, 0.0, 0.0, 0)
        found = [each.rate for each in lift_by_rung(tallies).values() if each.rate is not None]
        claims += any(each.verdict != "too early" for each in found)
        alone += any(not each.low <= 0.0 <= each.high for each in found)
    assert claims <= 5
    assert alone > 60
    one = {f"{arm}:{rung}:1": group(2_000, n) for rung in range(10) for arm, n in (("treated", 200), ("control", 200))}
    found_all = lift_by_rung({**one, "treated:4:1": group(2_000, 600)})
    assert [rung for rung, each in found_all.items() if each.rate and each.rate.verdict == "more"] == [4]


def test_the_share_of_wrong_claims_is_that_at_which_the_interval_ends_at_nothing() -> None:
    found = lift({"treated:-1:1": group(3_000, 360), "control:-1:1": group(3_000, 300)}).rate
    assert found is not None
    assert (found.p_always < 0.05) == (found.low_always > 0.0)
    strong = lift({"treated:-1:1": group(3_000, 600), "control:-1:1": group(3_000, 300)}).rate
    assert strong is not None
    assert strong.p_always < 1e-6 < found.p_always


def test_those_held_out_are_in_neither_group() -> None:
    tallies = simulated(np.random.default_rng(11))
    with_holdout = {**tallies, "holdout:0:1": tallies["treated:0:1"]}
    assert lift(with_holdout) == lift(tallies)


@pytest.mark.parametrize("hits", [0, 120])
def test_nobody_or_everybody_did_it(hits: int) -> None:
    found = lift({"treated:-1:1": group(120, hits), "control:-1:1": group(120, hits)})
    assert found.rate is not None
    assert found.rate.low < 0.0 < found.rate.high
    assert found.rate.verdict == "too early"
    assert (found.net is None) == (hits == 0)
