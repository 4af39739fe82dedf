"""A worker: a process with a run for every partition that it believes to own, and nothing that outlives a crash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from config.errors import BrokerUnavailable, Fenced, StoreFull, StoreUnavailable
from models.snapshot import Snapshot
from streams.commit import Patience
from streams.ports import Identity, Message
from streams.runtime.births import birth_in
from streams.runtime.latest_models import LatestModels
from streams.runtime.learner_run import LearnerRun
from streams.runtime.log_bounds import Bounds, can_be_known, check_last, where_to_begin
from streams.runtime.records import Position
from streams.runtime.shard_run import Ports, ShardRun
from tests.sim.books import EVENTS, EXAMPLES, Place
from tests.sim.group import Memory
from tests.sim.ports import Crash, SimBroker

if TYPE_CHECKING:
    from tests.sim.world import World

IDENTITY = Identity(catalog="simulated")
LAST_CUT = 50


class Worker:
    """Worker `number` of `world`."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.is_alive = True
        self.is_busy = False
        """In the middle of something, from which a pause has taken it."""
        self.believes: list[Place] = []
        """Partitions that it takes for its own; another one may have got them since."""
        self.runs: dict[Place, ShardRun | LearnerRun] = {}
        self.at: dict[Place, int] = {}
        """Where the consumer of an assigned partition stands."""
        self.terms: dict[Place, int] = {}
        """Of the partitions: which term of the group its last turn began in. It is no member of a later one: a turn is
        ended before a worker joins."""
        self.started_s: dict[Place, float] = {}
        """The clocks of shards at the beginning of the batch in hand."""
        self._forget()
        self.skew_s = world.chance.choice([0.0, 0.0, 2.5, -40.0])

    def _forget(self) -> None:
        """What only the process knows: a new one has to hear it again."""
        self._memories: dict[str, Memory] = {}
        self._models = LatestModels(self.world.plan.catalog)
        self._models_read = 0

    def memory(self, topic: str) -> Memory:
        """Of its place in the group of a topic."""
        if topic not in self._memories:
            self._memories[topic] = Memory(self.world, self.number, topic)
        return self._memories[topic]

    # --- coming and going --------------------------------------------------------------------------------------------

    def take(self, place: Place) -> None:
        """The group has given it this partition."""
        if place not in self.believes:
            self.believes.append(place)
        self.at.pop(place, None)

    def lose(self, place: Place) -> None:
        """It learns that a partition is no longer its own; the memory may stay for its return."""
        if place in self.believes:
            self.believes.remove(place)
        self.at.pop(place, None)
        if place in self.runs and self.world.chance.random() < 0.5:
            self.runs.pop(place).drop()

    def crash(self) -> None:
        """All that it had is gone."""
        self.is_alive = False
        self.believes, self.runs, self.at = [], {}, {}

    def restart(self) -> None:
        self.is_alive = True
        self._forget()
        for place, owner in self.world.owner.items():
            if owner == self.number:
                self.take(place)

    # --- work --------------------------------------------------------------------------------------------------------

    def act(self, place: Place) -> None:
        """One turn at one partition: take it over, or work a batch. Errors are dealt with as a worker has to."""
        self.is_busy = True
        self.terms[place] = self.world.terms[place]
        try:
            self._turn(place)
        except Crash:
            self.world.note(f"worker {self.number} crashes")
            self.crash()
        except Fenced:
            self.at.pop(place, None)
            if self.world.owner[place] != self.number and self.world.chance.random() < 0.7:
                self.lose(place)
        except (StoreUnavailable, BrokerUnavailable, StoreFull) as error:
            self.world.note(f"worker {self.number} gives up: {error}")
            self.at.pop(place, None)
            if self.world.chance.random() < 0.3 and self.world.may_crash(self.number):
                self.world.count("crash after an error")
                self.crash()
        finally:
            self.is_busy = False

    def _turn(self, place: Place) -> None:
        run = self.runs.get(place)
        if run is None:
            run = self.runs[place] = self._make_run(place)
        world = self.world
        if place not in self.at:
            world.port(self.number, "recall")
            witness = self.memory(place[0]).recall(place[1])
            position = run.assign(witness) if isinstance(run, ShardRun) else run.assign()
            self._look_at_the_log(place, position)
            self.at[place] = world.planted.offset_after_assign(world, place, position.offset)
            return
        self._batch(place, run)

    def _look_at_the_log(self, place: Place, position: Position) -> None:
        """As the services do with the log in which they are to go on. Raises BrokerError."""
        log = self.world.records[place[0]][place[1]]
        name, bounds = f"{place[0]} {place[1]}", Bounds(0, len(log))
        where_to_begin(name, position.offset, bounds, accepts_gaps=False)
        if can_be_known(position, bounds):
            check_last(name, position, log[position.last_offset])

    def _batch(self, place: Place, run: ShardRun | LearnerRun) -> None:
        world, start = self.world, self.at[place]
        log = world.records[place[0]][place[1]]
        size = LAST_CUT if world.is_calming else world.chance.randint(1, world.plan.largest_cut)
        records = log[start : start + size]
        if world.plan.tells_on_fetch and records:
            self.memory(place[0]).tell_offset(place[1], start + len(records))
        if isinstance(run, LearnerRun):
            run.step(records)
        else:
            self._read_models()
            self.started_s[place] = run.shard.clock_s
            run.step(records, self._latest(), self._now(place, len(records) + start, bool(records)))
        if place in self.at:  # still; a nested turn of the world may have taken it
            self.at[place] = start + len(records)
        if not world.plan.tells_on_fetch:
            self.memory(place[0]).tell_offset(place[1], run.position.offset)

    def _now(self, place: Place, end: int, has_records: bool) -> float | None:
        """The wall clock, if the log has nothing more (as this worker sees it), or in the last turns of all."""
        world = self.world
        if world.plan.is_calm or end < len(world.records[place[0]][place[1]]):
            return None
        if has_records and world.chance.random() < 0.5:
            return None
        world.count("time passes in silence")
        return world.now() + self.skew_s

    def _latest(self) -> Mapping[str, Snapshot]:
        """The models that it knows of."""
        return self.world.given_models if self.world.plan.is_calm else self._models.latest

    def _read_models(self) -> None:
        """The models topic, up to where this worker has come; as the service does that follows it."""
        log = self.world.records["models"][0]
        behind = len(log) - self._models_read
        if self.world.plan.is_calm:
            return
        if behind == 0:
            self._publish_again()
            return
        some = behind if self.world.is_calming else self.world.chance.randint(0, behind)
        self.world.faults["models read late"] += some < behind
        news = slice(self._models_read, self._models_read + some)
        keys = [key.encode() for key in self.world.model_keys[news]]
        told = zip(log[news], keys, strict=True)
        self._models.take("models", [(record.offset, key, record.value, record.log_time_s) for record, key in told])
        self._models_read += some

    def _publish_again(self) -> None:
        """Models behind which older ones stand."""
        self.world.faults["a model was overtaken"] += len(self._models.publish_again(self._send_again))

    def _send_again(self, messages: Sequence[Message]) -> None:
        self.world.port(self.number, "send again")
        for message in messages:
            self.world.send_again(message, self._models_read)

    def _make_run(self, place: Place) -> ShardRun | LearnerRun:
        world, plan = self.world, self.world.plan
        store = world.planted.store(world, self.number, place, world.planted.memory(world.servers[place[0]]))
        broker = SimBroker(world, self.number, place)
        store.prepare(plan.shards if place[0] == EVENTS else plan.learners, IDENTITY)
        patience = Patience(world.sleep, attempts=plan.attempts)
        ports = Ports(store, broker, broker, patience, world.new_generation, broker.tell)
        if place[0] == EXAMPLES:
            shards = world.planted.store(world, self.number, place, world.planted.memory(world.servers[EVENTS]))
            ports = replace(ports, birth_of=lambda shard: birth_in(shards, shard))
            return LearnerRun(plan.catalog, ports, partition=place[1], every=plan.every)
        return ShardRun(plan.catalog, ports, shard=place[1], shards=plan.shards, source=world.source(place[1]))
