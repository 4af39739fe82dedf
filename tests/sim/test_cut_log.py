"""A log that has lost its end: who stood behind it goes no further, also when it has grown past that place again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.errors import BrokerError
from streams.core.vocabulary import Vocabulary
from streams.runtime.records import Record
from tests.live_after import live_after
from tests.sim.books import EVENTS, Place
from tests.sim.plan import STILL, Plan, draw_plan
from tests.sim.planted import NONE
from tests.sim.world import World

LOST = 3


def stopped_world(seed: int) -> tuple[World, Place]:
    """Everything is worked, of a shard that has had some records; whoever takes it over loads it anew."""
    plan = still_plan(seed)
    with live_after(plan.live_after):
        world = World(plan, NONE, {}, len(Vocabulary(plan.catalog).feature_names()))
        world.run()
    place = max(world.owner, key=lambda place: len(world.records[place[0]][place[1]]) if place[0] == EVENTS else -1)
    world.workers[world.owner[place]].crash()
    world.workers[world.owner[place]].restart()
    return world, place


def still_plan(seed: int) -> Plan:
    return replace(draw_plan(seed), weather=STILL, goes_back=False, is_calm=False)


def cut(world: World, place: Place, lost: int) -> list[Record]:
    """The log of a place ends earlier by so many; they are returned."""
    log = world.records[place[0]][place[1]]
    gone = log[-lost:]
    del log[-lost:]
    return gone


def refill(world: World, place: Place, gone: list[Record]) -> None:
    """Others come in their place, and two more."""
    log = world.records[place[0]][place[1]]
    for n in range(len(gone) + 2):
        log.append(Record(len(log), gone[-1].log_time_s, b'{"type":"track","userId":"later","event":"Ping %d"}' % n))


@pytest.mark.parametrize("seed", range(6))
def test_a_log_that_lost_its_end_is_not_read_on(seed: int) -> None:
    world, place = stopped_world(seed)
    stored = world.servers[EVENTS].shards[place[1]]
    before = stored.number, stored.position
    worker, gone = world.workers[world.owner[place]], cut(world, place, LOST)
    with pytest.raises(BrokerError, match="the topic ends at"):
        worker.act(place)
    refill(world, place, gone)
    with pytest.raises(BrokerError, match="is not the one that was worked there"):
        worker.act(place)
    assert (stored.number, stored.position) == before
    assert place not in worker.at, "nothing is read"


@pytest.mark.parametrize("seed", range(3))
def test_a_log_whose_end_was_brought_back_is_read_on(seed: int) -> None:
    world, place = stopped_world(seed)
    worker = world.workers[world.owner[place]]
    log = world.records[place[0]][place[1]]
    gone = cut(world, place, LOST)
    log += [record._replace(log_time_s=record.log_time_s + 9.0) for record in gone]
    worker.act(place)
    assert worker.at[place] == len(log)
