"""Settings of one process: where its store and data are, and its keys. The only reader of the environment.

Every setting is an environment variable with the prefix ``TIDELINE_``; docs/settings.md lists them. What the product
should do (predictions, segments, limits) is not here but in the catalog. OpenTelemetry's SDK reads its own variables
(``OTEL_...``) where traces are on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.errors import SettingsError
from config.problems import suggest
from config.store_address import parse_store_address

__all__ = ["PREFIX", "TOPIC_KINDS", "LogFormat", "Settings", "TopicKind", "load_settings"]

TopicKind: TypeAlias = Literal[
    "events", "segment-events", "examples", "models", "dead-letters", "campaign-triggers", "deletions"
]
TOPIC_KINDS: Final[tuple[TopicKind, ...]] = get_args(TopicKind)
LogFormat: TypeAlias = Literal["auto", "json", "text"]

PREFIX = "TIDELINE_"
# Read by the tests only, to point them at servers that run already.
TEST_PREFIX = "TIDELINE_TEST_"
_TOPIC = r"^[a-zA-Z0-9._-]{1,249}$"
_SASL = ("kafka_sasl_mechanism", "kafka_username", "kafka_password")


class Settings(BaseSettings):
    """The values of one process. Make it with ``load_settings``, which turns mistakes into a SettingsError."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    redis_url: str | None = Field(
        default=None,
        repr=False,  # it may hold a password
        description="The store: `redis://`, `rediss://` (TLS), `unix://`, `redis+cluster://` or `redis+sentinel://` "
        "([addresses](redis.md#addresses)). Without it Tideline starts its own Valkey server, with its data below the "
        "data directory.",
    )
    data_dir: Path = Field(
        default=Path(".tideline"), description="Where the embedded server and the files of a run are kept."
    )
    key_prefix: str = Field(
        default="tl",
        pattern=r"^[a-z][a-z0-9_-]{0,31}$",
        description="What every key in Redis begins with; two services in one Redis need two of them.",
    )
    wait_replicas: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Hold every commit back until so many replicas of the server have it, so that a failover forgets "
        "nothing that was published.",
    )
    wait_on_disk: bool = Field(
        default=False,
        description="Count a copy only when it is on disk, there and on the server itself (`WAITAOF` in place of "
        "`WAIT`; Redis 7.2, Valkey 8 or later).",
    )
    wait_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="Seconds to wait for the copies of a commit before it is tried again.",
    )
    shards: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Partitions of the topics by user: the number of shards on Kafka, the same for every process.",
    )
    kafka_bootstrap_servers: str = Field(
        default="localhost:9092",
        description="Brokers of the Kafka to begin with: `host:port`, several with commas between them.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        description="How to talk to Kafka: `SSL` is encrypted, `SASL_PLAINTEXT` has a password, `SASL_SSL` has both, "
        "`PLAINTEXT` neither.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="How the password is shown to Kafka: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`."
    )
    kafka_username: str | None = Field(default=None, description="The user at Kafka, with a SASL protocol.")
    kafka_password: SecretStr | None = Field(default=None, description="The user's password. It is never logged.")
    kafka_ca_file: Path | None = Field(
        default=None,
        description="Certificates (PEM) that vouch for the brokers. Without it those of the system are trusted.",
    )
    kafka_cert_file: Path | None = Field(
        default=None, description="The certificate (PEM) that Tideline shows to the brokers, if they ask for one."
    )
    kafka_key_file: Path | None = Field(default=None, description="The private key (PEM) of that certificate.")
    kafka_key_password: SecretStr | None = Field(default=None, description="What the private key is encrypted with.")
    kafka_client_id: str = Field(
        default="tideline", min_length=1, description="The name under which Kafka's logs and quotas know this process."
    )
    kafka_group: str = Field(
        default="tideline", min_length=1, description="The consumer group of the workers that share the partitions."
    )
    kafka_topic_prefix: str = Field(
        default="tideline.",
        pattern=r"^[a-zA-Z0-9._-]{0,100}$",
        description="What the names of topics begin with that have no name of their own below.",
    )
    kafka_events_topic: str | None = Field(
        default=None, pattern=_TOPIC, description="Topic of the events that are read; else the prefix and `events`."
    )
    kafka_segment_events_topic: str | None = Field(
        default=None,
        pattern=_TOPIC,
        description="Topic of the transitions that go out; else the prefix and `segment-events`.",
    )
    kafka_examples_topic: str | None = Field(
        default=None,
        pattern=_TOPIC,
        description="Topic of labelled examples, from shards to learners; else the prefix and `examples`.",
    )
    kafka_models_topic: str | None = Field(
        default=None,
        pattern=_TOPIC,
        description="Compacted topic of models, from learners to shards; else the prefix and `models`.",
    )
    kafka_dead_letters_topic: str | None = Field(
        default=None,
        pattern=_TOPIC,
        description="Topic of records that could not be used; else the prefix and `dead-letters`.",
    )
    kafka_campaign_triggers_topic: str | None = Field(
        default=None,
        pattern=_TOPIC,
        description="Topic of what campaigns have to send; else the prefix and `campaign-triggers`.",
    )
    kafka_deletions_topic: str | None = Field(
        default=None,
        pattern=_TOPIC,
        description="Compacted topic of who was deleted, as keyed hashes; else the prefix and `deletions`.",
    )
    kafka_replication: int | None = Field(
        default=None,
        ge=1,
        le=10,
        description="Copies of every topic that is created, and the least that are accepted; else as the broker does, "
        "and any number.",
    )
    kafka_retention_hours: int = Field(
        default=168,
        ge=1,
        description="For how long topics keep their records at least; a worker that was away for longer loses events.",
    )
    log_events_days: int = Field(
        default=400,
        ge=1,
        description="For how many days the embedded log keeps events that are scored; new predictions learn from them.",
    )
    log_rest_days: int = Field(
        default=7,
        ge=1,
        description="For how many days it keeps everything else: transitions, dead letters, examples that are learned.",
    )
    log_max_gb: float = Field(
        default=20.0,
        gt=0,
        description="Bound of each topic of the embedded log, in GB. Older records go earlier then; where what is not "
        "scored yet fills it alone, events are refused.",
    )
    log_format: LogFormat = Field(
        default="auto",
        description="How a worker, the API, deliveries and campaigns log to standard error: `json` (an object a line), "
        "`text`, or `auto`: text on a terminal and into a file, JSON into a pipe, as a container's is.",
    )
    traces: Literal["off", "otlp"] = Field(
        default="off",
        description="OpenTelemetry traces of a worker, the API, deliveries and campaigns "
        "([traces](operations.md#traces)): `otlp` sends them over HTTP to where OpenTelemetry's own variables say "
        "(`OTEL_EXPORTER_OTLP_ENDPOINT`, else `http://localhost:4318`). Needs the extra `traces`, which the image has.",
    )
    traces_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the requests to the API without a `traceparent` that begin a trace. Those with one are "
        "traced if it says so.",
    )
    web_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address at which a worker shows `/healthz`, `/readyz` and `/metrics`; `0.0.0.0` in a container.",
    )
    web_port: int = Field(default=6066, ge=1, le=65_535, description="The port of that.")
    ready_lag: int = Field(
        default=10_000,
        ge=0,
        description="A worker is ready (`/readyz`) when at most so many records of its partitions are unread.",
    )
    api_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address at which `tideline api` listens; `0.0.0.0` in a container.",
    )
    api_port: int = Field(default=8080, ge=1, le=65_535, description="The port of that.")
    api_log: Literal["embedded", "kafka"] = Field(
        default="embedded",
        description="Where the API puts events: the embedded log of the data directory, or Kafka's events topic.",
    )
    api_cors_origins: str | None = Field(
        default=None,
        description="Origins (`https://shop.example`, several with commas between them) whose pages may call the API "
        "from a browser; without any, none may.",
    )
    api_rate_per_s: float = Field(
        default=1_000.0, gt=0, description="Requests a second that the API takes with one key, per process."
    )
    api_rate_burst: int = Field(default=2_000, ge=1, description="Requests that it takes with one key at once.")
    api_event_bytes: int = Field(
        default=32_768,
        ge=1_024,
        le=1_000_000,
        description="Largest single event of the API, unpacked; Segment's own bound. The catalog's "
        "`limits.property_bytes` bounds what is scored.",
    )
    api_batch_bytes: int = Field(
        default=512_000, ge=1_024, le=64_000_000, description="Largest batch of the API, unpacked; Segment's own bound."
    )
    api_in_flight_mb: int = Field(
        default=64,
        ge=1,
        description="Bodies that one API process holds at the same time, in MB. What comes above is told to come again "
        "(503).",
    )
    api_streams: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Streams of transitions (`GET /v1/stream`) that one API process serves at the same time.",
    )
    api_history: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Changes of definitions that are remembered, with what was there before and after.",
    )
    api_url: str = Field(
        default="http://127.0.0.1:8080",
        pattern=r"^https?://[^\s/]",
        description="Where commands that talk to a running service find its API.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="The key that such commands use (`tideline keys create`). It is never logged."
    )
    webhooks_port: int = Field(
        default=6067,
        ge=1,
        le=65_535,
        description="The port at which `tideline deliver` shows `/healthz`, `/readyz` and `/metrics`, at the address "
        "of a worker's.",
    )
    campaigns_port: int = Field(
        default=6068,
        ge=1,
        le=65_535,
        description="The port at which `tideline campaigns` shows `/healthz`, `/readyz` and `/metrics`, at the address "
        "of a worker's.",
    )
    webhooks_private: bool = Field(
        default=False,
        description="Webhooks may go to private addresses, and by plain `http`. Whoever may make one can then make "
        "this machine talk to what only it can reach.",
    )
    webhooks_timeout_s: float = Field(
        default=10.0, gt=0, le=60, description="Seconds that the receiver of a webhook has for its answer."
    )
    webhooks_attempts: int = Field(
        default=15,
        ge=1,
        le=100,
        description="A webhook that has failed so often is a dead letter. With 15 that is after three to four hours.",
    )
    api_scan_s: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="Seconds that the API may take to look at all users for one answer (estimates, distributions).",
    )
    signing_key: SecretStr | None = Field(
        default=None,
        description="Signs snapshots of river models that are stored as pickles (32 characters or more). Without it "
        "only models that are stored as plain numbers can be used.",
    )

    deletion_key: SecretStr | None = Field(
        default=None,
        description="Under it deleted users are remembered, as keyed hashes (32 characters or more). All workers and "
        "APIs of a service have the same, for good: it cannot be rotated, and under another one nobody is known again, "
        "so that is refused. Where the log or the store is in the data directory it may be left out: one is made in "
        "`deletion.key` there, to be kept as well as the log. Where both are elsewhere (Kafka) it has to be set. It is "
        "never logged.",
    )

    @field_validator("redis_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_store_address(value)
            except ValueError as error:
                raise PydanticCustomError("url", "{expected}", {"expected": str(error)}) from None
        return value

    @field_validator("api_cors_origins")
    @classmethod
    def _origins(cls, value: str | None) -> str | None:
        origins = [origin.strip() for origin in (value or "").split(",") if origin.strip()]
        for origin in origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or not parts.netloc
                or parts.geturl() != f"{parts.scheme}://{parts.netloc}"
            ):
                raise PydanticCustomError("origins", "origins such as https://shop.example, with commas between them")
        return ",".join(origins) or None

    @field_validator("signing_key", "deletion_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise PydanticCustomError("key", "a key of at least 32 characters, made by `openssl rand -hex 32`, say")
        return value

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _servers(cls, value: str) -> str:
        for server in value.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65_536:
                raise PydanticCustomError("servers", "host:port, several with commas between them")
        return ",".join(server.strip() for server in value.split(","))

    def topic(self, kind: TopicKind) -> str:
        """The name of a topic: its own, or the prefix and its kind."""
        own: str | None = getattr(self, f"kafka_{kind.replace('-', '_')}_topic")
        return own if own is not None else self.kafka_topic_prefix + kind

    def to_json(self) -> bytes:
        """For a process of our own, which gets its settings with `load_settings(**...)`: passwords stand in it."""
        values = self.model_dump(mode="python")
        plain = {n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in values.items()}
        return json.dumps(plain, default=str).encode()


def _kafka_problems(settings: Settings) -> list[str]:
    """What is wrong with the settings of Kafka taken together."""
    problems = []
    protocol = settings.kafka_security_protocol
    named = f"{PREFIX}KAFKA_SECURITY_PROTOCOL"
    given = [name for name in _SASL if getattr(settings, name) is not None]
    if protocol.startswith("SASL_"):
        missing = [name for name in _SASL if name not in given]
        problems += [f"{PREFIX}{name.upper()}: is needed with {named}={protocol}" for name in missing]
    else:
        problems += [
            f"{PREFIX}{name.upper()}: is not used with {named}={protocol}; set SASL_SSL or SASL_PLAINTEXT"
            for name in given
        ]
    for name in ("kafka_ca_file", "kafka_cert_file", "kafka_key_file"):
        path: Path | None = getattr(settings, name)
        if path is None:
            continue
        if not protocol.endswith("SSL"):
            problems.append(f"{PREFIX}{name.upper()}: is not used with {named}={protocol}; set SSL or SASL_SSL")
        elif not path.is_file():
            problems.append(f"{PREFIX}{name.upper()}: there is no file {path}")
    if settings.kafka_key_file is not None and settings.kafka_cert_file is None:
        problems.append(f"{PREFIX}KAFKA_CERT_FILE: is needed with {PREFIX}KAFKA_KEY_FILE")
    topics = [settings.topic(kind) for kind in TOPIC_KINDS]
    twice = sorted({topic for topic in topics if topics.count(topic) > 1})
    problems += [f"{PREFIX}KAFKA_..._TOPIC: two kinds of records cannot share the topic {name!r}" for name in twice]
    return problems


OPTIONS: Final = {
    "kafka_bootstrap_servers": "--kafka",
    "redis_url": "--store",
    "data_dir": "--data-dir",
    "shards": "--shards",
    "api_url": "--api",
    "api_key": "--key",
}
"""setting -> the option that overrides it, where it is the same for all commands."""


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment; ``overrides`` (values of the command line, None: not given) win.

    Raises SettingsError, with the names of the variables (or of the options that were used) and never their values, for
    a value that cannot be used and for a variable with the prefix that is no setting.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    problems = [
        f"{name} is not a setting{suggest(name, known)}"
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX) and name.upper() not in known and not name.startswith(TEST_PREFIX)
    ]
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        given = {name for name, value in overrides.items() if value is not None}
        problems += [_words(str(detail["loc"][0]), detail["msg"], given) for detail in error.errors(include_url=False)]
        raise SettingsError("\n".join(problems)) from None  # the cause could show a secret
    problems += _kafka_problems(settings)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _words(name: str, message: str, given: Container[str]) -> str:
    """`given`: what came from the command line; there it has another name."""
    place = OPTIONS[name] if name in given and name in OPTIONS else PREFIX + name.upper()
    return f"{place}: expected {message.removeprefix('Input should be ').removeprefix('Value should ')}"
