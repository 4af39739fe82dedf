"""A real Kafka for tests: one broker for all that only need topics of their own.

With `TIDELINE_TEST_KAFKA=host:port` the Kafka there is used; what needs listeners with security is left out then.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.settings import PREFIX, Settings, load_settings
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.kafka_server import QUICK_JVM, EmbeddedKafka
from tests.conftest import missing

USER, PASSWORD = "ann", 'se"cret\\wörd'
LISTENERS = {"PLAINTEXT": "PLAINTEXT", "LOGIN": "SASL_PLAINTEXT", "SECURE": "SSL", "BOTH": "SASL_SSL"}
# Once for all test runs of a machine: 45 MB, and checked against their digests when they were downloaded.
CACHE = Path("~/.cache/tideline").expanduser()


@dataclass
class Certificates:
    """A CA, a broker's and a client's certificate in a folder."""

    folder: Path
    ca: Path = field(init=False)

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        self.ca = self.folder / "ca.pem"
        self.ca.write_bytes(_pem(self._signed(self._name, self._key, is_ca=True)))

    def make(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate and of its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(_pem(self._signed(subject, key, is_ca=False)))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        private.write_bytes(key.private_bytes(*form))
        return certificate, private

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address, x509.DNSName("localhost")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def secured(certificates: Certificates) -> dict[str, str]:
    """What `server.properties` says about the listeners."""
    certificate, key = certificates.make("broker")
    store = certificates.folder / "broker-store.pem"
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    tls = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
    }
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    properties = {"listener.name.secure.ssl.client.auth": "required"}
    for name in ("secure", "both"):
        properties |= {f"listener.name.{name}.{key}": value for key, value in tls.items()}
    for name in ("login", "both"):
        properties |= {
            f"listener.name.{name}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            f"listener.name.{name}.plain.sasl.jaas.config": f"{plain} user_{USER}={_quoted(PASSWORD)};",
            f"listener.name.{name}.scram-sha-256.sasl.jaas.config": scram,
            f"listener.name.{name}.scram-sha-512.sasl.jaas.config": scram,
        }
    return properties


@dataclass
class KafkaWorld:
    """A running Kafka. `server` and `certificates` are None where it is not ours."""

    bootstrap: str
    server: EmbeddedKafka | None = None
    certificates: Certificates | None = None

    def settings(self, **others: Any) -> Settings:
        """Settings for it, with topics and a group that nobody else has."""
        own = f"t{secrets.token_hex(4)}."
        found = {"kafka_bootstrap_servers": self.bootstrap, "kafka_topic_prefix": own, "kafka_group": own}
        found["deletion_key"] = own * 4
        return load_settings(**found | others)

    def listener(self, name: str) -> str:
        """The address of a listener of `LISTENERS`; the test is left out where the Kafka is not ours."""
        if self.server is None:
            missing("a Kafka with security", "leave TIDELINE_TEST_KAFKA away")
        return self.server.address(name)

    def admin(self, settings: Settings | None = None) -> Any:
        """kafka-python's client for administration; close it."""
        return kafka_python().KafkaAdminClient(**kafka_python_arguments(settings or self.settings()))


def start_world(folder: Path) -> KafkaWorld:
    """The Kafka of `TIDELINE_TEST_KAFKA`, or one of our own with every kind of listener."""
    given = os.environ.get("TIDELINE_TEST_KAFKA")
    if given:
        return KafkaWorld(given)
    certificates = Certificates(folder)
    properties = secured(certificates) | {"message.max.bytes": "2000000"}
    server = EmbeddedKafka(folder / "kafka", cache_dir=CACHE, listeners=LISTENERS, properties=properties, jvm=QUICK_JVM)
    world = KafkaWorld(server.start(), server, certificates)
    with world.admin() as admin:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            user = kafka_python().admin.UserScramCredentialUpsertion(USER, mechanism, PASSWORD)
            assert admin.alter_user_scram_credentials([user]) == {USER: None}
    return world


def into_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of this process see these settings of Kafka."""
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if name.startswith("kafka_") and value is not None:
            text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            monkeypatch.setenv(PREFIX + name.upper(), text)
