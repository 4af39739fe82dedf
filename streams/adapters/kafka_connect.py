"""Is there a Kafka, and does it let us in? Asked before the clients, which only say that they have waited too long."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from config.errors import BrokerError, BrokerUnavailable, TidelineError, TopicsDiffer
from config.settings import PREFIX, Settings
from streams.adapters.kafka_arguments import aiokafka_arguments, kafka_python, kafka_python_arguments

_PATIENCE_S: Final = 10.0
_CLOSING_S: Final = 0.05

# The client's own words about what is told in ours.
for _name in ("aiokafka", "kafka"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


def check_connection(settings: Settings, *, patience_s: float = _PATIENCE_S) -> None:
    """Connect to one of the brokers, log in, and ask something.

    Raises BrokerUnavailable (nobody answers), BrokerError (refused: credentials, certificates, another protocol),
    SettingsError (certificate files), each with what to change.
    """
    problems: list[TidelineError] = []
    arguments = aiokafka_arguments(settings)
    for server in settings.kafka_bootstrap_servers.split(","):
        host, _, port = server.rpartition(":")
        problem = asyncio.run(_try(host.strip("[]"), int(port), arguments, settings, patience_s))
        if problem is None:
            return
        problems.append(problem)
    refused = [problem for problem in problems if not isinstance(problem, BrokerUnavailable)]
    raise (refused or problems)[0]


async def _try(
    host: str, port: int, arguments: dict[str, Any], settings: Settings, patience_s: float
) -> TidelineError | None:
    """None, or what is wrong with one broker."""
    from aiokafka.conn import create_conn
    from aiokafka.errors import KafkaError
    from aiokafka.protocol.metadata import MetadataRequest

    options = {name: value for name, value in arguments.items() if name != "bootstrap_servers"}
    connection = None
    try:
        async with asyncio.timeout(patience_s):
            connection = await create_conn(host, port, request_timeout_ms=round(patience_s * 1000), **options)
            await connection.send(MetadataRequest([]))
    except (OSError, KafkaError, TimeoutError) as error:
        # The client has closed its connection, of which it gave us nothing to wait for; TLS needs a moment for it.
        await asyncio.sleep(_CLOSING_S)
        return _problem(f"{host}:{port}", error, settings)
    finally:
        if connection is not None:
            await connection.close()
    return None


def _problem(server: str, error: Exception, settings: Settings) -> TidelineError:
    """What is wrong, in words that say what to do."""
    words = _refusal(error, settings)
    if words is not None:
        return BrokerError(f"Kafka at {server} {words}")
    reason = "no answer in time" if isinstance(error, TimeoutError) and not str(error) else str(error)
    return BrokerUnavailable(
        f"No Kafka answers at {server} ({reason}). Is it running, and is the address right (--kafka, or "
        f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS)?"
    )


def _refusal(error: Exception, settings: Settings) -> str | None:
    """How a broker that is there refuses us; None if nobody is there."""
    from aiokafka.errors import IllegalSaslStateError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

    cause = error.__cause__
    protocol = f"{PREFIX}KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}"
    mechanism = settings.kafka_sasl_mechanism
    words = None
    if isinstance(error, SaslAuthenticationFailed):
        user = settings.kafka_username
        words = (
            f"does not let the user {user!r} in ({mechanism}). Check {PREFIX}KAFKA_USERNAME and {PREFIX}KAFKA_PASSWORD."
        )
    elif isinstance(error, UnsupportedSaslMechanismError):
        words = f"does not take {mechanism}; set another one in {PREFIX}KAFKA_SASL_MECHANISM."
    elif isinstance(error, IllegalSaslStateError):
        words = f"asks for no password, and {protocol} gives one. Change one of them."
    elif isinstance(error, ssl.SSLCertVerificationError):
        words = (
            f"shows a certificate that is not trusted ({error.verify_message}). "
            f"Name the CA's file in {PREFIX}KAFKA_CA_FILE, and the broker as its certificate does."
        )
    elif isinstance(cause, ssl.SSLError):
        words = (
            f"refuses the encrypted connection ({cause.reason}). "
            f"Does it ask for a certificate ({PREFIX}KAFKA_CERT_FILE)?"
        )
    elif isinstance(error, ssl.SSLError | ConnectionResetError) or isinstance(cause, asyncio.IncompleteReadError):
        words = (
            f"ends the connection at once: it expects another protocol than {protocol}. "
            "Set that of its listener: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."
        )
    return words


@contextmanager
def clients(settings: Settings) -> Iterator[dict[str, Any]]:
    """The arguments of kafka-python's clients, once it is certain that they can connect.

    What the clients raise inside comes out as BrokerError. Raises as `check_connection` does, too.
    """
    check_connection(settings)
    try:
        yield kafka_python_arguments(settings)
    except kafka_python().errors.KafkaError as error:
        raise explained(error, settings) from error


def who_may_not_see(settings: Settings) -> str:
    """Why a topic that exists may look as if it did not: Kafka leaves out what a user has no right to describe."""
    return (
        f"the user {settings.kafka_username!r} may not describe it"
        if settings.kafka_username
        else "this client may not describe it"
    )


def no_topic(topic: str, settings: Settings) -> TopicsDiffer:
    """For a topic that Kafka does not list: there is none, or it is not shown to this user."""
    return TopicsDiffer(no_topic_words(topic, settings))


def no_topic_words(topic: str, settings: Settings) -> str:
    """What is told of a topic that Kafka does not list."""
    return (
        f"the topic {topic!r} does not exist, or {who_may_not_see(settings)}. Make it with: tideline "
        "topics --create; or give the right to describe it (docs/kafka.md lists the rights)"
    )


def explained(error: Exception, settings: Settings) -> BrokerError:
    """An error of kafka-python in words that say what to do."""
    errors = kafka_python().errors
    servers = settings.kafka_bootstrap_servers
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return TopicsDiffer(
            f"a topic does not exist at {servers} ({error}), or {who_may_not_see(settings)}. Make it with: "
            "tideline topics --create; or give the right to describe it (docs/kafka.md lists the rights)"
        )
    if isinstance(
        error,
        errors.TopicAuthorizationFailedError
        | errors.ClusterAuthorizationFailedError
        | errors.GroupAuthorizationFailedError,
    ):
        return BrokerError(
            f"Kafka at {servers} does not allow it to the user {settings.kafka_username!r} ({error}). "
            "Give the user the rights (docs/kafka.md lists them)."
        )
    if isinstance(error, errors.MessageSizeTooLargeError | errors.RecordListTooLargeError):
        return BrokerError(
            f"a record is larger than Kafka takes ({error}). Raise max.message.bytes of the topic "
            "(message.max.bytes of the broker), or send less."
        )
    if isinstance(error, errors.KafkaTimeoutError | errors.KafkaConnectionError | errors.NodeNotReadyError):
        return BrokerUnavailable(f"Kafka at {servers} has stopped answering ({error}). Is it running?")
    return BrokerError(f"Kafka at {servers}: {error}")
