"""A fixed set of seeds must come through, with every kind of fault in it; and a worker may end anywhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.sim import plan_notes
from tests.sim.__main__ import command
from tests.sim.group import WORDS
from tests.sim.plan import STILL, Plan, draw_plan
from tests.sim.run import Result, simulate, simulate_plan

SEEDS = 500
BLOCK = 25

FAULTS = {
    # of the traffic
    *(
        "delayed",
        "disorder",
        "duplicate",
        "far_future",
        "undecodable",
        "without_message_id",
        "wrong_partition",
        "deletion",
    ),
    # of campaigns
    *("note", *(kind for kind in plan_notes.KINDS if kind != "plain")),
    # of the cluster and the clock
    *("rebalance: let go", "rebalance: the old owner does not know", "rebalance: came back", "restart", "pause"),
    *("a zombie works", "a zombie learns", "clock jumps forward", "clock jumps back", "time passes in silence"),
    *("models read late", "crash after an error"),
    *(f"crash before {call}" for call in ("claim", "load", "rows", "commit", "publish", "send", "carry")),
    *(f"crash before {call}" for call in ("recall", "tell")),
    # of the store
    *(f"store {call}: {word}" for call in ("claim", "commit", "confirm") for word in ("request", "reply")),
    *("store load: request", "store load: part", "store commit: late", "store commit: full"),
    *("a late commit arrives", "late commit taken", "stale commit refused", "confirmed after a lost reply"),
    *("set back: events", "set back: examples", "set back: told by hand", "set back: the group knows"),
    *("a zombie tells", "a zombie does not reach a restored store"),
    # of the broker
    *(
        f"broker {call}: {word}"
        for call in ("publish", "send", "carry")
        for word in ("refused", "part", "reply", "full")
    ),
    # of the group, and of the topic of models
    *("broker recall: refused", *(f"broker tell: {word}" for word in WORDS)),
    *("told together", "a worker that was left out tells", "a model was overtaken"),
}
"""Every kind that must have been injected. What is drawn and never happens would prove nothing."""

CHECKS = (
    *("clocks", "waiting", "examples", "labels", "late goals", "models", "distributions", "deletions"),
    *("treated", "withheld", "untouched"),
)
"""Of the end of a run: each must have had something to judge."""

_done: dict[int, Result] = {}


def run_block(first: int) -> list[Result]:
    """The results of a block of seeds, from memory if they are there."""
    seeds = range(first, first + BLOCK)
    _done.update({seed: simulate(seed) for seed in seeds if seed not in _done})
    return [_done[seed] for seed in seeds]


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_seeds_come_through(first: int) -> None:
    failed = [result for result in run_block(first) if result.failure is not None]
    assert not failed, "\n".join(f"{r.failure}\nagain: {command(r.seed)}" for r in failed)


@pytest.mark.timeout(300)
def test_every_kind_of_fault_is_injected_and_something_comes_of_it() -> None:
    faults: Counter[str] = Counter()
    checked: Counter[str] = Counter()
    transitions = 0
    blocks = [run_block(first) for first in range(0, SEEDS, BLOCK)]
    for result in (result for block in blocks for result in block):
        faults.update(result.faults)
        checked.update(result.checked)
        transitions += result.transitions
    counted = sorted(faults.items()) + sorted(checked.items())
    print("\n".join(f"{times:9,d}  {kind}" for kind, times in counted))  # noqa: T201  pytest -s
    assert {kind for kind in FAULTS if not faults[kind]} == set()
    assert {name for name in CHECKS if checked[name] < SEEDS // 2} == set()
    assert checked["late notes"] > SEEDS // 10
    assert checked["notes passed over"] > SEEDS // 2
    assert checked["touches that cannot be told"] < checked["treated"] // 20
    assert checked["frozen"] > SEEDS // 10, "few catalogs have a preview"
    assert transitions > 10 * SEEDS


def test_a_seed_repeats_exactly() -> None:
    one, two = simulate(7), simulate(7)
    assert (one.faults, one.calls, one.transitions, one.notes) == (two.faults, two.calls, two.transitions, two.notes)


def small_plan(seed: int, *, is_calm: bool) -> Plan:
    """A short run without any other fault."""
    plan = draw_plan(seed)
    return replace(plan, weather=STILL, goes_back=False, is_calm=is_calm, arrivals=plan.arrivals[:20], largest_cut=8)


@pytest.mark.parametrize(("seed", "is_calm"), [(4, True), (5, False)])
def test_a_worker_may_end_before_any_call_of_a_port(seed: int, is_calm: bool) -> None:
    plan = small_plan(seed, is_calm=is_calm)
    undisturbed = simulate_plan(plan)
    assert undisturbed.failure is None
    assert undisturbed.calls > 30
    for call in range(1, undisturbed.calls + 1):
        result = simulate_plan(replace(plan, crash_at=call))
        assert result.failure is None, f"crash at call {call}: {result.failure}"
        assert any(kind.startswith("crash before") for kind in result.faults)


def test_no_example_is_learned_twice_after_a_store_went_back() -> None:
    """Found when chunks were counted, before there were notes: the same hours got other numbers the second time."""
    assert simulate_plan(draw_plan(582, noted=False)).failure is None
