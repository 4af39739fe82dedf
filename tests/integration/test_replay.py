"""A replay over a store in memory: refused at any moment, and stopped and gone on with."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pytest

from config.catalog import Catalog
from config.errors import Fenced, StoreIncompatible, StoreUnavailable
from config.loader import loads
from streams.adapters.files import FileLog, open_log
from streams.adapters.memory_sinks import ListSink
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.commit import Patience
from streams.ports import Claim, CommitBatch, Loaded
from streams.runtime.replay import Replay, ReplayResult, Totals

T = TypeVar("T")
pytestmark = pytest.mark.timeout(300)  # the core may have to be compiled first

CATALOG = """
version: 1
name: Small
input: {format: csv, user: who, event: what, time: {field: at}}
predictions:
  orders_1d: {name: Orders within a day, goal: {did: Order}, window: 1d}
segments:
  twice: {name: Ordered twice, filter: {event: Order, count: {min: 2}}}
limits: {batch_events: 64}
"""
START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 20
NOW_S = (START + timedelta(days=DAYS, hours=-12)).timestamp()
"""Half a day before the last events: some of them are of the future."""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return loads(CATALOG)


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.csv"
    draw = random.Random(5)
    times = sorted(START + timedelta(days=DAYS * draw.random()) for _ in range(600))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "what", "at"])
        writer.writerows([f"u{draw.randrange(40)}", draw.choice(["View", "Order"]), t.isoformat()] for t in times)
    return path


@pytest.fixture
def log(events: Path, catalog: Catalog) -> Iterator[FileLog]:
    with open_log([events], catalog, NOW_S) as opened:
        yield opened


class Refusing(MemoryStore):
    """Another process takes the shard while this one loads it, so many times; and the commit `stop_at` fails."""

    def __init__(self, server: MemoryServer, *, takeovers: int = 0, away: int = 0, stop_at: int = 0) -> None:
        super().__init__(server)
        self.takeovers = takeovers
        self.away = away
        self.stop_at = stop_at

    def claim(self, shard: int, *, new_generation: str, last_number: int | None = None) -> Claim:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("scripted: away")
        return super().claim(shard, new_generation=new_generation, last_number=last_number)

    def load(self, claim: Claim) -> Loaded:
        loaded = super().load(claim)
        if self.takeovers:
            self.takeovers -= 1
            super().claim(0, new_generation="stranger")  # `rows` ends with a check of the claim
        return loaded

    def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
        if batch.number == self.stop_at:
            raise KeyboardInterrupt
        super().commit(claim, batch, trim)


def replay(catalog: Catalog, log: FileLog, store: MemoryStore, sink: ListSink, refusals: int = 5) -> ReplayResult:
    slept: list[float] = []
    return Replay(catalog, log, store, sink, patience=Patience(slept.append, attempts=3), refusals=refusals).run()


def alone(catalog: Catalog, log: FileLog) -> tuple[MemoryServer, ListSink]:
    store, sink = MemoryStore(), ListSink()
    replay(catalog, log, store, sink)
    assert len(sink.published) > 20
    return store.server, sink


def stopped(catalog: Catalog, log: FileLog, at: int = 4) -> tuple[MemoryServer, ListSink]:
    """A run that was stopped before its commit number `at`."""
    server, sink = MemoryServer(), ListSink()
    with pytest.raises(KeyboardInterrupt):
        replay(catalog, log, Refusing(server, stop_at=at), sink)
    return server, sink


def assert_same(server: MemoryServer, wanted: MemoryServer) -> None:
    got, want = server.shards[0], wanted.shards[0]
    assert got.number == want.number > 5
    assert (got.rows, got.scores, got.members, got.dead_letters) == (
        want.rows,
        want.scores,
        want.members,
        want.dead_letters,
    )
    assert Totals.of(got.blobs) == Totals.of(want.blobs)


def test_a_shard_taken_while_the_first_load_runs_is_loaded_again(catalog: Catalog, log: FileLog) -> None:
    wanted, said = alone(catalog, log)
    server, sink = stopped(catalog, log)
    store = Refusing(server, takeovers=2)
    result = replay(catalog, log, store, sink)
    assert (result.set_back, result.resumed_at) == (2, 3 * 64)
    assert_same(server, wanted)
    assert sink.published == said.published


def test_a_shard_taken_while_it_is_loaded_again_is_loaded_once_more(catalog: Catalog, log: FileLog) -> None:
    wanted, said = alone(catalog, log)
    server, sink = MemoryServer(), ListSink()

    class TakenTwice(Refusing):
        def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
            if batch.number == 4 and not self.stop_at:
                self.stop_at, self.takeovers = -1, 2
                MemoryStore.claim(self, 0, new_generation="stranger")
            super().commit(claim, batch, trim)

    result = replay(catalog, log, TakenTwice(server), sink)
    assert (result.set_back, result.resumed_at) == (3, 0)
    assert_same(server, wanted)
    assert sink.published == said.published


def test_refusals_while_loading_are_bounded(catalog: Catalog, log: FileLog) -> None:
    server, sink = stopped(catalog, log)
    with pytest.raises(Fenced):
        replay(catalog, log, Refusing(server, takeovers=3), sink, refusals=2)


def test_a_store_that_is_away_for_a_moment_is_waited_for(catalog: Catalog, log: FileLog) -> None:
    server, sink = stopped(catalog, log)
    assert replay(catalog, log, Refusing(server, away=2), sink).set_back == 0
    with pytest.raises(StoreUnavailable):
        replay(catalog, log, Refusing(server, away=3), sink)


class Cut(MemoryStore):
    """The answer to the load breaks off in `part`, after its first piece, `cuts` times."""

    def __init__(self, server: MemoryServer, part: str, cuts: int) -> None:
        super().__init__(server)
        self.part = part
        self.cuts = cuts
        self.claims = 0

    def claim(self, shard: int, *, new_generation: str, last_number: int | None = None) -> Claim:
        self.claims += 1
        return super().claim(shard, new_generation=new_generation, last_number=last_number)

    def load(self, claim: Claim) -> Loaded:
        loaded = super().load(claim)
        if self.cuts:
            self.cuts -= 1
            setattr(loaded, self.part, self._cut(getattr(loaded, self.part)))
        return loaded

    @staticmethod
    def _cut(pieces: Iterator[T]) -> Iterator[T]:
        yield from islice(pieces, 1)
        raise StoreUnavailable("scripted: cut")


@pytest.mark.parametrize("part", ["rows", "appended", "remembered"])
def test_a_store_that_goes_away_while_it_is_read_is_read_again(catalog: Catalog, log: FileLog, part: str) -> None:
    wanted, said = alone(catalog, log)
    server, sink = stopped(catalog, log)
    store = Cut(server, part, cuts=2)
    result = replay(catalog, log, store, sink)
    assert (store.cuts, store.claims, result.set_back, result.resumed_at) == (0, 3, 0, 3 * 64)
    assert_same(server, wanted)
    assert sink.published == said.published
    with pytest.raises(StoreUnavailable):
        replay(catalog, log, Cut(server, part, cuts=3), sink)


def test_a_run_that_is_about_to_commit_is_not_emptied_by_another(catalog: Catalog, log: FileLog) -> None:
    """Two processes with two catalogs start on one store; whoever commits first keeps it, and nothing is mixed."""
    changed = loads(CATALOG.replace("min: 2", "min: 3"))
    wanted, said = alone(catalog, log)
    server, late = MemoryServer(), ListSink()

    class Meanwhile(MemoryStore):
        def commit(self, claim: Claim, batch: CommitBatch, trim: int | None) -> None:
            if batch.number == 1 and not server.shards[0].number:
                replay(catalog, log, MemoryStore(server), late)
            super().commit(claim, batch, trim)

    with pytest.raises(StoreIncompatible):
        replay(changed, log, Meanwhile(server), ListSink())
    assert_same(server, wanted)
    assert late.published == said.published


def test_a_run_goes_on_by_the_clock_that_it_began_with(catalog: Catalog, log: FileLog, events: Path) -> None:
    wanted, _ = alone(catalog, log)
    refused = Totals.of(wanted.shards[0].blobs).dead_letters
    assert set(refused) == {"time_in_future"}
    assert refused["time_in_future"] > 5
    server, sink = stopped(catalog, log)
    with (
        open_log([events], catalog, NOW_S + 86_400.0) as later,
        pytest.raises(StoreIncompatible, match="clock"),
    ):
        replay(catalog, later, MemoryStore(server), sink)
    with open_log([events], catalog, NOW_S) as same:
        replay(catalog, same, MemoryStore(server), sink)
    assert_same(server, wanted)


def test_a_store_that_lost_its_state_is_not_gone_on_with(catalog: Catalog, log: FileLog) -> None:
    """As an interrupted deletion left it: the number of the last commit, and nothing else."""
    server = MemoryServer()
    Replay(catalog, log, MemoryStore(server), ListSink(), patience=Patience(lambda _: None)).run()
    shard = server.shards[0]
    shard.blobs, shard.rows = {}, {}
    with pytest.raises(StoreIncompatible, match=r"only a part of shard 0.*--fresh"):
        Replay(catalog, log, MemoryStore(server), ListSink(), patience=Patience(lambda _: None)).run()
