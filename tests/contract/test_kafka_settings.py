"""Kafka's settings: what is refused, that both clients take what is made of them, and partition as shards do."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from config.errors import SettingsError
from config.settings import Settings, load_settings
from streams.adapters.kafka_arguments import aiokafka_arguments, kafka_python, kafka_python_arguments
from streams.core.partition import shard_of
from tests.integration.kafka_world import Certificates

SECRET = "hunter2-and-more"
LOGIN: dict[str, Any] = {"kafka_username": "ann", "kafka_password": SECRET}
WAYS: dict[str, dict[str, Any]] = {
    "plaintext": {},
    "ssl": {"kafka_security_protocol": "SSL"},
    "plain": LOGIN | {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN"},
    "scram256": LOGIN | {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "SCRAM-SHA-256"},
    "scram512": LOGIN | {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "SCRAM-SHA-512"},
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def _made(arguments: dict[str, Any]) -> None:
    producer = AIOKafkaProducer(**arguments)
    await producer.stop()


@pytest.mark.parametrize("way", WAYS)
def test_both_clients_take_the_arguments(way: str) -> None:
    settings = load_settings(kafka_bootstrap_servers="a:1, b:2", **WAYS[way])
    assert settings.kafka_bootstrap_servers == "a:1,b:2"
    asyncio.run(_made(aiokafka_arguments(settings)))
    kafka, arguments = kafka_python(), kafka_python_arguments(settings)
    for client in (kafka.KafkaProducer, kafka.KafkaConsumer, kafka.KafkaAdminClient):
        assert set(arguments) <= set(client.DEFAULT_CONFIG)
    if "SSL" in settings.kafka_security_protocol:
        assert arguments["ssl_context"].verify_mode is ssl.CERT_REQUIRED
        assert arguments["ssl_context"].check_hostname


def test_certificates_are_loaded_and_broken_files_are_told(certificates: Certificates, tmp_path: Path) -> None:
    certificate, key = certificates.make("client")
    files: dict[str, Any] = {
        "kafka_security_protocol": "SSL",
        "kafka_ca_file": certificates.ca,
        "kafka_cert_file": certificate,
        "kafka_key_file": key,
    }
    context = aiokafka_arguments(load_settings(**files))["ssl_context"]
    assert context.cert_store_stats()["x509_ca"] == 1, "only the CA that is named is trusted"
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for name in ("kafka_ca_file", "kafka_cert_file", "kafka_key_file"):
        with pytest.raises(SettingsError, match=r"TIDELINE_KAFKA_C[A-Z]+_FILE: expected a? ?certificate"):
            aiokafka_arguments(load_settings(**files | {name: broken}))


@pytest.mark.parametrize(
    ("values", "variable", "expected"),
    [
        ({"kafka_bootstrap_servers": "localhost"}, "KAFKA_BOOTSTRAP_SERVERS", "host:port"),
        ({"kafka_bootstrap_servers": "http://a:1"}, "KAFKA_BOOTSTRAP_SERVERS", "host:port"),
        ({"kafka_bootstrap_servers": "a:1,b:99999"}, "KAFKA_BOOTSTRAP_SERVERS", "host:port"),
        ({"kafka_security_protocol": "TLS"}, "KAFKA_SECURITY_PROTOCOL", "'SASL_SSL'"),
        ({"kafka_security_protocol": "SASL_SSL"}, "KAFKA_PASSWORD", "is needed with"),
        (LOGIN, "KAFKA_PASSWORD", "is not used with TIDELINE_KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
        ({"kafka_ca_file": "/nowhere"}, "KAFKA_CA_FILE", "is not used with"),
        ({"kafka_ca_file": "/nowhere", "kafka_security_protocol": "SSL"}, "KAFKA_CA_FILE", "there is no file"),
        ({"kafka_topic_prefix": "a b"}, "KAFKA_TOPIC_PREFIX", "match pattern"),
        ({"kafka_events_topic": "tideline.models"}, "KAFKA_..._TOPIC", "'tideline.models'"),
        ({"kafka_replication": 0}, "KAFKA_REPLICATION", "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused_by_name_and_without_secrets(
    values: dict[str, Any], variable: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**values)
    name = "--kafka" if "kafka_bootstrap_servers" in values else f"TIDELINE_{variable}"  # the option that gives it
    assert f"{name}: " in str(caught.value)
    assert expected in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_password_is_never_shown() -> None:
    settings = load_settings(**WAYS["plain"])
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()
    assert aiokafka_arguments(settings)["sasl_plain_password"] == SECRET


def test_names_of_topics_are_the_prefix_and_the_kind_or_their_own() -> None:
    settings = load_settings(kafka_topic_prefix="shop-", kafka_events_topic="clicks")
    assert settings.topic("events") == "clicks"
    assert settings.topic("segment-events") == "shop-segment-events"
    assert Settings().topic("models") == "tideline.models"


class _Cluster:
    """As much of kafka-python's picture of a cluster as its partitioner looks at."""

    def __init__(self, partitions: int) -> None:
        self._partitions = set(range(partitions))

    def topics(self) -> set[str]:
        return {"t"}

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return self._partitions

    available_partitions_for_topic = partitions_for_topic


@given(st.text(max_size=60), st.integers(1, 300))
def test_both_clients_send_a_user_to_its_shard(user: str, shards: int) -> None:
    try:
        key = user.encode()
    except UnicodeEncodeError:  # half a surrogate: no user of an event
        return
    every = list(range(shards))
    assert DefaultPartitioner()(key, every, every) == shard_of(user, shards)
    default = kafka_python().KafkaProducer.DEFAULT_CONFIG["partitioner"]
    assert default.partition("t", user, key, None, None, _Cluster(shards)) == shard_of(user, shards)
