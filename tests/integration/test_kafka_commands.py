"""`tideline topics`, `produce`, `tail` and `lag` against a real Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config.loader import loads
from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.core.decode import SegmentDecoder
from streams.core.events import Event
from streams.core.partition import shard_of
from tests.conftest import ROOT
from tests.integration.bad_input_world import command
from tests.integration.kafka_world import PASSWORD, USER, KafkaWorld, into_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CATALOG = """
version: 1
name: Shop
predictions:
  orders_7d:
    name: Orders
    goal: {did: Order Completed}
    window: 7d
"""
CSV_CATALOG = (
    CATALOG
    + """
input:
  format: csv
  user: who
  event: {constant: Order Completed}
  time: {field: at}
  value: total
  traits: {land: country}
features:
  traits: [land]
"""
)
USERS = [f"user {number} ä{chr(0x4E00 + number)}" for number in range(60)]


@dataclass
class Shop:
    """Settings of topics that nobody else has, and a folder with files and catalogs."""

    settings: Settings
    folder: Path

    def path(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@pytest.fixture
def shop(kafka_world: KafkaWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    settings = kafka_world.settings(shards=12)
    into_environment(settings, monkeypatch)
    monkeypatch.setenv("TIDELINE_SHARDS", "12")
    return Shop(settings, tmp_path)


@pytest.fixture
def made(shop: Shop) -> Shop:
    """With its topics."""
    code, _, err = command("topics", "--create")
    assert code == 0, err
    return shop


def read_all(settings: Settings, topic: str) -> list[Any]:
    """Every record of a topic, partition after partition."""
    kafka = kafka_python()
    consumer = kafka.KafkaConsumer(**kafka_python_arguments(settings), group_id=None, auto_offset_reset="earliest")
    places = [kafka.TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    found: list[Any] = []
    while any(consumer.position(place) < end for place, end in ends.items()):
        for records in consumer.poll(timeout_ms=1_000).values():
            found += records
    consumer.close()
    return found


def send(settings: Settings, topic: str, *values: bytes, headers: list[tuple[str, bytes]] | None = None) -> None:
    producer = kafka_python().KafkaProducer(**kafka_python_arguments(settings))
    futures = [producer.send(topic, key=b"ann", value=value, headers=headers or []) for value in values]
    for future in futures:
        future.get(timeout=30)
    producer.close()


def lines() -> list[bytes]:
    """Segment JSON whose bytes nobody would write so: odd spaces, unused fields."""
    return [
        json.dumps(
            {
                "messageId": f"m{number}",
                "type": "track",
                "userId": user,
                "event": "Order Completed",
                "timestamp": f"2024-05-{number % 28 + 1:02d}T12:00:00Z",
                "unused": {"z": [number]},
            },
            ensure_ascii=number % 2 == 0,
        )
        .replace(": ", ":  ")
        .encode()
        for number, user in enumerate(USERS * 5)
    ]


# --- topics ----------------------------------------------------------------------------------------------------------


def test_missing_topics_are_told_made_and_then_in_order(shop: Shop) -> None:
    code, out, _ = command("topics", "--json")
    found = json.loads(out)
    assert code == 6
    assert not found["ok"]
    assert {topic["state"] for topic in found["topics"]} == {"missing"}
    code, out, _ = command("topics", "--create", "--json")
    found = json.loads(out)
    assert code == 0
    assert {topic["state"] for topic in found["topics"]} == {"created"}
    numbers = {topic["kind"]: topic["partitions"] for topic in found["topics"]}
    assert numbers["events"] == numbers["segment-events"] == 12
    assert numbers["models"] == 1
    assert {t["kind"]: t["cleanup"] for t in found["topics"]}["models"] == "compact"
    code, out, _ = command("topics")
    assert code == 0
    assert shop.settings.topic("events") in out


def test_every_difference_is_told_with_what_to_do(
    shop: Shop, kafka_world: KafkaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = shop.settings
    wrong = {
        s.topic("events"): {"num_partitions": 6, "configs": {"cleanup.policy": "compact"}},
        s.topic("segment-events"): {
            "num_partitions": 3,
            "configs": {"retention.ms": "3600000", "max.message.bytes": "99999"},
        },
        s.topic("models"): {"num_partitions": 2, "configs": {"cleanup.policy": "delete"}},
        s.topic("examples"): {"num_partitions": 8, "configs": {"max.message.bytes": "1000"}},
    }
    with kafka_world.admin() as admin:
        admin.create_topics({n: {"replication_factor": 1, **o} for n, o in wrong.items()}, wait_for_metadata=True)
    monkeypatch.setenv("TIDELINE_KAFKA_REPLICATION", "2")
    code, out, _ = command("topics", "--json")
    found = {topic["kind"]: topic for topic in json.loads(out)["topics"]}
    assert code == 6
    words = {kind: " ".join(topic["problems"]) for kind, topic in found.items()}
    assert "has 6 partitions, and 12 are wanted" in words["events"]
    assert "TIDELINE_SHARDS=6 (or --shards 6)" in words["events"]
    assert "must have delete" in words["events"]
    assert "has message.timestamp.type=CreateTime, and must have LogAppendTime" in words["events"]
    assert "message.timestamp.type" not in words["segment-events"]
    assert "has 3 partitions, and 6 are wanted" in words["segment-events"]  # as many as there are of the events
    assert "--partitions 6;" in words["segment-events"]
    assert "(6 partitions)" in words["campaign-triggers"]
    assert "keeps records for 1 hours, and 168 are wanted" in words["segment-events"]
    assert "retention.ms=604800000" in words["segment-events"]
    assert "must have compact" in words["models"]
    assert "2 partitions" not in words["models"], "more stay empty"
    assert "takes up to 1,000 bytes at once, and a record may be 8,388,608 long" in words["examples"]
    assert "up to 99,999 bytes at once, and records that go out together may be 524,288 long" in words["segment-events"]
    assert "max.message.bytes" not in words["events"]
    assert all("has 1 copy, and 2 are wanted" in words[kind] for kind in ("events", "models"))
    assert found["dead-letters"]["state"] == "missing"
    code, out, _ = command("topics")
    assert code == 6
    assert all(problem in out for topic in found.values() for problem in topic["problems"])


def test_more_copies_than_brokers_are_refused_with_the_reason(
    kafka_world: KafkaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    into_environment(kafka_world.settings(), monkeypatch)
    monkeypatch.setenv("TIDELINE_KAFKA_REPLICATION", "9")
    code, _, err = command("topics", "--create")
    assert code == 6
    assert "replication factor" in err.lower()


# --- produce ---------------------------------------------------------------------------------------------------------


def test_segment_lines_arrive_as_they_stand_where_their_shard_is(made: Shop) -> None:
    sent = lines()
    good = made.path("events.ndjson", b"\n".join([*sent, b'{"type": "track"}', b"no json"]))
    catalog = made.path("catalog.yaml", CATALOG)
    code, out, err = command("produce", good, "--catalog", catalog, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["sent"] == len(sent)
    assert result["rows"] == result["position"] == len(sent) + 2
    assert result["refused"] == {"missing_user": 1, "unreadable_json": 1}
    assert "2 rows could not be used" in err
    records = read_all(made.settings, made.settings.topic("events"))
    assert sorted(bytes(r.value) for r in records) == sorted(sent)
    for record in records:
        user = json.loads(record.value)["userId"]
        assert record.key == user.encode()
        assert record.partition == shard_of(user, 12)
    for number in range(12):
        times = [json.loads(r.value)["timestamp"] for r in records if r.partition == number]
        assert times == sorted(times)


def test_rows_of_a_csv_become_segment_json_that_says_the_same(made: Shop) -> None:
    rows = [f"{user},2024-05-{at % 28 + 1:02d}T08:00:00.{at:06d}Z,{at}.25,DE" for at, user in enumerate(USERS)]
    path = made.path("orders.csv", "\n".join(["who,at,total,country", *rows, rows[0]]))
    catalog = made.path("catalog.yaml", CSV_CATALOG)
    loaded = loads(CSV_CATALOG)
    for _ in range(2):
        code, out, err = command("produce", path, "--catalog", catalog)
        assert code == 0, err
        assert "61 of 61 events" in out
    records = read_all(made.settings, made.settings.topic("events"))
    decoder = SegmentDecoder(loaded)
    events = [decoder.decode(bytes(r.value), 0, None, 0) for r in records]
    assert all(isinstance(event, Event) for event in events)
    found = {(e.user, e.name, e.time_s, e.value, (e.traits or {}).get("land")) for e in events if isinstance(e, Event)}
    assert len(found) == len(USERS)
    assert {e[3] for e in found} == {at + 0.25 for at in range(60)}
    assert {(e[1], e[4]) for e in found} == {("Order Completed", "DE")}
    ids = [event.message_hash for event in events if isinstance(event, Event)]
    assert len(ids) == 122
    assert len(set(ids)) == 61, "sent twice, each row is one event; and two equal rows are two"


def test_simulated_traffic_arrives_where_its_users_belong(made: Shop) -> None:
    code, said, err = command("simulate", "--users", "40", "--days", "3", "--out", "kafka", "--json")
    assert code == 0, err
    records = read_all(made.settings, made.settings.topic("events"))
    assert len(records) == json.loads(said)["records"] > 40
    assert {r.partition for r in records} == {shard_of(json.loads(r.value)["userId"], 12) for r in records}
    assert all(r.partition == shard_of(r.key.decode(), 12) for r in records)


@pytest.mark.usefixtures("shop")
def test_simulated_traffic_needs_its_topic() -> None:
    code, _, err = command("simulate", "--users", "4", "--days", "1", "--out", "kafka")
    assert code == 6
    assert "tideline topics --create" in err


def test_it_goes_on_where_it_is_told_and_no_faster_than_it_is_told(made: Shop) -> None:
    path = made.path("events.ndjson", b"\n".join(lines()))
    catalog = made.path("catalog.yaml", CATALOG)
    code, out, err = command("produce", path, "-c", catalog, "--start", "280", "--rate", "40", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["sent"] == 20
    assert result["seconds"] > 18 / 40
    assert len(read_all(made.settings, made.settings.topic("events"))) == 20


def test_a_missing_topic_and_a_record_that_is_too_large_are_told(made: Shop, kafka_world: KafkaWorld) -> None:
    path = made.path("events.ndjson", b"\n".join(lines()))
    catalog = made.path("catalog.yaml", CATALOG)
    code, _, err = command("produce", path, "-c", catalog, "--topic", "no.such.topic")
    assert code == 6
    assert "'no.such.topic' does not exist" in err
    assert "tideline topics --create" in err
    small = made.settings.topic("events") + ".small"
    with kafka_world.admin() as admin:
        options = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "1000"}}
        admin.create_topics({small: options}, wait_for_metadata=True)
    huge = json.dumps({"type": "track", "userId": "a", "event": "e", "timestamp": "2024-05-01", "x": "y" * 5000})
    code, _, err = command("produce", made.path("huge.ndjson", huge), "-c", catalog, "--topic", small)
    assert code == 6
    assert "row 1 " in err
    assert "max.message.bytes" in err


# --- tail ------------------------------------------------------------------------------------------------------------

CROSSING = {
    "specversion": "1.0",
    "id": "8f",
    "type": "tideline.segment.entered.v1",
    "time": "2024-06-03T09:12:44Z",
    "data": {"user_id": "ann", "segment_id": "orders_7d.high", "in_segment": True, "score": 81.42, "origin": "live"},
}


def test_tail_shows_transitions_of_both_kafka_modes_for_people_and_for_scripts(made: Shop) -> None:
    topic = made.settings.topic("segment-events")
    send(made.settings, topic, json.dumps(CROSSING).encode())
    attributes = {name: value for name, value in CROSSING.items() if name != "data"}
    headers = [(f"ce_{name}", str(value).encode()) for name, value in attributes.items()]
    send(made.settings, topic, json.dumps(CROSSING["data"]).encode(), headers=headers)
    code, out, err = command("tail", "segment-events", "--from-start", "--limit", "2", "--json")
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == [CROSSING, CROSSING]
    code, out, err = command("tail", "segment-events", "--from-start", "--limit", "1")
    assert (code, err) == (
        0,
        "Showing segment-events from the oldest record on (2 are there, and what comes). Ctrl-C ends it.\n",
    )
    assert out == "2024-06-03T09:12:44Z  ann enters orders_7d.high (score 81.4, live)\n"


def test_tail_of_dead_letters_and_of_what_is_no_json(made: Shop) -> None:
    letter = {"reason": "bad_time", "detail": "the time is 'x'", "source": "events-3 at 17", "raw": "{...}"}
    send(made.settings, made.settings.topic("dead-letters"), json.dumps(letter).encode(), b"\xff no json")
    code, out, err = command("tail", "dead-letters", "--from-start", "--limit", "2")
    assert code == 0, err
    assert "bad_time: the time is 'x'  events-3 at 17  {...}" in out
    code, out, _ = command("tail", "dead-letters", "--from-start", "--limit", "2", "--json")
    assert json.loads(out.splitlines()[1])["raw"] == "� no json"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--from-start"], "campaign-triggers has no record yet: waiting for the first one."),
        ([], "Showing what comes to campaign-triggers from now on (--from-start begins with the oldest record)."),
    ],
)
def test_tail_of_an_empty_topic_says_that_it_waits(made: Shop, options: list[str], words: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "streams", "tail", "campaign-triggers", "--limit", "1", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        try:
            assert process.stderr.readline() == f"{words} Ctrl-C ends it.\n"
            send(made.settings, made.settings.topic("campaign-triggers"), b"{}")
            out, err = process.communicate(timeout=60)
            assert (process.returncode, err, out.endswith("ann  {}\n")) == (0, "", True)
        finally:
            process.kill()


def test_tail_of_a_missing_topic(shop: Shop) -> None:
    code, _, err = command("tail", "campaign-triggers", "--limit", "1")
    assert code == 6
    assert shop.settings.topic("campaign-triggers") in err


# --- lag -------------------------------------------------------------------------------------------------------------


def test_lag_counts_what_the_group_has_not_read(made: Shop, kafka_world: KafkaWorld) -> None:
    path = made.path("events.ndjson", b"\n".join(lines()))
    assert command("produce", path, "-c", made.path("catalog.yaml", CATALOG))[0] == 0
    kafka, topic = kafka_python(), made.settings.topic("events")
    code, out, _ = command("lag", "--json")
    before = json.loads(out)
    assert code == 0
    assert before["lag"] == 300
    assert {p["committed"] for p in before["partitions"]} == {None}
    now_s = time.time()
    assert all((p["oldest_s"] is None) == (p["end"] == p["start"]) for p in before["partitions"])
    assert all(now_s - 600.0 < p["oldest_s"] < now_s + 60.0 for p in before["partitions"] if p["oldest_s"])
    full = max(before["partitions"], key=lambda p: int(p["end"]))
    with kafka_world.admin() as admin:
        place, offset = kafka.TopicPartition(topic, full["partition"]), kafka.OffsetAndMetadata(full["end"] - 1, "", -1)
        admin.alter_group_offsets(made.settings.kafka_group, {place: offset})
    _, out, _ = command("lag", "--json")
    after = json.loads(out)
    assert after["lag"] == 300 - full["end"] + 1
    code, out, _ = command("lag")
    assert code == 0
    assert f"{after['lag']} records of {topic}" in out
    assert datetime.fromtimestamp(full["oldest_s"], UTC).strftime("%Y-%m-%d %H:%M") in out


# --- who is let in ---------------------------------------------------------------------------------------------------

SASL = {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_username": USER, "kafka_password": PASSWORD}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_opens_and_a_wrong_one_is_told(
    kafka_world: KafkaWorld, monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    options = SASL | {"kafka_bootstrap_servers": kafka_world.listener("LOGIN"), "kafka_sasl_mechanism": mechanism}
    into_environment(kafka_world.settings(**options), monkeypatch)
    code, _, err = command("topics", "--create")
    assert code == 0, err
    monkeypatch.setenv("TIDELINE_KAFKA_PASSWORD", "hunter2")
    code, _, err = command("topics")
    assert code == 6
    assert f"does not let the user '{USER}' in ({mechanism})" in err
    assert "TIDELINE_KAFKA_PASSWORD" in err
    assert "hunter2" not in err


def test_tls_with_certificates_of_both_sides(kafka_world: KafkaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    address = kafka_world.listener("SECURE")
    assert kafka_world.certificates is not None
    certificate, key = kafka_world.certificates.make("client")
    files = {"kafka_ca_file": kafka_world.certificates.ca, "kafka_cert_file": certificate, "kafka_key_file": key}
    options = {"kafka_bootstrap_servers": address, "kafka_security_protocol": "SSL", **files}
    into_environment(kafka_world.settings(**options), monkeypatch)
    code, _, err = command("topics", "--create")
    assert code == 0, err
    monkeypatch.delenv("TIDELINE_KAFKA_KEY_FILE")
    monkeypatch.delenv("TIDELINE_KAFKA_CERT_FILE")
    code, _, err = command("topics")
    assert code == 6
    assert "TIDELINE_KAFKA_CERT_FILE" in err
    monkeypatch.delenv("TIDELINE_KAFKA_CA_FILE")
    code, _, err = command("topics")
    assert code == 6
    assert "is not trusted" in err
    assert "TIDELINE_KAFKA_CA_FILE" in err


def test_tls_with_a_password(kafka_world: KafkaWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    address = kafka_world.listener("BOTH")
    assert kafka_world.certificates is not None
    options = SASL | {
        "kafka_bootstrap_servers": address,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_ca_file": kafka_world.certificates.ca,
    }
    into_environment(kafka_world.settings(**options), monkeypatch)
    code, _, err = command("topics", "--create")
    assert code == 0, err


@pytest.mark.parametrize(("listener", "protocol"), [("PLAINTEXT", "SSL"), ("SECURE", "PLAINTEXT")])
def test_another_protocol_than_the_listener_has_is_told(
    kafka_world: KafkaWorld, monkeypatch: pytest.MonkeyPatch, listener: str, protocol: str
) -> None:
    options = {"kafka_bootstrap_servers": kafka_world.listener(listener), "kafka_security_protocol": protocol}
    into_environment(kafka_world.settings(**options), monkeypatch)
    code, _, err = command("lag")
    assert code == 6
    assert f"another protocol than TIDELINE_KAFKA_SECURITY_PROTOCOL={protocol}" in err


def test_nobody_there_is_told_with_what_to_check(tmp_path: Path) -> None:
    catalog, path = tmp_path / "catalog.yaml", tmp_path / "events.ndjson"
    catalog.write_text(CATALOG)
    path.write_bytes(b"\n".join(lines()))
    calls: list[tuple[str | Path, ...]] = [
        ("topics",),
        ("lag",),
        ("tail", "dead-letters"),
        ("produce", path, "-c", catalog),
    ]
    for words in calls:
        code, _, err = command(*words, "--kafka", "127.0.0.1:1")
        assert code == 6
        assert "No Kafka answers at 127.0.0.1:1" in err
        assert "(--kafka, or TIDELINE_KAFKA_BOOTSTRAP_SERVERS)" in err
