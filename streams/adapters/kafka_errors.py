"""Errors of aiokafka in words that say what to do."""

from __future__ import annotations

from aiokafka import errors

from config.errors import BrokerError, BrokerUnavailable
from config.settings import Settings
from streams.adapters.client_errors import CLIENT_ERRORS
from streams.adapters.kafka_connect import who_may_not_see

_NO_RIGHTS = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
)
_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError, errors.RecordTooLargeError)


def explained(error: errors.KafkaError, settings: Settings) -> BrokerError:
    """BrokerUnavailable where a later attempt may do, else BrokerError; it is counted."""
    told = _told(error, settings)
    CLIENT_ERRORS.note("kafka", told)
    return told


def _told(error: errors.KafkaError, settings: Settings) -> BrokerError:
    servers = settings.kafka_bootstrap_servers
    if isinstance(error, _NO_RIGHTS):
        return BrokerError(
            f"Kafka at {servers} does not allow it to the user {settings.kafka_username!r} ({error!r}). "
            "Give the user the rights (docs/kafka.md lists them)."
        )
    if isinstance(error, _TOO_LARGE):
        return BrokerError(
            f"Kafka at {servers}: a record is too large ({error!r}). Check max.message.bytes: tideline topics"
        )
    # A client that gets no metadata for a while says the same as one whose topic does not exist.
    if isinstance(error, errors.UnknownTopicOrPartitionError):
        return BrokerUnavailable(
            f"Kafka at {servers} does not answer, or a topic does not exist ({error!r}), or "
            f"{who_may_not_see(settings)}. Is it running? Check the topics: tideline topics; the rights are listed in "
            "docs/kafka.md"
        )
    return BrokerUnavailable(
        f"Kafka at {servers} does not answer, or refuses ({error!r}). Is it running? Starting again is safe."
    )
