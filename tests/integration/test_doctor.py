"""`tideline doctor` against real servers: what it says of a store and of a Kafka, whole and with faults."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks._ports import free_port, free_ports
from config.catalog import Catalog
from config.loader import loads
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.kafka_topics import check_topics
from streams.adapters.redis_definitions import RedisDefinitions
from streams.adapters.redis_store import RedisStore
from streams.adapters.valkey_server import EmbeddedValkey
from streams.commit import Patience
from streams.core.ledger import ledger_name
from streams.ports import Identity
from streams.runtime.doctor.log import check_kafka
from streams.runtime.ledger_key import ledger_key
from streams.runtime.place import Place
from streams.runtime.replay import catalog_digest
from tests.contract.redis_servers import Server
from tests.integration.bad_input_world import command
from tests.integration.kafka_world import USER, KafkaWorld, into_environment
from tests.unit.test_cli import CATALOG

pytestmark = pytest.mark.timeout(300)
SECRET = "s" * 32
PORTS = ("WEB_PORT", "API_PORT", "WEBHOOKS_PORT", "CAMPAIGNS_PORT")


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
        monkeypatch.setenv(f"TIDELINE_{name}", str(port))


def look(*options: object) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and of every check its state and words."""
    code, out, err = command("doctor", "--json", *map(str, options))
    assert err == ""
    return code, {each["check"]: (each["state"], each["words"]) for each in json.loads(out)["checks"]}


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose settings the tests change; it keeps nothing."""
    server = Server(tmp_path_factory.mktemp("server"), free_port(), 'save ""\n')
    yield server
    server.stop()


@pytest.fixture
def url(server: Server) -> str:
    for name, value in (("appendonly", "no"), ("appendfsync", "everysec"), ("maxmemory", "0")):
        server.client.config_set(name, value)
    server.client.config_set("maxmemory-policy", "noeviction")
    server.client.flushall()
    return f"redis://127.0.0.1:{server.port}/0"


def fill(url: str, catalog: Catalog, *, shards: int = 1, ledger: str = "") -> None:
    """What a worker writes down at its start."""
    store = RedisStore(url, patience=Patience(time.sleep, attempts=1))
    store.prepare(shards, Identity(catalog_digest(catalog), predictions=tuple(catalog.predictions), ledger=ledger))
    store.close()
    definitions = RedisDefinitions(url)
    definitions.tell_file(catalog)
    definitions.close()


def test_a_running_embedded_store_is_looked_into(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "shop.yaml"
    file.write_text(CATALOG)
    with EmbeddedValkey(data) as server:
        fill(server.url, loads(CATALOG))
        code, found = look("--data-dir", data, "--catalog", file)
    assert code == 0
    assert {state for state, _ in found.values()} == {"ok"}
    assert "no crossing is said twice" in found["promise"][1]
    assert "the same catalog" in found["catalog of the store"][1]
    assert "orders_7d" in found["stored"][1]
    assert {"store's memory", "store's clock"} < set(found)


def test_what_a_server_does_not_promise_is_a_warning(url: str, server: Server, tmp_path: Path) -> None:
    options = ["--store", url, "--data-dir", tmp_path]
    tmp_path.chmod(0o700)
    code, found = look(*options)
    assert (code, found["promise"][0]) == (0, "warning")
    assert "appendonly yes" in found["promise"][1]
    server.client.config_set("appendonly", "yes")
    for fsync in ("everysec", "no"):
        server.client.config_set("appendfsync", fsync)
        state, words = look(*options)[1]["promise"]
        assert (state, "Set appendfsync always" in words) == ("warning", True)
    server.client.config_set("appendfsync", "always")
    assert look(*options)[1]["promise"][0] == "ok"


def test_a_login_that_is_refused_is_told_with_where_it_is_set(url: str, server: Server, tmp_path: Path) -> None:
    server.client.config_set("requirepass", "right")
    try:
        for address in (url, url.replace("//", "//:mistaken@")):
            code, found = look("--store", address, "--data-dir", tmp_path)
            assert (code, found["store"][0]) == (4, "wrong")
            assert "correct user and password in TIDELINE_REDIS_URL or --store" in found["store"][1]
            assert "mistaken" not in found["store"][1]
    finally:
        server.client.config_set("requirepass", "")


def test_copies_that_are_not_there_are_wrong(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_WAIT_ON_DISK", "true")
    code, found = look("--store", url, "--data-dir", tmp_path)
    assert (code, found["promise"][0]) == (4, "wrong")
    assert "Set appendonly yes, or TIDELINE_WAIT_ON_DISK=false" in found["promise"][1]
    monkeypatch.setenv("TIDELINE_WAIT_REPLICAS", "2")
    words = look("--store", url, "--data-dir", tmp_path)[1]["promise"][1]
    assert "TIDELINE_WAIT_REPLICAS=2, and 0 replicas" in words


def test_memory_that_is_nearly_full_or_evicts_is_told(url: str, server: Server, tmp_path: Path) -> None:
    used = server.client.info("memory")["used_memory"]
    server.client.config_set("maxmemory", int(used * 1.1))
    code, found = look("--store", url, "--data-dir", tmp_path)
    assert (code, found["store's memory"][0]) == (0, "warning")
    server.client.config_set("maxmemory", used * 100)
    assert look("--store", url, "--data-dir", tmp_path)[1]["store's memory"][0] == "ok"
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    code, found = look("--store", url, "--data-dir", tmp_path)
    assert (code, found["store"][0]) == (4, "wrong")
    assert "noeviction" in found["store"][1]


def test_another_clock_of_the_store_is_told(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr("streams.runtime.doctor.store.time.time", lambda: real() + 3_600)
    code, found = look("--store", url, "--data-dir", tmp_path)
    assert (code, found["store's clock"][0]) == (4, "wrong")
    assert "behind" in found["store's clock"][1]


def test_another_catalog_or_format_is_told(url: str, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(CATALOG.replace("7d\n", "8d\n"))
    fill(url, loads(CATALOG))
    options = ["--store", url, "--data-dir", tmp_path / "data", "--embedded", "--catalog", file]
    code, found = look(*options)
    assert (code, found["catalog of the store"][0]) == (0, "warning")
    assert "(in predictions)" in found["catalog of the store"][1]
    server.client.hset("tl:meta", "format", "0")
    code, found = look(*options)
    assert (code, found["store"][0]) == (4, "wrong")


def test_the_key_of_deleted_users_has_to_be_the_stores(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path / "data", url, deletion_secret=SECRET)
    fill(url, loads(CATALOG), ledger=ledger_name(ledger_key(place), ""))
    options = ["--store", url, "--data-dir", tmp_path / "data", "--embedded"]
    code, found = look(*options)
    assert (code, found["deletion key"][0]) == (4, "wrong")
    assert "is gone" in found["deletion key"][1]
    monkeypatch.setenv("TIDELINE_DELETION_KEY", "t" * 32)
    code, found = look(*options)
    assert (code, "another" in found["deletion key"][1]) == (4, True)
    monkeypatch.setenv("TIDELINE_DELETION_KEY", SECRET)
    assert look(*options)[1]["deletion key"][0] == "ok"
    assert not (tmp_path / "data").exists()


# --- Kafka -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_kafka_is_looked_at_with_its_topics(
    kafka_world: KafkaWorld, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = kafka_world.settings(shards=3)
    into_environment(settings, monkeypatch)
    monkeypatch.setenv("TIDELINE_SHARDS", "3")
    options = ["--store", url, "--data-dir", tmp_path]
    code, found = look(*options)
    assert (code, found["Kafka"][0], found["topic events"][0]) == (6, "ok", "wrong")
    assert "tideline topics --create" in found["topic events"][1]
    assert "TIDELINE_DELETION_KEY is not set" in found["deletion key"][1]
    check_topics(settings, create=True)
    monkeypatch.setenv("TIDELINE_DELETION_KEY", SECRET)
    code, found = look(*options)
    assert (code, found["topic events"][0], found["Kafka's clock"][0]) == (0, "ok", "ok")
    fill(url, loads(CATALOG), shards=2)
    code, found = look(*options)
    assert (code, found["stored"][0]) == (4, "wrong")
    assert "TIDELINE_SHARDS=2" in found["stored"][1]


@pytest.mark.slow
def test_events_of_the_future_show_that_the_clocks_differ(
    kafka_world: KafkaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = kafka_world.settings()
    check_topics(settings, create=True)
    producer = kafka_python().KafkaProducer(**kafka_python_arguments(settings))
    producer.send(settings.topic("events"), key=b"ann", value=b"{}").get(timeout=30)
    producer.close()

    def clock() -> Any:
        (found,) = [each for each in check_kafka(settings, timeout_s=20) if each.check == "Kafka's clock"]
        return found

    assert (clock().state, "within" in clock().words) == ("ok", True)
    real = time.time
    monkeypatch.setattr("streams.runtime.doctor.log.time.time", lambda: real() - 3_600)
    assert (clock().state, clock().exit_code) == ("wrong", 6)
    assert "ahead of" in clock().words
    monkeypatch.setattr("streams.runtime.doctor.log.time.time", lambda: real() + 3_600)
    assert (clock().state, clock().exit_code) == ("wrong", 6)
    assert "behind" in clock().words


@pytest.mark.slow
def test_a_wrong_password_is_told(
    kafka_world: KafkaWorld, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"kafka_sasl_mechanism": "PLAIN", "kafka_username": USER, "kafka_password": "wrong"}
    address = kafka_world.listener("LOGIN")
    settings = kafka_world.settings(kafka_security_protocol="SASL_PLAINTEXT", **login)
    into_environment(settings, monkeypatch)
    code, found = look("--kafka", address, "--store", url, "--data-dir", tmp_path)
    assert (code, found["Kafka"][0]) == (6, "wrong")
    assert "TIDELINE_KAFKA_PASSWORD" in found["Kafka"][1]
    assert not [check for check in found if check.startswith("topic")]
