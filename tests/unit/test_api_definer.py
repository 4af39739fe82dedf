"""What is defined, as routes look at it: decoded once for each change, however many ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from config import definitions as config_definitions
from config import in_force as config_in_force
from config.loader import loads
from config.written import written
from streams.adapters.definition_store import Change, Entry, Kept, Step
from streams.adapters.memory_definitions import MemoryDefinitions
from streams.api import definitions_view
from streams.api.changing import Ask, Told
from streams.api.definer import Definer, Work
from streams.api.read_predictions import PredictionReads
from streams.api.stored import StoreReads

FILE = "{version: 1, name: Shop, predictions: {orders: {name: Orders, goal: {did: Order}, window: 7d}}, segments: {}}"


class Counted(MemoryDefinitions):
    """Definitions that count how often all of them are read."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded = 0
        self.tell_file(loads(FILE))

    def kept(self) -> Kept:
        self.decoded += 1
        return super().kept()

    def make(self, id_: str) -> None:
        """A segment, as another process makes it."""
        data = {"name": id_, "filter": {"prediction": "orders", "category": "high"}}
        segment = written(config_definitions.read_segment(id_, data))
        place = (self.revision() + 1, 0)
        entry = Entry("segment", id_, segment, place[0], place, 1.0, 1.0)
        self.write(self.revision(), [Step(entry, Change("segment", id_, "create", 1.0, "key", None, segment))])


class World:
    def __init__(self) -> None:
        self.store = Counted()
        self.now_s = 0.0
        self.definer = Definer(self.store, StoreReads("unix:///no/such/socket"), lambda: 0.0, lambda: self.now_s)
        self.reads = PredictionReads(self.store, lambda: self.definer.view().in_force.predictions)


@pytest.fixture
def world() -> World:
    return World()


def test_reads_decode_definitions_once(world: World) -> None:
    for _ in range(20):
        assert world.reads.standings([]).ids == ["orders"]
    assert world.store.decoded == 1


def test_a_change_is_seen_at_once(world: World) -> None:
    for number in range(3):
        assert len(world.definer.view().whole.segments) == number
        world.store.make(f"made_{number}")
    world.definer.view()
    assert world.store.decoded == 4
    world.store.tell_file(loads(FILE.replace("Orders", "Other words")))
    assert world.definer.view().whole.predictions["orders"].name == "Other words"


def test_what_is_in_force_is_found_out_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    in_force = config_in_force.in_force

    def counted(*given: object) -> object:
        found.append(1)
        return in_force(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(definitions_view, "in_force", counted)
    for _ in range(5):
        assert world.definer.view().in_force.name == "Shop"
    assert len(found) == 1


def test_a_store_that_was_restored_is_believed_within_a_minute(world: World) -> None:
    world.store.make("one")
    assert list(world.definer.view().whole.segments) == ["one"]
    world.definer.store = other = Counted()
    other.tell_file(world.store.file() or loads(FILE))
    other.make("another")  # the same revision, of another past
    world.now_s = 61.0
    assert list(world.definer.view().whole.segments) == ["another"]


def test_a_change_rests_on_what_the_store_has_now(world: World) -> None:
    """Not on a view of a moment ago: of a store that was restored it might have the very revision."""
    seen: list[list[str]] = []

    def work(view: definitions_view.DefinitionsView) -> Work:
        seen.append(list(view.whole.segments))
        return Work([], lambda _after: Told(200, "{}", {}))

    world.store.make("one")
    world.definer.view()
    world.definer.store = other = Counted()
    other.tell_file(world.store.file() or loads(FILE))
    other.make("another")
    world.definer.change(Ask("key", None, b""), work)
    assert seen == [["another"]]


def test_many_that_ask_at_once_wait_for_one(world: World) -> None:
    everybody = threading.Barrier(8)

    def ask(_: int) -> int:
        everybody.wait(timeout=10)
        return id(world.definer.view())

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(ask, range(8)))) == 1
    assert world.store.decoded == 1
