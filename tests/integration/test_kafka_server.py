"""The local Kafka: its data survive every end, a cluster survives the loss of a node, and mistakes are told."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from config.errors import BrokerError
from config.settings import load_settings
from streams.adapters import kafka_jars as jars_module
from streams.adapters import kafka_server
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.kafka_connect import check_connection
from streams.adapters.kafka_jars import KAFKA_VERSION, kafka_jars, listed_jars
from streams.adapters.kafka_server import QUICK_JVM, EmbeddedKafka
from tests.conftest import missing
from tests.integration.kafka_world import CACHE, KafkaWorld
from tests.integration.test_kafka_commands import read_all, send

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def own(world: KafkaWorld) -> EmbeddedKafka:
    if world.server is None:
        missing("a Kafka that may be killed", "leave TIDELINE_TEST_KAFKA away")
    return world.server


def test_what_was_acknowledged_survives_kill_9(kafka_world: KafkaWorld) -> None:
    server, settings = own(kafka_world), kafka_world.settings()
    topic = settings.topic("events")
    with kafka_world.admin() as admin:
        admin.create_topics({topic: {"num_partitions": 1}}, wait_for_metadata=True)
    values = [b"%d" % number for number in range(100)]
    send(settings, topic, *values)
    server.check()
    server.kill()
    with pytest.raises(BrokerError, match="No Kafka answers"):
        check_connection(settings)
    server.start_node()
    assert [record.value for record in read_all(settings, topic)] == values
    server.check()


def test_a_cluster_goes_on_without_a_node_and_takes_it_back(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path / "cluster", cache_dir=CACHE, nodes=3, jvm=QUICK_JVM) as cluster:
        assert cluster.bootstrap.count(",") == 2
        settings = load_settings(kafka_bootstrap_servers=cluster.bootstrap, kafka_topic_prefix="c.")
        topic = settings.topic("events")
        with kafka_python().KafkaAdminClient(**kafka_python_arguments(settings)) as admin:
            admin.create_topics({topic: {"num_partitions": 3, "replication_factor": 3}}, wait_for_metadata=True)
        send(settings, topic, b"1")
        cluster.kill(2)
        send(settings, topic, b"2")
        assert sorted(record.value for record in read_all(settings, topic)) == [b"1", b"2"]
        cluster.start_node(2)
        cluster.kill(3)
        send(settings, topic, b"3")
        assert sorted(record.value for record in read_all(settings, topic)) == [b"1", b"2", b"3"]
        for node in (1, 2):  # without a majority they would end later
            cluster.kill(node)


def test_a_directory_has_one_owner(kafka_world: KafkaWorld) -> None:
    with pytest.raises(BrokerError, match=f"in use by process {os.getpid()}"):
        EmbeddedKafka(own(kafka_world).data_dir, cache_dir=CACHE).start()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    kafka_jars(CACHE)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} of 127.0.0.1 is taken"):
            EmbeddedKafka(tmp_path, cache_dir=CACHE, port=port).start()


def test_a_setting_that_kafka_refuses_is_told_in_its_last_words(tmp_path: Path) -> None:
    server = EmbeddedKafka(tmp_path, cache_dir=CACHE, properties={"num.io.threads": "none"})
    with pytest.raises(BrokerError, match=r"its last words \(kafka.log in (?s:.)*num.io.threads"):
        server.start()
    assert server.bootstrap == ""


@pytest.mark.parametrize("name", ["1/kafka.lock", "cluster.json.new", "1/server.properties"])
def test_what_cannot_be_written_is_told_and_the_directory_is_given_back(tmp_path: Path, name: str) -> None:
    """A full disk, or a directory that lost its rights, between a death and the restart: here a folder in the way."""
    kafka_jars(CACHE)
    (tmp_path / name).mkdir(parents=True)
    server = EmbeddedKafka(tmp_path, cache_dir=CACHE)
    for _ in range(2):  # as who supervises it does
        with pytest.raises(BrokerError, match=f"Kafka cannot use {tmp_path / name}: Is a directory"):
            server.start()


def test_a_port_is_kept_as_long_as_it_is_free(tmp_path: Path) -> None:
    def plan() -> Any:
        server = EmbeddedKafka(tmp_path, cache_dir=CACHE)
        server._plan()
        return server._cluster

    first = plan()
    assert plan() == first
    taken = first.nodes[0].listeners["PLAINTEXT"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", taken))
        other.listen()
        changed = plan()
    assert changed.nodes[0].listeners["PLAINTEXT"] != taken
    assert changed.cluster_id == first.cluster_id
    assert plan() == changed
    with pytest.raises(BrokerError, match="holds a Kafka of 1 nodes, not 3"):
        EmbeddedKafka(tmp_path, cache_dir=CACHE, nodes=3)._plan()


def test_values_of_properties_come_back_as_they_were() -> None:
    assert kafka_server._escaped('a"b\\c\nö') == 'a"b\\\\c\\n\\u00f6'


# --- Kafka's program -------------------------------------------------------------------------------------------------


def test_every_jar_is_what_the_list_says() -> None:
    found = kafka_jars(CACHE)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in found]
    assert digests == [digest for _, digest in listed_jars()]
    names = {path.name for path in found}
    assert f"kafka_2.13-{KAFKA_VERSION}.jar" in names
    assert {name for name in names if name.startswith("kafka-clients")} == {f"kafka-clients-{KAFKA_VERSION}.jar"}


def test_a_jar_that_is_not_what_the_list_says_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (coordinate, digest), *_ = listed_jars()
    good = next(path for path in kafka_jars(CACHE) if path.name == jars_module._file_name(coordinate))
    group, artifact, version = coordinate.split(":")
    cached = tmp_path.joinpath(f"kafka-{KAFKA_VERSION}", "downloads", *group.split("."), artifact, version, good.name)
    cached.parent.mkdir(parents=True)
    shutil.copyfile(good, cached)  # as if it had just come from there: no network
    monkeypatch.setattr(jars_module, "_TRIES", 1)
    monkeypatch.setattr(jars_module, "listed_jars", lambda: ((coordinate, "0" * 64),))
    with pytest.raises(BrokerError, match="is not the file that was tested"):
        kafka_jars(tmp_path)
    assert not cached.exists()
    shutil.copyfile(good, cached)
    monkeypatch.setattr(jars_module, "listed_jars", lambda: ((coordinate, digest),))
    said: list[str] = []
    (path,) = kafka_jars(tmp_path, say=said.append)
    assert path.read_bytes() == good.read_bytes()
    assert len(said) == 1
    assert kafka_jars(tmp_path, say=said.append) == (path,)
    assert len(said) == 1
