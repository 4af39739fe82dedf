"""Records that could not be used, over the API and in the console: looked into, and put back on the log once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from config.errors import BrokerError, BrokerUnavailable
from config.loader import loads
from streams.adapters.memory_log import MemoryLog
from streams.adapters.memory_sessions import MemorySessions
from streams.adapters.valkey_server import EmbeddedValkey
from streams.api.keys import Role
from streams.console.app import console
from streams.core.partition import shard_of
from streams.runtime.records import Record
from streams.runtime.seen import PartitionLag
from tests.integration.service_world import SHARDS, START_S, ServiceWorld
from tests.integration.test_console_pages import Person
from tests.unit.api_world import ApiWorld

CATALOG = loads("""
version: 1
name: Service
features: {events: [View, Order], value: price}
predictions:
  orders_2d: {name: Orders within two days, goal: {did: Order}, window: 2d}
limits: {users: 3, dead_letters: 20}
""")
TIME = "2024-03-01T00:00:00Z"


def event(user: str, **more: Any) -> bytes:
    return json.dumps({"type": "track", "userId": user, "event": "View", "timestamp": TIME, **more}).encode()


class Service:
    """Shards that work what a test gives them, and an API over their store."""

    def __init__(self, url: str, folder: Path) -> None:
        self.world = ServiceWorld(url, folder, CATALOG)
        log = MemoryLog(partitions=SHARDS)
        self.api = ApiWorld(store_url=url, log=log, extensions=(console(MemorySessions()),))
        self.offsets = [0] * SHARDS
        self.worked = 0

    def work(self, shard: int, *values: bytes) -> None:
        """As if a producer had put these on the log."""
        assert self.api.log.ends[shard] == self.offsets[shard], "what the API has put there comes first"
        self.api.log.ends[shard] += len(values)
        self._step(shard, *values)

    def _step(self, shard: int, *values: bytes) -> None:
        at = self.offsets[shard]
        records = [Record(at + n, START_S + 1e6, value) for n, value in enumerate(values)]
        self.world.shards[shard].step(records, {}, None)
        self.offsets[shard] += len(values)

    def work_log(self) -> None:
        """What the API has put on the log since the last time."""
        records, self.worked = self.api.log.records[self.worked :], len(self.api.log.records)
        for user, value in records:
            self._step(shard_of(user, SHARDS), value)

    def tell_lag(self, ahead: int = 0) -> None:
        """As workers would; `ahead`: records that they have not worked."""
        self.api.lag = tuple(PartitionLag(n, 0, end + ahead, end) for n, end in enumerate(self.offsets))
        self.api.now_s += 10.0  # what was known is asked anew

    def get(self, path: str, **query: Any) -> Any:
        answer = self.api.ask("GET", f"/v1/{path}", params=query, headers=self.api.headers(Role.READ))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def redrive(self, letter: str, record: str | None = None) -> tuple[int, Any]:
        body = {} if record is None else {"record": record}
        headers = self.api.headers(Role.ADMIN)
        answer = self.api.ask("POST", f"/v1/dead-letters/{letter}/redrive", json=body, headers=headers)
        return answer.status_code, answer.json()

    def latest(self) -> Any:
        """The newest dead letter of any shard."""
        items = self.get("dead-letters")["items"]
        return max(items, key=lambda each: [int(n) for n in each["id"].split("-")[1:]])

    def close(self) -> None:
        self.api.stored.close()
        self.world.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedValkey(tmp_path_factory.mktemp("store")) as server:
        yield server.url


@pytest.fixture
def service(url: str, tmp_path: Path) -> Iterator[Service]:

    client = redis.Redis.from_url(url)
    client.flushall()
    client.close()
    found = Service(url, tmp_path)
    found.work(shard_of("ann", SHARDS), event("ann"))
    yield found
    found.close()


def test_one_that_is_corrected_is_put_back_once_and_used(service: Service) -> None:
    service.work(0, b'{"type":"track","userId":"ann","event":"Order"}', b"\xff\xfe")
    items = service.get("dead-letters")["items"]
    assert [(each["reason"], each["record"], each["record_base64"]) for each in items] == [
        ("bad_encoding", None, "//4="),
        ("missing_time", '{"type":"track","userId":"ann","event":"Order"}', None),
    ]
    letter = items[1]
    assert (letter["source"], letter["position"], letter["shard"]) == ("events-0", 0, 0)
    assert letter["hint"]
    mended = event("ann", event="Order").decode()
    status, first = service.redrive(letter["id"], mended)
    assert (status, first["partition"]) == (200, shard_of("ann", SHARDS))
    ((user, record),) = service.api.log.records
    assert user == "ann"
    assert json.loads(record) == json.loads(mended) | {"messageId": first["message_id"]}
    assert first["message_id"].startswith("redriven-0-0-"), "by its place in the log"
    # A second click: the same answer, and nothing more in the log.
    again = service.redrive(letter["id"], mended)
    assert (again[0], again[1]["message_id"], len(service.api.log.records)) == (200, first["message_id"], 1)
    assert service.redrive(letter["id"], event("bob").decode())[1]["type"].endswith(":cannot-redrive")

    mark = service.get(f"dead-letters/{letter['id']}")
    assert not mark["can_be_redriven"]
    service.work_log()
    assert service.get(f"dead-letters/{letter['id']}")["redriven"]["outcome"] == "worked"
    user_of = {e["name"]: e["total"] for e in service.get("users/ann")["events"]}
    assert user_of["Order"] == 1


def test_a_store_that_is_made_anew_knows_what_was_put_back_by_its_place_in_the_log(
    url: str, service: Service, tmp_path: Path
) -> None:
    """Batches are cut in other places then, so that a letter has another id, and its id is another letter's."""
    mended = event("ann", event="Order").decode()
    service.work(0, b"{}")
    service.work(0, b"[]")
    _, first = service.redrive(service.latest()["id"], mended)
    with closing(redis.Redis.from_url(url)) as client:
        keys: list[Any] = list(client.scan_iter())
        client.delete(*[key for key in keys if not key.startswith(b"tl:api:")])
    service.world.close()
    service.world, service.offsets = ServiceWorld(url, tmp_path / "anew", CATALOG), [0] * SHARDS
    service.api.log.ends.clear()
    service.api.stored.forget_states()
    service.work(shard_of("ann", SHARDS), event("ann"))
    service.work(0, b"{}", b"[]")
    newer, older = service.get("dead-letters")["items"]
    assert (newer["record"], newer["redriven"]["message_id"]) == ("[]", first["message_id"])
    assert service.redrive(newer["id"], mended)[1]["message_id"] == first["message_id"]
    assert len(service.api.log.records) == 1, "it counts once"
    assert (older["redriven"], older["record"]) == (None, "{}")
    status, other = service.redrive(older["id"], mended)
    assert (status, len(service.api.log.records)) == (200, 2)
    assert other["message_id"] != first["message_id"], "it would be dropped as known"


def test_it_waits_until_the_worker_has_come_that_far(service: Service) -> None:
    """Nobody has to tell how far workers are: the store says where its shards stand."""
    service.work(0, b"{}")
    letter = service.latest()["id"]
    assert service.redrive(letter, event("ann").decode())[1]["outcome"] == "waiting"
    service.work_log()
    assert service.get(f"dead-letters/{letter}")["redriven"]["outcome"] == "worked"


def test_what_came_of_it_is_told_by_its_place(service: Service) -> None:
    """Not by words in dead letters: one that has the same bytes and comes later is another one."""
    shard = shard_of("ann", SHARDS)
    service.work(shard, b"{}")
    mended = event("ann", messageId="1").decode()
    letter = service.latest()["id"]
    assert service.redrive(letter, mended)[0] == 200
    service.work_log()
    for number in range(4):
        service.work(shard, b'{"messageId":"1"}', *[b"[]"] * number)
    assert service.get(f"dead-letters/{letter}")["redriven"]["outcome"] == "worked"
    for _ in range(3):  # the bound takes the oldest, and what came of others among them
        service.work(shard, *[b"{}"] * 20)
    last = service.latest()
    assert service.redrive(last["id"], event("ann", messageId="2").decode())[0] == 200
    with closing(redis.Redis.from_url(service.api.store_url)) as client:
        data: Any = client.hget("tl:api:redriven", f"{shard}-{last['position']}")
        old = json.loads(data) | {"offset": 2}
        client.hset("tl:api:redriven", f"{shard}-{last['position']}", json.dumps(old))
    assert service.get(f"dead-letters/{last['id']}")["redriven"]["outcome"] == "in_log"


def test_each_that_is_refused_again_is_found_among_many(service: Service) -> None:
    """Without its bytes, in commits with several dead letters."""
    shard = shard_of("ann", SHARDS)
    users = [name for name in map("u{}".format, range(100)) if shard_of(name, SHARDS) == shard]
    service.work(shard, *(event(name) for name in users[:2]))  # three users are all that fit
    letters = list[str]()
    for _ in range(3):
        service.work(shard, b"{}", event("ann"), b"[]")
        letters.append(service.latest()["id"])
    for number, letter in enumerate(letters):
        mended = event("ann" if number == 1 else users[2 + number], properties={"t": "x" * 20_000}).decode()
        assert service.redrive(letter, mended)[0] == 200
    service.work_log()
    service.work(shard, b"[]", b"{}")
    found = {each["id"]: each["redriven"] for each in service.get("dead-letters")["items"] if each["redriven"]}
    assert [found[letter]["outcome"] for letter in letters] == ["refused", "worked", "refused"]
    assert "too_many_users" in found[letters[0]]["why"]


def test_what_would_be_refused_again_is_told_and_not_sent(service: Service) -> None:
    service.work(0, b'{"type":"track"}')
    letter = service.latest()["id"]
    status, problem = service.redrive(letter)
    assert (status, problem["reason"]) == (400, "missing_user")
    assert problem["type"].endswith(":invalid-event")
    assert service.redrive(letter, '{"type":"delete","userId":"ann","timestamp":"' + TIME + '"}')[0] == 409
    note = event("ann", event="Tideline Message").decode()
    assert service.redrive(letter, note)[0] == 409
    assert service.api.log.records == []
    assert service.redrive("0-999-0")[0] == 404
    assert service.redrive("x")[0] == 404


def test_one_goes_back_as_it_was_and_says_if_it_is_refused_again(
    service: Service,
) -> None:
    shard = shard_of("ann", SHARDS)
    users = [name for name in map("u{}".format, range(100)) if shard_of(name, SHARDS) == shard]
    service.work(shard, *(event(name, messageId=f"m-{name}", properties={"price": 2.5}) for name in users[:3]))
    letter = service.latest()
    assert (letter["reason"], letter["can_be_redriven"]) == ("too_many_users", True)
    assert service.redrive(letter["id"])[0] == 200
    ((user, record),) = service.api.log.records
    sent = json.loads(record)
    assert (user, sent["messageId"], sent["properties"]) == (users[2], f"m-{users[2]}", {"price": 2.5})
    service.work_log()
    found = service.get(f"dead-letters/{letter['id']}")["redriven"]
    assert found["outcome"] == "refused"
    assert "too_many_users" in found["why"]
    assert service.latest()["id"] != letter["id"], "it is there again, and may be put back again"


def test_a_log_that_does_not_take_it_leaves_it_to_be_asked_again(service: Service) -> None:
    service.work(0, b"{}")
    letter, mended = service.latest()["id"], event("ann").decode()
    service.api.log.failure = BrokerUnavailable("away")
    assert service.redrive(letter, mended)[0] == 503
    assert service.get(f"dead-letters/{letter}")["redriven"]["outcome"] == "unfinished"
    service.api.log.failure = BrokerError("never")
    assert service.redrive(letter, mended)[0] == 500
    assert service.get(f"dead-letters/{letter}")["redriven"] is None
    service.api.log.failure = None
    assert service.redrive(letter, mended)[0] == 200
    assert len(service.api.log.records) == 1


def test_they_come_in_pages_by_reason_and_marks_go_with_them(service: Service) -> None:
    for shard in range(SHARDS):
        service.work(shard, b"{}", b"[]", b"{}")
    pages, cursor = list[Any](), None
    while True:
        page = service.get("dead-letters", limit=2, **({} if cursor is None else {"cursor": cursor}))
        pages += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len({each["id"] for each in pages}) == len(pages) == 3 * SHARDS
    assert len(service.get("dead-letters", reason="not_an_object")["items"]) == SHARDS
    answer = service.api.ask("GET", "/v1/dead-letters?cursor=x", headers=service.api.headers(Role.READ))
    assert answer.json()["type"].endswith(":invalid-cursor")
    letter = service.latest()["id"]
    assert service.redrive(letter, event("ann").decode())[0] == 200
    service.work_log()
    for _ in range(3):
        service.work(int(letter[0]), *[b"{}"] * 50)  # the bound takes the oldest
    newest = service.get("dead-letters", limit=100)["items"]
    assert letter not in {each["id"] for each in newest}
    other = next(each for each in newest if each["id"][0] == letter[0])
    service.api.now_s += 600.0  # they are looked through now and then
    assert service.redrive(other["id"], event("ann", messageId="other").decode())[0] == 200

    with closing(redis.Redis.from_url(service.api.store_url)) as client:
        assert client.hkeys("tl:api:redriven") == [f"{other['shard']}-{other['position']}".encode()]


def test_in_the_console_one_is_looked_into_corrected_and_followed(service: Service) -> None:
    raw = '{"type":"track","userId":"ann","event":"<b>\\u001b"}'
    service.work(0, raw.encode())
    letter, admin = service.latest()["id"], Person(service.api, Role.ADMIN)
    service.tell_lag()
    assert "/system/refused?reason=missing_time" in admin.get("/system").text
    assert f"/system/refused/one?id={letter}" in admin.get("/system/refused", reason="missing_time").text
    one = f"/system/refused/one?id={letter}"
    assert "<b>" not in admin.get(one).text.partition('id="record"')[2].partition("</pre>")[0]
    assert raw in admin.page(one)
    assert "put back with a key of the role admin" in Person(service.api, Role.WRITE).page(one)
    refused = Person(service.api, Role.WRITE).post("/system/refused/one", id=letter, record=event("ann").decode())
    assert refused.status_code == 403

    again = admin.post("/system/refused/one", id=letter, record=raw)
    assert again.status_code == 400
    assert "It would be refused again" in again.text
    assert service.api.log.records == []
    mended = event("ann", event="Order").decode()
    for _ in range(2):  # a double click
        answer = admin.post("/system/refused/one", id=letter, record=mended)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/console{one}")
    assert len(service.api.log.records) == 1
    service.work_log()
    text = admin.page(one)
    assert "The worker has used it." in text
    assert "The record, as JSON" not in text, "once is enough"


def test_the_system_tells_what_waits_and_what_is_not_known_yet(service: Service) -> None:
    person = Person(service.api)
    service.tell_lag(ahead=4)
    figures = person.get("/system/figures").json()
    assert (figures["waiting"], figures["pending"]) == (str(4 * SHARDS), "1")
    assert f"Waiting in the log {4 * SHARDS} " in person.page("/system")
    service.api.lag = ()
    service.api.now_s += 10.0
    assert person.get("/system/figures").json()["waiting"] == "–"
