"""The topics of the service: what they have to be like, what they are like, and making those that are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from config.errors import TopicsDiffer
from config.settings import PREFIX, TOPIC_KINDS, Settings, TopicKind
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients, who_may_not_see

EXAMPLES_PARTITIONS: Final = 8
"""The examples of a prediction are in one of the first so many; so many learners can work at the same time."""

PINNED: Final[dict[str, int]] = {"examples": EXAMPLES_PARTITIONS, "models": 1, "deletions": 1}
"""Kinds whose records go into the first so many partitions, also when somebody adds some: who reads them, and what was
read, belongs to their numbers."""

LARGE_RECORD_BYTES: Final = 8 << 20
"""Snapshots and chunks of examples are larger than Kafka's usual bound of 1 MiB."""

BATCH_BYTES: Final = 512 << 10
"""Of records that go out together; a topic bounds whole batches. Half of what topics take unless somebody says less."""
LIKE_EVENTS: Final = ("segment-events", "campaign-triggers")
"""Kinds with as many partitions as the events: each shard writes into its own."""
BY_USER: Final = ("events", *LIKE_EVENTS)
"""Kinds whose records go into the partition of the user's shard, also when somebody adds some."""
COMPACTED: Final = ("models", "deletions")
"""Kinds of which the last record of every key is kept, whatever its age."""

State = Literal["ok", "created", "missing", "differs"]


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What a topic has to be like. `retention_ms` is None for a compacted topic; `replication` None: any."""

    kind: TopicKind
    name: str
    partitions: int
    retention_ms: int | None
    replication: int | None
    min_batch_bytes: int = BATCH_BYTES
    by_log_time: bool = False
    """Records carry the time at which Kafka took them, whatever their producer says."""

    @property
    def configs(self) -> dict[str, str]:
        """With what it is created."""
        found = (
            {"cleanup.policy": "compact"}
            if self.retention_ms is None
            else {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        )
        if self.min_batch_bytes > BATCH_BYTES:
            found["max.message.bytes"] = str(self.min_batch_bytes)
        if self.by_log_time:
            found["message.timestamp.type"] = "LogAppendTime"
        if self.replication is not None and self.replication >= 3:
            found["min.insync.replicas"] = "2"  # acks=all means two copies, and one broker may be away
        return found


@dataclass(frozen=True, slots=True)
class TopicFound:
    """What a topic is like, and in `problems` what is wrong with it, each with what to do."""

    kind: TopicKind
    name: str
    state: State
    partitions: int | None = None
    replication: int | None = None
    retention_ms: int | None = None
    cleanup: str | None = None
    problems: tuple[str, ...] = field(default=())


def plan_topics(settings: Settings) -> tuple[TopicPlan, ...]:
    """What every topic has to be like under these settings."""
    retention_ms = settings.kafka_retention_hours * 3_600_000
    partitions = {**PINNED, "dead-letters": 1}
    return tuple(
        TopicPlan(
            kind,
            settings.topic(kind),
            partitions.get(kind, settings.shards),
            None if kind in COMPACTED else retention_ms,
            settings.kafka_replication,
            LARGE_RECORD_BYTES if kind in ("models", "examples") else BATCH_BYTES,
            kind == "events",
        )
        for kind in TOPIC_KINDS
    )


def check_topics(settings: Settings, *, create: bool = False) -> tuple[TopicFound, ...]:
    """Every topic as it is; with `create` those that are missing are made. What exists is never changed.

    Raises BrokerError: no Kafka, no rights, or it refuses to make a topic (with its reason).
    """
    plans = plan_topics(settings)
    with clients(settings) as arguments, kafka_python().KafkaAdminClient(**arguments) as admin:
        known = set(admin.list_topics())
        plans = _in_step_with_the_events(plans, admin, known)
        missing = [plan for plan in plans if plan.name not in known]
        if create and missing:
            _create(admin, missing)
            known |= {plan.name for plan in missing}
        described = {
            topic["name"]: topic for topic in admin.describe_topics([p.name for p in plans if p.name in known])
        }
        configs = topic_configs(admin, sorted(described))
    made = {plan.name for plan in missing} if create else set()
    unseen = f"does not exist, or {who_may_not_see(settings)}"
    return tuple(
        _compare(plan, described[plan.name], configs.get(plan.name, {}), made)
        if plan.name in described
        else _missing(plan, unseen)
        for plan in plans
    )


def _in_step_with_the_events(plans: tuple[TopicPlan, ...], admin: Any, known: set[str]) -> tuple[TopicPlan, ...]:
    """What is cut as the events are follows the events that are there: where their number is not the one that is set,
    the setting is wrong, and nothing must be made or grown to it.
    """
    events = next(plan for plan in plans if plan.kind == "events")
    if events.name not in known:
        return plans
    found = len(admin.describe_topics([events.name])[0]["partitions"])
    return tuple(replace(plan, partitions=found) if plan.kind in LIKE_EVENTS else plan for plan in plans)


def require_topics(settings: Settings, *, create: bool = False) -> None:
    """Raises TopicsDiffer with everything that is wrong, and as `check_topics` does."""
    problems = [f"{topic.name} {words}" for topic in check_topics(settings, create=create) for words in topic.problems]
    if problems:
        raise TopicsDiffer("\n".join(["the topics are not as they have to be:", *(f"  {line}" for line in problems)]))


def _create(admin: Any, plans: Sequence[TopicPlan]) -> None:
    wanted = {
        plan.name: {
            "num_partitions": plan.partitions,
            "replication_factor": -1 if plan.replication is None else plan.replication,
            "configs": plan.configs,
        }
        for plan in plans
    }
    admin.create_topics(wanted, wait_for_metadata=True)


def topic_configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of every topic, its settings as text, with those of the brokers that hold for it."""
    from kafka.admin import ConfigResource, ConfigResourceType

    if not names:
        return {}
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found = admin.describe_configs(wanted, config_filter="all").get("topic", {})
    return {name: {key: str(entry["value"]) for key, entry in entries.items()} for name, entries in found.items()}


def _missing(plan: TopicPlan, unseen: str) -> TopicFound:
    """`unseen`: why Kafka may not have listed it."""
    words = f"{unseen}. Make it with: tideline topics --create ({plan.partitions} partitions)"
    return TopicFound(plan.kind, plan.name, "missing", problems=(words,))


def _compare(plan: TopicPlan, described: Mapping[str, Any], configs: Mapping[str, str], made: set[str]) -> TopicFound:
    partitions = described["partitions"]
    replication = min(len(partition["replica_nodes"]) for partition in partitions)
    cleanup = configs.get("cleanup.policy", "")
    retention_ms = int(configs["retention.ms"]) if "retention.ms" in configs else None
    problems = [
        *partition_problems(plan.kind, plan.name, plan.partitions, len(partitions)),
        *_replication_problems(plan, replication),
        *_cleanup_problems(plan, cleanup, retention_ms),
        *_size_problems(plan, configs),
        *_time_problems(plan, configs),
    ]
    if cleanup == "compact":
        retention_ms = -1  # what Kafka says beside it is not applied
    state: State = "differs" if problems else "created" if plan.name in made else "ok"
    return TopicFound(plan.kind, plan.name, state, len(partitions), replication, retention_ms, cleanup, tuple(problems))


def partition_problems(kind: TopicKind, name: str, wanted: int, found: int) -> list[str]:
    """What is wrong with a number of partitions, and what to do; empty for nothing."""
    if found == wanted:
        return []
    words = f"has {found} partitions, and {wanted} are wanted"
    if kind == "events":
        words += f": one for each shard. Before there is state, set {PREFIX}SHARDS={found} (or --shards {found}). Once "
        words += f"there is, the number never changes: copy the events into a new topic of {wanted} partitions, name "
        words += f"it in {PREFIX}KAFKA_EVENTS_TOPIC, and begin with a new store (docs/kafka.md, Topics)"
    elif found > wanted:
        return []  # more do no harm: nothing depends on the number, or they stay empty (transitions, PINNED)
    else:
        words += f". Add some: kafka-topics.sh --alter --topic {name} --partitions {wanted}; or without Kafka's own "
        words += f"programs: python -m kafka.admin -b HOST:PORT partitions create -p {name}:{wanted}"
    return [words]


def _replication_problems(plan: TopicPlan, found: int) -> list[str]:
    if plan.replication is None or found >= plan.replication:
        return []
    words = f"has {found} {'copy' if found == 1 else 'copies'}, and {plan.replication} are wanted. Add some with "
    words += f"kafka-reassign-partitions.sh, or set {PREFIX}KAFKA_REPLICATION={found} and accept what a dead broker "
    return [words + "takes away"]


def _cleanup_problems(plan: TopicPlan, cleanup: str, retention_ms: int | None) -> list[str]:
    wanted = "compact" if plan.retention_ms is None else "delete"
    if cleanup != wanted:
        why = f"{plan.kind} would be lost by age" if wanted == "compact" else "records of one key would be dropped"
        change = _alter_config(plan, f"cleanup.policy={wanted}")
        return [f"has cleanup.policy={cleanup}, and must have {wanted}: {why}. {change}"]
    if plan.retention_ms is None or retention_ms is None or retention_ms == -1 or retention_ms >= plan.retention_ms:
        return []
    words = f"keeps records for {retention_ms / 3_600_000:g} hours, and {plan.retention_ms // 3_600_000} are wanted: "
    words += f"a worker that is away for longer loses some. {_alter_config(plan, f'retention.ms={plan.retention_ms}')}"
    return [f"{words}, or set {PREFIX}KAFKA_RETENTION_HOURS"]


def _size_problems(plan: TopicPlan, configs: Mapping[str, str]) -> list[str]:
    found = configs.get("max.message.bytes")
    if found is None or int(found) >= plan.min_batch_bytes:
        return []
    change = _alter_config(plan, f"max.message.bytes={plan.min_batch_bytes}")
    words = "a record" if plan.min_batch_bytes > BATCH_BYTES else "records that go out together"
    return [f"takes up to {int(found):,} bytes at once, and {words} may be {plan.min_batch_bytes:,} long. {change}"]


def _time_problems(plan: TopicPlan, configs: Mapping[str, str]) -> list[str]:
    found = configs.get("message.timestamp.type", "LogAppendTime")
    if not plan.by_log_time or found == "LogAppendTime":
        return []
    words = f"has message.timestamp.type={found}, and must have LogAppendTime: time goes on from when Kafka took the "
    return [f"{words}last record. {_alter_config(plan, 'message.timestamp.type=LogAppendTime')}"]


def _alter_config(plan: TopicPlan, change: str) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {plan.name} --add-config {change}"
