"""The world of one run: the log, the clock, the consumer group, and in which order everything happens.

Everything is in one thread and drawn from one stream of random numbers, so a seed repeats a run exactly. What happens
at the same time in the real world happens here inside of each other: at a call of a port a worker may be held up, and
others have turns before the call is carried out.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from config.errors import Fenced
from models.snapshot import Snapshot
from streams.adapters.memory_store import MemoryServer, MemoryShard
from streams.ports import Message
from streams.runtime.records import Record
from tests.sim.auditor import Auditor
from tests.sim.books import EVENTS, EXAMPLES, Place, Violation
from tests.sim.group import Group
from tests.sim.plan import START_S, Plan
from tests.sim.ports import Crash, Late
from tests.sim.rules import rules_of
from tests.sim.worker import Worker

if TYPE_CHECKING:
    from tests.sim.planted import Planted

DEEPEST = 3
"""Workers that are held up at once."""
MOST_TURNS = 400


class World:
    """One run of `plan`, with `planted` in it. `given_models`: in force from the start, in a calm run."""

    def __init__(self, plan: Plan, planted: Planted, given_models: dict[str, Snapshot], features: int) -> None:
        self.plan, self.planted, self.given_models, self.features = plan, planted, given_models, features
        self.calls = 0
        """Of ports."""
        self.chance = random.Random(f"run {plan.seed}")
        self.faults: Counter[str] = Counter(plan.drawn)
        self.notes: deque[str] = deque(maxlen=60)
        self.is_calming = False
        """No more faults: what is left has to be worked."""
        self.timeline_s = START_S
        self.jump_s = 0.0
        self.latest_now_s = START_S
        self.arrivals = deque(plan.arrivals)
        self.values: dict[str, list[list[bytes]]] = {}
        self.records: dict[str, list[list[Record]]] = {}
        for topic, partitions in ((EVENTS, plan.shards), (EXAMPLES, plan.learners), ("models", 1)):
            self.values[topic] = [[] for _ in range(partitions)]
            self.records[topic] = [[] for _ in range(partitions)]
        self.model_keys: list[str] = []
        self.servers = {EVENTS: MemoryServer(), EXAMPLES: MemoryServer()}
        self.copies: list[dict[str, MemoryServer]] = []
        sources = [self.source(s) for s in range(plan.shards)]
        self.auditor = Auditor(self.values, sources, rules_of(plan, given_models))
        self.late: list[Late] = []
        self.under_way: list[tuple[Place, Message]] = []
        """Models that their sender has given up."""
        self.owner: dict[Place, int] = {}
        self.terms: dict[Place, int] = {}
        """How often the group has given a place to somebody."""
        self.group = Group(self)
        self.restored: set[Place] = set()
        """Stores that went back, and that nobody who has the partition has claimed since. A connection from before does
        not reach them: docs/redis.md tells what would come of it."""
        self.must_notice: dict[Place, tuple[int, str]] = {}
        """A store went back: the worker that wrote last finds out before anybody else may write or it may end. With the
        generation that the store holds until then."""
        self.writer: dict[Place, int] = {}
        """Who knows how far a store has come."""
        self._generations = 0
        self._depth = 0
        self.workers = [Worker(self, number) for number in range(plan.workers)]
        places = [(EVENTS, s) for s in range(plan.shards)] + [(EXAMPLES, p) for p in range(plan.learners)]
        for place in places:
            self._give(place, self.chance.randrange(plan.workers))

    # --- what ports and workers ask ----------------------------------------------------------------------------------

    def now(self) -> float:
        """The wall clock."""
        now_s = self.timeline_s + self.jump_s
        self.latest_now_s = max(self.latest_now_s, now_s)
        return now_s

    def latest_worker_s(self) -> float:
        """The highest wall clock that a worker may have seen so far."""
        return self.latest_now_s + max(0.0, *(worker.skew_s for worker in self.workers))

    def sleep(self, seconds: float) -> None:
        self.timeline_s += seconds

    def source(self, shard: int) -> str:
        return f"events-{shard}"

    def new_generation(self) -> str:
        self._generations += 1
        return f"g{self._generations}"

    def note(self, text: str) -> None:
        """For whoever reads a failure: what happened last."""
        self.notes.append("  " * self._depth + text)

    def count(self, kind: str) -> None:
        """A fault was injected."""
        self.faults[kind] += 1
        self.note(kind)

    def word(self, chance: float, words: Sequence[str]) -> str:
        """How a call goes."""
        if self.is_calming or self.chance.random() >= chance:
            return "ok"
        word = self.chance.choice(words)
        return word if word != "full" or self.chance.random() < 0.2 else words[0]

    def port(self, worker: int, call: str) -> None:
        """A worker is about to call a port. Raises Crash."""
        self.timeline_s += 0.001
        self.calls += 1
        if self.calls == self.plan.crash_at:
            self.count(f"crash before {call}")
            raise Crash
        if self.is_calming:
            return
        weather = self.plan.weather
        if self.chance.random() < weather.crash and self.may_crash(worker):
            self.count(f"crash before {call}")
            raise Crash
        if self._depth < DEEPEST and self.chance.random() < weather.pause:
            self.count("pause")
            self._depth += 1
            for _ in range(self.chance.randint(1, 8)):
                self.turn()
            self._depth -= 1

    def may_crash(self, worker: int) -> bool:
        """Not the only one that knows that a store went back (docs/redis.md: that has to be told by hand then)."""
        return all(worker != writer for writer, _ in self.must_notice.values())

    def was_written(self, place: Place, worker: int) -> None:
        """A worker has written to the store of a place."""
        self.writer[place] = worker
        self.must_notice.pop(place, None)

    def was_claimed(self, place: Place, worker: int, generation: str) -> None:
        """A store has taken a claim. With another generation it is known that the store went back."""
        if worker == self.owner[place]:
            self.restored.discard(place)
        if place in self.must_notice and self.must_notice[place][1] != generation:
            del self.must_notice[place]

    def is_cut_off(self, worker: int, place: Place) -> bool:
        """Whether this worker's connection is one to a server that is no more."""
        if place not in self.restored or worker == self.owner[place]:
            return False
        self.count("a zombie does not reach a restored store")
        return True

    def is_of(self, worker: int, place: Place) -> bool:
        """Whether the group has given a place to this worker, and not taken it back since its last turn there began."""
        return self.owner[place] == worker and self.terms[place] == self.workers[worker].terms.get(place)

    def publish(self, place: Place, data: bytes) -> None:
        self.auditor.on_published(place[1], data)

    def send(self, place: Place, message: Message) -> None:
        """The message is in its topic."""
        self.auditor.on_sent(place, message.topic, message.key, message.data)
        if message.topic == EXAMPLES:
            partition = list(self.plan.catalog.predictions).index(message.key) % self.plan.learners
            self._append(EXAMPLES, partition, message.data)
        elif message.topic == "models":
            self.model_keys.append(message.key)
            self._append("models", 0, message.data)
        elif message.topic not in ("dead-letters", "deletions"):
            raise Violation(f"a message to {message.topic}")

    def send_again(self, message: Message, read: int) -> None:
        """A model that was overtaken is in its topic once more, by a worker that had read so much of the topic."""
        told = zip(self.model_keys[:read], self.values["models"][0], strict=False)
        self.auditor.on_sent_again(message.key, message.data, [data for key, data in told if key == message.key])
        self.model_keys.append(message.key)
        self._append("models", 0, message.data)

    def _append(self, topic: str, partition: int, value: bytes) -> int:
        log = self.records[topic][partition]
        log.append(Record(len(log), self.now(), value))
        self.values[topic][partition].append(value)
        return len(log) - 1

    # --- what happens ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """All of the traffic, with faults; then what is left, without."""
        turns = 0
        while self.arrivals and turns < MOST_TURNS:
            self.turn()
            turns += 1
        for _ in range(self.chance.randint(0, 30)):
            self.turn()
        self.calm_down()

    def turn(self) -> None:
        """One thing that happens."""
        if self.chance.random() < self.plan.weather.turmoil:
            self._turmoil()
        elif self.chance.random() < 0.25:
            self._produce()
        else:
            self._work()

    def _produce(self) -> None:
        for _ in range(self.chance.randint(1, 6)):
            if self.arrivals:
                arrival = self.arrivals.popleft()
                self.timeline_s = max(self.timeline_s + 0.001, arrival.at_s)
                offset = self._append(EVENTS, arrival.partition, arrival.value)
                log_time_s = self.records[EVENTS][arrival.partition][offset].log_time_s
                self.auditor.on_record(arrival.partition, offset, arrival.value, log_time_s)

    def _work(self) -> None:
        """Somebody who is not in the middle of something works a partition that he takes for his own."""
        idle = [w for w in self.workers if w.is_alive and not w.is_busy and w.believes]
        if not idle:
            return
        worker = self.chance.choice(idle)
        place = self.chance.choice(worker.believes)
        if place in self.must_notice and self.must_notice[place][0] != worker.number:
            return
        if self.owner[place] != worker.number:
            self.count("a zombie works")
        worker.act(place)

    def _turmoil(self) -> None:
        kinds = [self._rebalance, self._rebalance, self._learn_of_loss, self._jump, self._restart, self._arrive]
        kinds += [self._copy, self._set_back] if self.plan.goes_back else []
        self.chance.choice(kinds)()

    def _rebalance(self) -> None:
        """A partition moves. Its owner lets go of it, or does not know for a while."""
        place = self.chance.choice(list(self.owner))
        alive = [w.number for w in self.workers if w.is_alive]
        if place in self.must_notice or not alive:
            return
        before, after = self.workers[self.owner[place]], self.chance.choice(alive)
        if before.number == after:
            before.at.pop(place, None)  # an eager rebalance takes everything away and gives it back
            self.count("rebalance: came back")
        elif before.is_alive and not before.is_busy and self.chance.random() < 0.5:
            before.lose(place)
            self.count("rebalance: let go")
        else:
            self.count("rebalance: the old owner does not know")
        self._give(place, after)

    def _give(self, place: Place, worker: int) -> None:
        self.owner[place] = worker
        self.terms[place] = self.terms.get(place, 0) + 1
        self.workers[worker].take(place)

    def _learn_of_loss(self) -> None:
        for worker in self.workers:
            for place in list(worker.believes):
                if self.owner[place] != worker.number and not worker.is_busy:
                    worker.lose(place)
                    self.count("a zombie learns")

    def _jump(self) -> None:
        """The wall clock is put forward or back."""
        jump_s = self.chance.choice([-1, 1]) * self.chance.choice([30.0, 3_600.0, 40_000.0, 200_000.0])
        self.count(f"clock jumps {'forward' if jump_s > 0 else 'back'}")
        self.jump_s = 0.0 if self.chance.random() < 0.3 else self.jump_s + jump_s

    def _restart(self) -> None:
        for worker in self.workers:
            if not worker.is_alive:
                worker.restart()
                self.count("restart")

    def _arrive(self) -> None:
        """What was on its way reaches the store, or the log; nobody hears of it."""
        if self.under_way:
            self.send(*self.under_way.pop(0))
        if self.late:
            late = self.late.pop(self.chance.randrange(len(self.late)))
            if late.store.place in self.must_notice:
                return  # it was on its way to the server that is no more
            self.count("a late commit arrives")
            with suppress(Fenced, Crash):  # a planted second step may end where it stands: its sender waits no more
                late.store.carry_out(late.claim, late.batch, late.trim)
                self.faults["late commit taken"] += 1

    # --- a store that goes back in time ------------------------------------------------------------------------------

    def _copy(self) -> None:
        self.copies.append({topic: server.copy() for topic, server in self.servers.items()})
        del self.copies[:-3]

    def _set_back(self) -> None:
        """One of the stores, or both, hold what they held at an earlier time."""
        if not self.copies:
            return
        chosen = self.chance.randrange(len(self.copies))
        copy = self.copies[chosen]
        del self.copies[chosen + 1 :]  # they are of a time that will not have been
        for topic in self.chance.choice([[EVENTS], [EXAMPLES], [EVENTS, EXAMPLES]]):
            self.late = [late for late in self.late if late.store.place[0] != topic]  # on its way to what is no more
            self.under_way = [(place, model) for place, model in self.under_way if place[0] != topic]
            before, self.servers[topic].shards = self.servers[topic].shards, copy[topic].copy().shards
            for number, was in before.items():
                self._note_set_back((topic, number), was)

    def _note_set_back(self, place: Place, was: MemoryShard) -> None:
        stored = self.servers[place[0]].shards.setdefault(place[1], MemoryShard())
        self.auditor.on_set_back(place, stored.number, (stored.epoch, stored.generation))
        if (stored.number, stored.generation) == (was.number, was.generation):
            return
        self.count(f"set back: {place[0]}")
        self.note(f"{place} goes back from {was.number} {was.generation} to {stored.number} {stored.generation}")
        self.restored.add(place)
        if place[0] == EVENTS and not self.plan.group_forgets:
            _, told = self.group.remembered(place) or (0, "")
            self.count("set back: the group knows" if told else "set back: nothing was told")
            return
        writer = self.writer.get(place, self.owner[place])
        worker = self.workers[writer]
        if worker.is_alive and self.owner[place] == writer and place in worker.runs:
            self.must_notice[place] = writer, stored.generation
        else:
            stored.generation = ""  # as docs/redis.md tells whoever restores a copy while nothing runs
            self.auditor.on_set_back(place, stored.number, (stored.epoch, ""))
            self.count("set back: told by hand")

    # --- the end -----------------------------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """Faults stop. Whatever is still to be done is done, in a bounded number of rounds."""
        self.is_calming = True
        self.note("--- faults stop")
        while self.arrivals:
            self._produce()
        for late in self.late:
            with suppress(Fenced, Crash):  # a planted second step may end where it stands: its sender waits no more
                late.store.carry_out(late.claim, late.batch, late.trim)
        self._learn_of_loss()
        for place, number in self.owner.items():
            self.workers[number].take(place)
        self._to_the_end()
        for place, model in self.under_way:  # the last that is to come of any fault
            self.send(place, model)
        if not self.plan.is_calm:
            self.timeline_s += 30 * 3_600.0  # all windows close
            self._to_the_end()

    def _to_the_end(self) -> None:
        """Rounds in which everybody works everything, until nothing comes of it any more."""
        records = sum(len(log) for topic in (EVENTS, EXAMPLES) for log in self.values[topic])
        quiet = 0
        for _ in range(100 + 2 * records):
            before = self._progress()
            self._restart()
            for place, number in self.owner.items():
                self.workers[number].act(place)
            quiet = quiet + 1 if self._progress() == before and self._is_worked() else 0
            if quiet == 2:  # in a turn that takes a partition over no time passes yet
                return
        raise Violation(f"not worked to the end: {self._progress()}")

    def _progress(self) -> list[int]:
        logs = [len(log) for logs in self.values.values() for log in logs]
        return logs + [stored.number for server in self.servers.values() for stored in server.shards.values()]

    def _is_worked(self) -> bool:
        return all(self.workers[n].at.get(p) == len(self.values[p[0]][p[1]]) for p, n in self.owner.items())
