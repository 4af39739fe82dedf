"""What a doctor sees of the log: Kafka with its topics and clock, or the embedded one of the data directory."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from config.errors import BrokerError, NoLog, TidelineError, TopicsDiffer
from config.settings import Settings
from streams.adapters.kafka_arguments import kafka_python
from streams.adapters.kafka_connect import check_connection, clients
from streams.adapters.kafka_copies import CopiesFound, check_copies
from streams.adapters.kafka_topics import TopicFound, check_topics
from streams.adapters.log_folder import LOG_FOLDER, LogFolder, bound_bytes
from streams.runtime.doctor.finding import OFF_BY_S, Finding, judge_clock, ok, warning, wrong

_LOG: Final = logging.getLogger(__name__)
_FULL_SHARE = 0.8


def check_kafka(settings: Settings, *, timeout_s: float) -> Iterator[Finding]:
    """Whether it answers and lets us in, each topic, and its clock. `timeout_s`: for one answer."""
    try:
        check_connection(settings, patience_s=timeout_s)
        yield ok("Kafka", f"{settings.kafka_bootstrap_servers} answers by {settings.kafka_security_protocol}")
        topics = check_topics(settings)
        copies = {found.kind: found for found in check_copies(settings)}
        for topic in topics:
            yield _topic(topic)
            if topic.kind in copies:
                yield from _copies(copies[topic.kind])
        events = next(topic for topic in topics if topic.kind == "events")
        yield _clock(settings, has_events=events.state != "missing")
    except TidelineError as error:
        yield wrong("Kafka", error)


def _topic(topic: TopicFound) -> Finding:
    check = f"topic {topic.kind}"
    if topic.problems:
        return wrong(check, TopicsDiffer("; ".join(f"{topic.name} {words}" for words in topic.problems)))
    return ok(check, f"{topic.name}: {topic.partitions} partitions, {topic.replication} copies")


def _copies(found: CopiesFound) -> Iterator[Finding]:
    check = f"copies of {found.kind}"
    for words in found.failing:
        yield wrong(check, BrokerError(f"{found.name} {words}"))
    for words in found.risks:
        yield warning(check, f"{found.name} {words}")


def _clock(settings: Settings, *, has_events: bool) -> Finding:
    """Kafka wrote its time into the latest event, and its controller tells its own. Raises BrokerError."""
    check = "Kafka's clock"
    latest_ms = _latest_ms(settings) if has_events else -1
    ahead_s = latest_ms / 1000 - time.time()
    if latest_ms >= 0 and ahead_s >= OFF_BY_S:
        return judge_clock(check, "Kafka", ahead_s, BrokerError)
    ahead_of_us_s = _controller_ahead_s(settings)
    if ahead_of_us_s is None:
        words = "no event is from the future; whether the clock is behind could not be asked (that takes the right"
        return ok(check, f"{words} DESCRIBE of the cluster, and a Kafka without ZooKeeper)")
    return judge_clock(check, "Kafka's controller", ahead_of_us_s, BrokerError)


def _latest_ms(settings: Settings) -> int:
    """When Kafka took the latest event, ms since 1970 UTC; -1 without one that can be asked for. Raises BrokerError."""
    kafka = kafka_python()
    topic = settings.topic("events")
    with clients(settings) as arguments, kafka.KafkaAdminClient(**arguments) as admin:
        (described,) = admin.describe_topics([topic])
        led = [each for each in described["partitions"] if each["leader_id"] >= 0]
        places = [kafka.TopicPartition(topic, each["partition_index"]) for each in led]
        if not places:
            return -1
        found: dict[Any, Any] = admin.list_partition_offsets(dict.fromkeys(places, kafka.OffsetSpec.MAX_TIMESTAMP))
    return max(int(each.timestamp) for each in found.values())


def _controller_ahead_s(settings: Settings) -> float | None:
    """How far the clock of Kafka's controller is ahead of ours; None where it cannot be asked. Raises BrokerError.

    Of itself it says that it was up to date just now, by its clock.
    """
    kafka = kafka_python()
    with clients(settings) as arguments, kafka.KafkaAdminClient(**arguments) as admin:
        asked_s = time.time()
        try:
            described = admin.describe_metadata_quorum()
        except kafka.errors.KafkaError as error:
            _LOG.debug("the quorum of controllers was not described: %r", error)
            return None
        answered_s = time.time()
    (quorum,) = described["topics"][0]["partitions"]
    told = {each["replica_id"]: each.get("last_caught_up_timestamp", -1) for each in quorum["current_voters"]}
    told_ms = told.get(quorum["leader_id"], -1)
    return None if told_ms <= 0 else told_ms / 1000 - (asked_s + answered_s) / 2


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
