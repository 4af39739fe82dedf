"""Filters over a running service equal brute force over its log: events come, windows pass, users go, edits are made.

One table of filters, on the embedded runtime and on a real Kafka with three workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from config.settings import Settings, load_settings
from streams.adapters.valkey_server import EmbeddedValkey
from streams.simulate.drills import Shares
from streams.simulate.run import Plan
from tests.integration.definitions_world import define_all, members, told_once
from tests.integration.filters_world import (
    AHEAD_S,
    EDITS,
    FILTERS,
    LIKELY,
    Histories,
    behind,
    definition,
    deletions,
    parsed,
    ticks,
)
from tests.integration.kafka_world import KafkaWorld
from tests.integration.simulate_world import simulated
from tests.integration.test_embedded_worker import SHARDS as EMBEDDED_SHARDS
from tests.integration.test_embedded_worker import EmbeddedWorld
from tests.integration.worker_evidence import Logged, read_topic
from tests.integration.worker_world import START_MS, Producer, Sent, WorkerProcess, WorkerWorld, await_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KAFKA_SHARDS = 6
WORKERS = 3
DAY_S = 86_400.0
ARCHIVED = "paying"


class Service(Protocol):
    """A runtime with its workers."""

    settings: Settings
    store: Any

    def begin(self) -> None: ...

    def send(self, records: Sequence[Sent]) -> None:
        """And wait until all of it is worked."""

    def log(self, kind: Any) -> list[list[Logged]]: ...

    def watched(self) -> list[WorkerProcess]: ...

    def end(self) -> None: ...


class Embedded(EmbeddedWorld):
    """One worker on the embedded log."""

    def begin(self) -> None:
        self.start_working()

    def send(self, records: Sequence[Sent]) -> None:
        self.acknowledged = 0  # these are others than the last ones
        self.produce(records)
        self.await_end(self.processes[0])

    def log(self, kind: Any) -> list[list[Logged]]:
        return self.read(kind)

    def watched(self) -> list[WorkerProcess]:
        return self.processes

    def end(self) -> None:
        self.processes[0].stop()


class OnKafka(WorkerWorld):
    """Three workers share the partitions."""

    def begin(self) -> None:
        self.make_topics()
        workers = [self.start(f"worker-{n}") for n in range(WORKERS)]

        def share() -> bool:
            return all(worker.is_working() and len(worker.health()["assigned"]) == 2 for worker in workers)

        await_until(share, "all workers have partitions", seconds=240.0, watched=workers)

    def send(self, records: Sequence[Sent]) -> None:
        producer = Producer(self.settings, records)
        producer.start()
        producer.finish(seconds=120)
        self.await_end(seconds=240)

    def log(self, kind: Any) -> list[list[Logged]]:
        return read_topic(self.settings, kind)

    def watched(self) -> list[WorkerProcess]:
        return list(self.workers.values())

    def end(self) -> None:
        for worker in self.workers.values():
            worker.stop()


@pytest.fixture(params=["embedded", "kafka"])
def service(request: pytest.FixtureRequest, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Service]:
    if request.param == "embedded":
        embedded = Embedded(load_settings(redis_url=valkey.url, shards=EMBEDDED_SHARDS), tmp_path)
        yield embedded
        embedded.close()
        return
    kafka: KafkaWorld = request.getfixturevalue("kafka_world")
    on_kafka = OnKafka(kafka.settings(redis_url=valkey.url, shards=KAFKA_SHARDS), tmp_path)
    on_kafka.store.flushall()
    yield on_kafka
    on_kafka.close()


def test_every_filter_holds_for_whom_the_whole_log_says(service: Service) -> None:
    # None is late: a user whose event is, is judged as of then, and again at the next look (docs/core.md, Moment).
    shares = Shares(duplicates=0.03, bad=0.01)
    traffic = simulated(Plan(users=260, days=20, start_ms=START_MS, seed=3, shares=shares, arrive_days=5))
    service.begin()
    first, second = len(traffic) // 3, 2 * len(traffic) // 3
    current = dict(FILTERS)
    service.send(traffic[:first])
    define_all(service, {id_: definition(id_, filter_) for id_, filter_ in current.items()})
    at_s = check(service, current, "made", quiet_s=0.0)
    service.send(behind(traffic[first:second], at_s + AHEAD_S))
    at_s = check(service, current, "as events come", quiet_s=0.0)
    gone = sorted(members(service, "lately"))[::3] + sorted(members(service, "never"))[::9]
    service.send(deletions(gone, at_s + AHEAD_S))
    at_s = check(service, current, "some are deleted, of whom some come back later", quiet_s=0.0)
    define_all(service, {id_: definition(id_, filter_) for id_, filter_ in EDITS.items()})
    current |= EDITS
    service.send(behind(traffic[second:], at_s + AHEAD_S))
    check(service, current, "edited", quiet_s=0.0)
    archive = definition(ARCHIVED, current.pop(ARCHIVED), archived=True)
    for resting in ("on_others", "likely_and_paying"):  # the one rests on what is archived
        current[resting] = FILTERS["no_plan"]
    changes = {id_: definition(id_, current[id_]) for id_ in ("on_others", "likely_and_paying")}
    define_all(service, {**changes, ARCHIVED: archive})
    check(service, current, "windows pass", quiet_s=4 * DAY_S)
    await_until(lambda: not members(service, ARCHIVED), "nobody is left", seconds=60.0, watched=service.watched())
    service.end()
    check_transitions(service, [*current, ARCHIVED])


def check(service: Service, filters: dict[str, dict[str, Any]], when: str, *, quiet_s: float) -> float:
    """Everybody is where the whole log says, when nothing has come for so long; the time at which it was judged."""
    wanted_filters = parsed(filters)
    history = Histories.read(service.log("events"))
    latest_s = max(event.time_s for events in history.of.values() for event in events)
    at_s = history.calm_moment([wanted_filters], latest_s + quiet_s)
    service.send(ticks(service.settings.shards, at_s))
    history = Histories.read(service.log("events"))
    wrong: dict[str, set[str]] = {}

    def is_right() -> bool:
        wanted = history.members(wanted_filters, at_s, members(service, LIKELY))
        found = {id_: members(service, id_) for id_ in filters}
        wrong.clear()
        wrong.update({id_: found[id_] ^ wanted[id_] for id_ in filters if found[id_] != wanted[id_]})
        return not wrong

    try:
        await_until(is_right, when, seconds=150.0, watched=service.watched())
    except AssertionError as error:
        raise AssertionError(f"{when}: {wrong}") from error
    empty = [id_ for id_ in filters if not members(service, id_)]
    assert len(empty) < len(filters) // 2, f"{when}: too little is tried, as nobody is in {empty}"
    return at_s


def check_transitions(service: Service, ids: Sequence[str]) -> None:
    """What was said adds up to who is in, each once, and time and edits have moved people, too."""
    folded: dict[str, set[str]] = {id_: set() for id_ in ids}
    origins: set[tuple[str, bool]] = set()
    for told in told_once(service.log("segment-events")):
        if told["segment_id"] in folded:
            origins.add((told["origin"], told["in_segment"]))
            users = folded[told["segment_id"]]
            assert (told["user_id"] in users) != told["in_segment"], "directions alternate"
            (users.add if told["in_segment"] else users.discard)(told["user_id"])
    assert folded == {id_: members(service, id_) for id_ in ids}
    assert origins >= {
        ("backfill", True),
        ("live", True),
        ("live", False),
        ("decay", True),
        ("deleted", False),
        ("decay", False),
        ("definition_change", True),
        ("definition_change", False),
    }
