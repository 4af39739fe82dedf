"""Whether the copies of the topics are as they have to be now: leaders, copies in sync, how many a write waits for.

`kafka_topics` says how topics are made; what is told here changes by itself, with every broker that comes and goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.settings import Settings, TopicKind
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import clients
from streams.adapters.kafka_topics import plan_topics, topic_configs

_NAMED = 5
"""So many partitions are named in one sentence."""


@dataclass(frozen=True, slots=True)
class CopiesFound:
    """Of one topic; each sentence goes on behind the topic's name and says what to do."""

    kind: TopicKind
    name: str
    failing: tuple[str, ...]
    """What cannot be read or written now."""
    risks: tuple[str, ...]
    """What may be lost with the next broker that goes, or cannot be written without it."""


def check_copies(settings: Settings) -> tuple[CopiesFound, ...]:
    """Of every topic of the service that there is. Raises BrokerError."""
    plans = {plan.name: plan.kind for plan in plan_topics(settings)}
    with clients(settings) as arguments, kafka_python().KafkaAdminClient(**arguments) as admin:
        known = sorted(set(admin.list_topics()) & plans.keys())
        described = admin.describe_topics(known) if known else []
        configs = topic_configs(admin, known)
    found = {
        topic["name"]: compare_copies(plans[topic["name"]], topic["name"], topic["partitions"], configs[topic["name"]])
        for topic in described
    }
    return tuple(found[name] for name in plans if name in found)


def compare_copies(
    kind: TopicKind, name: str, partitions: Sequence[Mapping[str, Any]], configs: Mapping[str, str]
) -> CopiesFound:
    """Of one topic, as Kafka describes it. Pure."""
    least = int(configs.get("min.insync.replicas", "1"))
    copies = min(len(each["replica_nodes"]) for each in partitions)
    leaderless = [each for each in partitions if each["leader_id"] < 0]
    led = [each for each in partitions if each["leader_id"] >= 0]
    short = [each for each in led if len(each["isr_nodes"]) < least]
    behind = [each for each in led if least <= len(each["isr_nodes"]) < len(each["replica_nodes"])]
    failing, risks = [], []
    if leaderless:
        words = f"has no leader of {_numbers(leaderless)}: nothing of it can be read or written. Start the brokers that"
        failing.append(f"{words} have it ({_brokers(leaderless)})")
    if copies < least:
        words = f"has {_copies(copies)}, and min.insync.replicas={least}: Kafka takes no record, ever. Add copies with"
        failing.append(f"{words} kafka-reassign-partitions.sh, or {_set_least(name, max(1, copies - 1))}")
    elif short:
        words = f"has fewer copies in sync of {_numbers(short)} than min.insync.replicas={least}: Kafka takes no record"
        failing.append(f"{words} there. Start the brokers that have them ({_brokers(short)}), and let them catch up")
    if behind:
        words = (
            f"has copies of {_numbers(behind)} that are not in sync: fewer brokers may fail than is meant. Look after"
        )
        risks.append(f"{words} the brokers that have them ({_brokers(behind)})")
    if copies >= 3 and least == 1:
        words = f"has {_copies(copies)}, and min.insync.replicas=1: what Kafka has taken may be in one copy alone, and"
        risks.append(f"{words} is lost with it. Let it wait for two: {_set_least(name, 2)}")
    if copies > 1 and least == copies:
        words = f"has {_copies(copies)}, and min.insync.replicas={least}: no broker may be away. Add a copy with"
        risks.append(f"{words} kafka-reassign-partitions.sh, or {_set_least(name, copies - 1)}")
    return CopiesFound(kind, name, tuple(failing), tuple(risks))


def _copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number} copies"


def _numbers(partitions: Sequence[Mapping[str, Any]]) -> str:
    numbers = sorted(int(each["partition_index"]) for each in partitions)
    if len(numbers) == 1:
        return f"partition {numbers[0]}"
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"partitions {', '.join(map(str, numbers[:_NAMED]))}{more}"


def _brokers(partitions: Sequence[Mapping[str, Any]]) -> str:
    """Those that have a copy that is not in sync; of a partition without a leader all that have one."""
    missing: set[int] = set()
    for each in partitions:
        in_sync = set(each["isr_nodes"]) if each["leader_id"] >= 0 else set()
        missing |= set(each["replica_nodes"]) - in_sync
    return "broker " + ", ".join(map(str, sorted(missing)))


def _set_least(name: str, least: int) -> str:
    change = f"--add-config min.insync.replicas={least}"
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {name} {change}"
