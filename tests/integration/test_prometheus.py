"""A service and who watches it: a real Prometheus has data for all that dashboards and alerts ask and tells what goes
wrong, and one event is followed through all processes by its trace.

The rules are those of the service, at a faster clock (`prometheus_world`). How long each waits is tested by promtool
(`tests/unit/test_alerts`).
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest

from benchmarks._ports import free_port
from config.loader import loads
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_format import END_FILE
from streams.adapters.log_writer import PartitionWriter
from streams.adapters.redis_keys import desk_keys, hook_keys
from streams.api.keys import Role
from streams.core.questions import question_of
from streams.runtime.latest_models import model_key
from tests.dashboards.all import BOARDS
from tests.dashboards.board import in_test
from tests.integration.kill_world import Receiver
from tests.integration.operated_world import Operated, operated
from tests.integration.span_collector import Taken
from tests.integration.worker_world import CATALOG, await_until
from tests.span_world import CONTEXT, TRACE
from tests.unit.test_alerts import ALERTS, RECORDED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PATIENCE_S: Final = 90.0
MUCH_BYTES: Final = 100 << 20
QUERIES: Final = {
    # Of a warm-up there is no series any more once the service stands.
    f"last_over_time(({expr})[1h:1s])" if "tideline_warmup_" in expr else expr
    for expr in (in_test(query.expr) for board in BOARDS for query in board.queries())
}
NOT_INJECTED: Final[Mapping[str, str]] = {
    "TidelinePartitionsIdle": "a worker on the embedded log has all partitions, or ends",
    "TidelineLearnerStale": "tests/integration/test_prometheus_learning does it, with days of its own",
    "TidelineModelsOld": "a model has to be six hours old",
    "TidelineShardModelOld": "a shard takes the newest model, or its worker ends",
    "TidelineCalibrationOff": "the same",
    "TidelineDrift": "the same",
    "TidelineStoresMixed": "takes workers of a second store on the same topics",
    "TidelineMemoryShort": "a process that really has no memory left takes others of the machine with it",
    "TidelineExamplesDropped": "the smallest bound on pending examples takes some ten thousand events to reach",
    "TidelineStoreSetBack": "would take the keys of the API along; tests/unit/test_kafka_partitions does it",
    "TidelineDeliveriesWaiting": "takes a thousand deliveries that wait, which is the bound of one webhook",
    "TidelineCampaignsBehind": "they have to be ten minutes behind",
    "TidelineFilesShort": "takes a thousand connections",
}
"""Alert -> why no test brings its fault about. Of all, promtool shows that they fire for their metrics."""
MAY_BE_EMPTY: Final[Mapping[str, str]] = {
    'tideline_likelihood_drift{since="day"}': "a prediction has to be live for a day",
}
"""Metric of an alert -> why it may have no series while all is well."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with operated(tmp_path_factory.mktemp("operated")) as found:
        yield found


# --- data -------------------------------------------------------------------------------------------------------------


def asked_by_alerts() -> set[str]:
    """Every metric that an alert looks at, with its labels."""
    metric = re.compile(r"\b(?:tideline[\w:]*|process_\w+|up)\b(?:\{[^}]*\})?")
    return {found for rule in ALERTS.values() for found in metric.findall(rule["expr"])}


def test_every_rule_and_every_query_of_dashboards_and_alerts_has_data(service: Operated) -> None:
    asked = service.asked
    missing = RECORDED | QUERIES | (asked_by_alerts() - MAY_BE_EMPTY.keys())

    def has_all() -> bool:
        service.load.come()
        missing.difference_update(query for query in list(missing) if asked.has_data(query))
        return not missing

    with service.webhook() as (_, receiver):
        try:
            await_until(has_all, "all of it has data", seconds=PATIENCE_S, watched=[service.worker], every_s=0.5)
        except AssertionError as error:
            raise AssertionError(f"no data of {sorted(missing)}") from error
        assert receiver.wrong == []
    rules = asked.rules()
    assert {rule["name"] for rule in rules} == RECORDED | ALERTS.keys()
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    for at_work in (
        'tideline_users{job="tideline-worker"} > 0',
        'tideline_api_events_total{job="tideline-api",result="accepted"} > 0',
        'tideline_webhooks_delivered_total{job="tideline-deliver"} > 0',
        'tideline_campaign_deliveries_total{channel="lines",result="arrived"} > 0',
    ):
        assert asked.has_data(at_work), at_work


# --- faults -----------------------------------------------------------------------------------------------------------


class Told:
    """Which alerts were seen to fire."""

    def __init__(self, service: Operated) -> None:
        self._asked = service.asked
        self._watched = [service.worker]
        self.all: set[str] = set()

    def until(self, expected: Collection[str], doing: Callable[[], None]) -> None:
        """Until each of them has fired, while something is done again and again."""
        seen: set[str] = set()

        def have() -> bool:
            doing()
            seen.update(self._asked.firing())
            return seen >= set(expected)

        try:
            await_until(have, "alerts fire", seconds=PATIENCE_S, watched=self._watched, every_s=0.5)
        except AssertionError as error:
            words = f"not told: {sorted(set(expected) - seen)}; told: {sorted(seen)}"
            raise AssertionError(f"{words}\n{error}") from error
        self.all |= set(expected)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody can write to this partition of the log."""
    file = os.open(folder / END_FILE, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def test_what_goes_wrong_is_told(service: Operated) -> None:
    """Faults beside each other, so that their alerts are waited for together."""
    with service.webhook() as (_, receiver):
        check_faults(service, receiver)


def check_faults(service: Operated, receiver: Receiver) -> None:
    """All of them, one after another where they disturb each other, and all is well behind it."""
    told, log = Told(service), LogFolder.find(service.data)
    told.until({"TidelineCampaignsUnfit"}, service.load.come)
    wrong = {"TidelineDown", "TidelineNobodyDelivers", "TidelineStoreNotPersistent"}
    # A scrape that is late on a busy machine may raise one for a moment.
    await_until(lambda: not service.asked.firing() & wrong, "what is not wrong is not told", seconds=30.0, every_s=0.5)
    receiver.is_refusing = True
    lose_channel(service)
    spoil_store_and_models(service, log)
    told.until({"TidelineDeliveriesLost", "TidelineModelsRefused"}, service.load.go_wrong)
    with ExitStack() as locks:
        locks.enter_context(held(log.partition("campaign-triggers", 0)))
        await_outbox(service, "tideline_campaign_outbox")
        locks.enter_context(held(log.partition("segment-events", 0)))
        service.load.come()
        told.until(
            {
                "TidelineDeadLetters",
                "TidelineClocksDiffer",
                "TidelineStoreNotPersistent",
                "TidelineStoreFull",
                "TidelineWebhookAway",
                "TidelineDeliveryFailing",
                "TidelineChannelAway",
                "TidelineCampaignsStuck",
                "TidelineOutboxStuck",
            },
            lambda: None,
        )
    with closing(service.client()) as client:
        client.config_set("maxmemory", 0)
        client.delete("much")
        client.config_set("appendonly", "yes")
        owners = hook_keys("tl").owner, desk_keys("tl").owner
        for key in owners:
            client.set(key, "somebody else", px=60_000)
        told.until({"TidelineNobodyDelivers", "TidelineNobodySends"}, lambda: None)
        client.delete(*owners)
        await_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "it is written", seconds=30.0)
    service.deliver.process.send_signal(signal.SIGSTOP)
    service.store.stop()
    service.load.pile_up(11_000)

    def more() -> None:
        service.load.pile_up(100)
        service.load.try_to_come()

    told.until(
        {
            "TidelineDown",
            "TidelineNoCommits",
            "TidelineEventsWait",
            "TidelineLagGrowing",
            "TidelineClientErrors",
            "TidelineApiErrors",
        },
        more,
    )
    service.store.start()
    service.deliver.process.send_signal(signal.SIGCONT)
    await_until(
        lambda: not service.asked.firing() & {"TidelineDown", "TidelineNoCommits"},
        "all is well again",
        seconds=PATIENCE_S,
        watched=[service.worker],
        every_s=0.5,
    )
    check_missing(service, told)
    assert told.all == ALERTS.keys() - NOT_INJECTED.keys()


def check_missing(service: Operated, told: Told) -> None:
    """A process that ends together with its address, as a container does: nothing of it is there that could be down."""
    service.deliver.stop()
    service.asked.aim("tideline-deliver")
    service.asked.aim("tideline-campaigns", service.campaigns.address)
    told.until({"TidelineDown", "TidelineNobodyDelivers", "TidelineFewerProcesses"}, lambda: None)
    # A scrape of another job that was late may have raised it for a moment before.
    await_until(
        lambda: "tideline-deliver" in service.asked.jobs_told("TidelineDown"), "it is missed", seconds=30.0, every_s=0.5
    )
    service.deliver.start()
    service.asked.aim("tideline-deliver", service.deliver.address)
    gone = {"TidelineDown", "TidelineNobodyDelivers"}
    await_until(lambda: not service.asked.firing() & gone, "it is there again", seconds=PATIENCE_S, every_s=0.5)


def lose_channel(service: Operated) -> None:
    """The channel of the campaign gets settings, to an address where nobody is."""
    nobody = free_port()
    settings = {"kind": "webhook", "url": f"http://127.0.0.1:{nobody}/"}
    service.api.put("/v1/campaign-channels/far", {"settings": settings}, Role.WRITE)


def spoil_store_and_models(service: Operated, log: LogFolder) -> None:
    """A store without its file and nearly full, with room for what comes meanwhile; a model that nobody can read."""
    with closing(service.client()) as client:
        client.config_set("appendonly", "no")
        client.setrange("much", MUCH_BYTES - 1, b"x")
        client.config_set("maxmemory", round(client.info("memory")["used_memory"] / 0.85))
    key = model_key(question_of(loads(CATALOG), "views_1d"), "views_1d")
    writer = PartitionWriter(log.partition("models", 0))
    writer.append([(key.encode(), b"no model")])
    writer.close()


def await_outbox(service: Operated, metric: str) -> None:
    """Until something waits there."""

    def waits() -> bool:
        service.load.come()
        return service.asked.has_data(f"{metric} > 0")

    await_until(waits, f"{metric} is not empty", seconds=PATIENCE_S, every_s=0.5)


# --- one event --------------------------------------------------------------------------------------------------------


def test_one_event_is_followed_from_its_arrival_to_what_is_delivered(service: Operated) -> None:
    with service.webhook() as (hook, receiver):
        event = {"userId": "traced", "event": "Order Completed", "messageId": "the-one"}
        service.api.post("/v1/track", event, Role.INGEST, traceparent=CONTEXT)

        def spans() -> dict[str, Taken]:
            return {step_of(span): span for span in service.collector.of_trace(TRACE)}

        steps = (
            "tideline-api POST /v1/track",
            "tideline-worker score",
            "tideline-campaigns decide",
            "tideline-campaigns deliver lines",
            f"tideline-deliver deliver {hook}",
            "tideline-worker score batch",
        )
        await_until(
            lambda: spans().keys() >= set(steps), "every step has a span", seconds=PATIENCE_S, watched=[service.worker]
        )
        api, score, decide, message, webhook, _ = (spans()[step] for step in steps)
        assert api.parent == CONTEXT.split("-")[2]
        assert score.parent == api.span
        assert score.about["tideline.event_id"] == "the-one"
        assert decide.parent == webhook.parent == score.span
        assert message.parent == decide.span
        assert decide.about["tideline.decisions"] == "thanks: sent"
        transition = msgspec.json.decode(receiver.received[webhook.about["tideline.transition_id"]])
        assert transition["causationid"] == "the-one"
        assert transition["traceparent"] == f"00-{TRACE}-{score.span}-01"


def step_of(span: Taken) -> str:
    """Which process, what it did, and to whom it was delivered."""
    whom = span.about.get("tideline.channel") or span.about.get("tideline.webhook") or ""
    return f"{span.service} {span.name} {whom}".rstrip()
