"""From settings to the arguments of the two Kafka clients: aiokafka for the service, kafka-python for the commands."""

from __future__ import annotations

import ssl
import warnings
from typing import Any

from config.errors import SettingsError
from config.settings import PREFIX, Settings

with warnings.catch_warnings():
    # It reads its own schemas by a function that Python 3.11 deprecated and Python 3.13 took back.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka

__all__ = ["aiokafka_arguments", "kafka_python", "kafka_python_arguments"]


def kafka_python() -> Any:
    """The package kafka-python, imported without its warning."""
    return kafka


def aiokafka_arguments(settings: Settings) -> dict[str, Any]:
    """What `AIOKafkaConsumer` and `AIOKafkaProducer` need to connect. Raises SettingsError for unusable files."""
    found: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "client_id": settings.kafka_client_id,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        found["ssl_context"] = _context(settings)
    if settings.kafka_security_protocol.startswith("SASL_"):
        assert settings.kafka_password is not None, "checked when the settings were made"
        found |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return found


def kafka_python_arguments(settings: Settings, *, patience_s: float = 10.0) -> dict[str, Any]:
    """What kafka-python's clients need to connect; `patience_s`: how long they try. Raises as `aiokafka_arguments`."""
    found = aiokafka_arguments(settings)
    return found | {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "bootstrap_timeout_ms": round(patience_s * 1000),
    }


def _context(settings: Settings) -> ssl.SSLContext:
    """Certificates are always checked, and so is the broker's name."""
    context = ssl.create_default_context()
    if settings.kafka_ca_file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts these and not the system's
        try:
            context.load_verify_locations(settings.kafka_ca_file)
        except (ssl.SSLError, OSError) as error:
            raise _unusable("KAFKA_CA_FILE", "certificates in PEM", error) from error
    if settings.kafka_cert_file is not None:
        secret = settings.kafka_key_password
        # Without a password OpenSSL would ask for one on the terminal.
        password = "" if secret is None else secret.get_secret_value()
        try:
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file, lambda: password)
        except (ssl.SSLError, OSError) as error:
            raise _unusable("KAFKA_CERT_FILE", "a certificate and its private key in PEM", error) from None
    return context


def _unusable(name: str, expected: str, error: OSError) -> SettingsError:
    return SettingsError(f"{PREFIX}{name}: expected {expected} ({error})")
