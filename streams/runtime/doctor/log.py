"""What a doctor sees of the log: Kafka with its topics and clock, or the embedded one of the data directory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.errors import BrokerError, NoLog, TidelineError, TopicsDiffer
from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import check_connection, clients
from streams.adapters.kafka_topics import TopicFound, check_topics
from streams.adapters.log_folder import LOG_FOLDER, LogFolder, bound_bytes
from streams.runtime.doctor.finding import OFF_BY_S, Finding, judge_clock, ok, warning, wrong

_FULL_SHARE = 0.8


def check_kafka(settings: Settings, *, timeout_s: float) -> Iterator[Finding]:
    """Whether it answers and lets us in, each topic, and its clock. `timeout_s`: for one answer."""
    try:
        check_connection(settings, patience_s=timeout_s)
        yield ok("Kafka", f"{settings.kafka_bootstrap_servers} answers by {settings.kafka_security_protocol}")
        topics = check_topics(settings)
        for topic in topics:
            yield _topic(topic)
        events = next(topic for topic in topics if topic.kind == "events")
        if events.state != "missing":
            yield from _clock(settings)
    except TidelineError as error:
        yield wrong("Kafka", error)


def _topic(topic: TopicFound) -> Finding:
    check = f"topic {topic.kind}"
    if topic.problems:
        return wrong(check, TopicsDiffer("; ".join(f"{topic.name} {words}" for words in topic.problems)))
    return ok(check, f"{topic.name}: {topic.partitions} partitions, {topic.replication} copies")


def _clock(settings: Settings) -> Iterator[Finding]:
    """Kafka cannot be asked for its time, but wrote it into the latest event. Raises BrokerError."""
    latest_ms = _latest_ms(settings)
    ahead_s = latest_ms / 1000 - time.time()
    if latest_ms >= 0 and ahead_s >= OFF_BY_S:
        yield judge_clock("Kafka's clock", "Kafka", ahead_s, BrokerError)
    else:
        yield ok("Kafka's clock", "no event is from the future; whether the clock is behind cannot be asked")


def _latest_ms(settings: Settings) -> int:
    """When Kafka took the latest event, ms since 1970 UTC; -1 without one. Raises BrokerError."""
    kafka = kafka_python()
    topic = settings.topic("events")
    with clients(settings) as arguments, kafka.KafkaAdminClient(**arguments) as admin:
        (described,) = admin.describe_topics([topic])
        places = [kafka.TopicPartition(topic, each["partition_index"]) for each in described["partitions"]]
        found: dict[Any, Any] = admin.list_partition_offsets(dict.fromkeys(places, kafka.OffsetSpec.MAX_TIMESTAMP))
    return max(int(each.timestamp) for each in found.values())


def check_embedded_log(settings: Settings) -> Iterator[Finding]:
    """Whether there is one that can be read, with the shards of the settings, and how full it is."""
    try:
        folder = LogFolder.find(settings.data_dir)
    except NoLog:
        yield ok("log", f"{settings.data_dir / LOG_FOLDER} is not there yet; worker, API and `tideline up` make it")
        return
    except TidelineError as error:
        yield wrong("log", error)
        return
    yield ok("log", f"{folder.path} has {folder.shards} partitions")
    bound = bound_bytes(settings)
    for topic in sorted({name for name, _ in folder.all_partitions()}):
        used = _bytes_below(folder.path / topic)
        if used > _FULL_SHARE * bound:
            words = f"{used / 1e9:,.1f} GB of at most {bound / 1e9:g}: older records go soon, before their time. Raise"
            yield warning(f"topic {topic}", f"{words} TIDELINE_LOG_MAX_GB, or keep them for fewer days")


def _bytes_below(folder: Path) -> int:
    """Of all files of a topic. The log goes on being cut while this looks: what is gone then counts nothing."""
    total = 0
    for path in folder.glob("*/*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
