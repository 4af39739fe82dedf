"""Definitions in memory, in a server and in a cluster: one suite."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from config.catalog import Catalog
from config.definitions import NO_DEFINITIONS, Kind, read_prediction
from config.errors import StoreIncompatible, StoreUnavailable
from config.loader import loads
from streams.adapters import redis_definitions
from streams.adapters.definition_store import (
    ANSWER_S,
    Action,
    Answer,
    AnsweredBefore,
    Change,
    DefinitionsChanged,
    DefinitionStore,
    Entry,
    Past,
    Step,
)
from streams.adapters.memory_definitions import MemoryDefinitions
from streams.adapters.redis_definitions import RedisDefinitions
from streams.adapters.redis_erase import erase_store
from streams.adapters.redis_store import WaitFor
from tests.contract.worlds import IDENTITY, RedisWorld

PREDICTION = {"name": "Returns ✓", "goal": {"did": "Return"}, "window": "30d"}
SEGMENT = {"name": "All who bought", "filter": {"event": "Order", "count": {"min": 1}}}
HISTORY = 5


def step(
    revision: int, index: int, kind: Kind, id_: str, definition: dict[str, Any], action: Action = "create"
) -> Step:
    """The change number `index` of a new revision."""
    entry = Entry(kind, id_, definition, revision, (revision, index), 100.0, 100.0 + revision)
    return Step(entry, Change(kind, id_, action, 100.0 + revision, "key1", None, definition))


def answer(asked: str) -> Answer:
    return Answer(asked, "hash", 201, {"ETag": '"1"'}, '{"id": "x"}')


@pytest.fixture(params=["memory", "server", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[DefinitionStore]:
    if request.param == "memory":
        yield MemoryDefinitions(history=HISTORY)
        return
    world = RedisWorld(request.getfixturevalue(f"{request.param}_url"))
    with closing(world), closing(RedisDefinitions(world.url, prefix=world.prefix, history=HISTORY)) as found:
        yield found


def test_nothing_is_there_before_the_first_change(store: DefinitionStore) -> None:
    assert (store.revision(), store.read()) == (0, NO_DEFINITIONS)
    assert (store.history(None, 10), store.answered("a"), store.file()) == ([], None, None)


def test_what_is_written_is_read_in_the_order_in_which_it_was_made(store: DefinitionStore) -> None:
    store.write(0, [step(1, 0, "prediction", "zz", PREDICTION), step(1, 1, "segment", "buyers", SEGMENT)])
    store.write(1, [step(2, 0, "prediction", "aa", PREDICTION | {"window": "1d"})])
    assert store.revision() == 2
    found = store.read()
    assert found.revision == 2
    assert list(found.predictions) == ["zz", "aa"]
    assert found.predictions["zz"] == read_prediction("zz", PREDICTION)
    assert found.segments["buyers"].name == "All who bought"
    entry = store.kept().find("prediction", "aa")
    assert entry is not None
    assert (entry.version, entry.made, entry.changed_s) == (2, (2, 0), 102.0)
    assert store.kept().find("segment", "aa") is None


def test_who_was_not_first_is_told_and_changes_nothing(store: DefinitionStore) -> None:
    store.write(0, [step(1, 0, "segment", "one", SEGMENT)])
    for expected in (0, 2):
        with pytest.raises(DefinitionsChanged):
            store.write(expected, [step(expected + 1, 0, "segment", "two", SEGMENT)], answer("q"))
    assert (store.revision(), list(store.read().segments), len(store.history(None, 10))) == (1, ["one"], 1)
    assert store.answered("q") is None


def test_a_definition_is_replaced_and_stays_where_it_is(store: DefinitionStore) -> None:
    store.write(0, [step(1, 0, "segment", "one", SEGMENT)])
    store.write(1, [step(2, 0, "segment", "two", SEGMENT)])
    first = store.kept().entries[0]
    edited = Entry("segment", "one", SEGMENT | {"name": "New"}, 3, first.made, first.created_s, 103.0)
    change = Change("segment", "one", "edit", 103.0, "key2", first.definition, edited.definition)
    store.write(2, [Step(edited, change)])
    assert [(e.id, e.definition["name"]) for e in store.kept().entries] == [("one", "New"), ("two", SEGMENT["name"])]
    assert store.history(None, 1) == [((3, 0), change)]


def test_the_history_is_read_backwards_in_pages_and_has_a_bound(store: DefinitionStore) -> None:
    for n in range(3):
        steps = [step(n + 1, i, "segment", f"s{n}_{i}", SEGMENT) for i in range(3)]
        store.write(n, steps)
    found = store.history(None, 2)
    assert [place for place, _ in found] == [(3, 2), (3, 1)]
    assert [change.id for _, change in found] == ["s2_2", "s2_1"]
    rest = store.history(found[-1][0], 100)
    assert [place for place, _ in rest] == [(3, 0), (2, 2), (2, 1)]
    assert store.history((2, 1), 10) == []
    assert len(store.read().segments) == 9


def test_an_answer_is_kept_with_its_change(store: DefinitionStore) -> None:
    store.write(0, [step(1, 0, "segment", "one", SEGMENT)], answer("q"))
    assert store.answered("q") == answer("q")
    assert store.answered("other") is None
    with pytest.raises(AnsweredBefore) as error:
        store.write(1, [step(2, 0, "segment", "two", SEGMENT)], answer("q"))
    assert error.value.answer == answer("q")
    assert list(store.read().segments) == ["one"]


def test_an_answer_is_kept_without_a_change(store: DefinitionStore) -> None:
    store.write(0, [step(1, 0, "segment", "one", SEGMENT)])
    store.write(1, [], answer("q"))
    assert (store.revision(), store.answered("q")) == (1, answer("q"))
    assert len(store.history(None, 10)) == 1
    with pytest.raises(DefinitionsChanged):
        store.write(0, [], answer("r"))


def test_of_many_at_once_each_change_is_there_once(store: DefinitionStore) -> None:
    wrong: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for n in range(5):
                while True:
                    revision = store.revision()
                    try:
                        store.write(revision, [step(revision + 1, 0, "segment", f"{name}{n}", SEGMENT)])
                        break
                    except DefinitionsChanged:
                        continue
        except BaseException as error:  # noqa: BLE001  told in the test's own thread
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert store.revision() == 20
    assert set(store.read().segments) == {f"{name}{n}" for name in "abcd" for n in range(5)}
    assert [place[0] for place, _ in store.history(None, 10)] == [20, 19, 18, 17, 16]


def test_the_file_is_told_for_those_who_only_have_the_store(store: DefinitionStore) -> None:
    text = "{version: 1, name: Größe, predictions: {p: {name: P, goal: {did: A}, window: 7d}}}"
    store.tell_file(loads(text))
    assert store.file() == loads(text)
    assert store.revision() == 0


def test_an_answer_lasts_a_day_in_memory() -> None:
    now_s = [0.0]
    store = MemoryDefinitions(clock=lambda: now_s[0])
    store.write(0, [step(1, 0, "segment", "one", SEGMENT)], answer("q"))
    now_s[0] = ANSWER_S - 1.0
    assert store.answered("q") == answer("q")
    now_s[0] = ANSWER_S
    assert store.answered("q") is None


# --- in a server -----------------------------------------------------------------------------------------------------


def test_a_change_without_the_copies_that_are_asked_for_is_not_acknowledged(redis_world: RedisWorld) -> None:
    wait_for = WaitFor(replicas=1, on_disk=False, timeout_s=0.05)
    with closing(RedisDefinitions(redis_world.url, prefix=redis_world.prefix, wait_for=wait_for)) as store:
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            store.write(0, [step(1, 0, "segment", "one", SEGMENT)], answer("q"))
        assert list(store.read().segments) == ["one"]
        with pytest.raises(AnsweredBefore):
            store.write(1, [step(2, 0, "segment", "one", SEGMENT)], answer("q"))


def test_the_file_is_parsed_again_only_where_it_is_another(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []

    def counted(text: str, name: str) -> Catalog:
        parsed.append(text)
        return loads(text, name)

    monkeypatch.setattr(redis_definitions, "loads", counted)
    files = [
        loads(f"{{version: 1, name: {name}, predictions: {{p: {{name: P, goal: {{did: A}}, window: 7d}}}}}}")
        for name in ("One", "Two")
    ]
    with closing(RedisDefinitions(redis_world.url, prefix=redis_world.prefix)) as store:
        for file in files:
            store.tell_file(file)
            assert [store.file() for _ in range(3)] == [file] * 3
    assert len(parsed) == 2


def test_how_far_workers_are_with_the_past_is_read(redis_world: RedisWorld) -> None:
    told = b'{"phase":"reading","predictions":["p"],"records":7,"of":9,"at_s":1.5}'
    with closing(RedisDefinitions(redis_world.url, prefix=redis_world.prefix)) as store:
        assert store.past() is None
        redis_world.client.set(f"{redis_world.prefix}:past", told)
        assert store.past() == Past("reading", ["p"], 7, 9, 1.5)
        later = Past("done", [], 9, 9, 2.5)
        store.tell_past(later)
        assert store.past() == later
        redis_world.client.set(f"{redis_world.prefix}:past", b"{}")
        with pytest.raises(StoreIncompatible):
            store.past()


def test_an_answer_lasts_a_day(redis_world: RedisWorld) -> None:
    with closing(RedisDefinitions(redis_world.url, prefix=redis_world.prefix)) as store:
        store.write(0, [step(1, 0, "segment", "one", SEGMENT)], answer("q"))
    names = redis_world.keys()
    (key,) = [name for name in names if b":answer:" in name]
    assert ANSWER_S - 60 <= redis_world.client.ttl(key) <= ANSWER_S


def test_definitions_stay_when_a_store_is_erased(redis_world: RedisWorld) -> None:
    redis_world.open().prepare(1, IDENTITY)
    with closing(RedisDefinitions(redis_world.url, prefix=redis_world.prefix)) as store:
        store.write(0, [step(1, 0, "segment", "one", SEGMENT)])
        erase_store(redis_world.url, prefix=redis_world.prefix)
        assert list(store.read().segments) == ["one"]


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b'{"kind": "goal"}',
        b'{"kind":"segment","id":"x","definition":{},"version":1,"made":[1,0],"created_s":1,"changed_s":1}',
    ],
)
def test_what_cannot_be_read_is_told(redis_world: RedisWorld, data: bytes) -> None:
    with closing(RedisDefinitions(redis_world.url, prefix=redis_world.prefix)) as store:
        redis_world.client.hset(f"{redis_world.prefix}:{{definitions}}:now", "segment:x", data)
        with pytest.raises(StoreIncompatible, match="by a version of Tideline"):
            store.read()


def test_a_server_that_is_away_is_told() -> None:
    with closing(RedisDefinitions("unix:///no/such/socket")) as store:
        for ask in (store.revision, store.read, lambda: store.write(0, [], None)):
            with pytest.raises(StoreUnavailable):
                ask()
