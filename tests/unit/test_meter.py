"""What runs measure: histograms as Prometheus reads them, the outbox, and the clients' failures."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily

from benchmarks._ports import free_port
from config.errors import BrokerError, BrokerUnavailable, Fenced, StoreFull, StoreUnavailable
from streams.adapters.client_errors import CLIENT_ERRORS, ClientErrors
from streams.adapters.redis_wire import Wire
from streams.runtime.deliveries.endpoint_run import Counts
from streams.runtime.deliveries.pace import Delivery
from streams.runtime.meter import Meter, Tally
from streams.runtime.process_metrics import add_process, memory_limit_bytes
from tests.unit.crossing_examples import crossing

BOUNDS = (0.5, 1.0, 2.5, 10.0)


class Clock:
    """Stands until it is moved."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@given(st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(0.0, 20.0)), max_size=30))
def test_a_histogram_says_how_many_values_were_at_most_each_bound(values: list[float]) -> None:
    tally = Tally(BOUNDS)
    for value in values:
        tally.add(value)
    found = np.array(values)
    assert tally.buckets() == [
        *((str(bound), float((found <= bound).sum())) for bound in BOUNDS),
        ("+Inf", float(len(values))),
    ]
    assert tally.total == pytest.approx(sum(values))


def test_histograms_of_partitions_are_added() -> None:
    tallies = [Tally(BOUNDS), Tally(BOUNDS)]
    for value in (0.1, 3.0):
        tallies[0].add(value)
    tallies[1].add(3.5)
    both = Tally.sum_of(tallies, BOUNDS)
    family = HistogramMetricFamily("both", "", buckets=both.buckets(), sum_value=both.total)
    assert [sample.value for sample in family.samples] == pytest.approx([1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 6.6])


def test_a_commit_ends_in_the_store_and_its_outbox_with_the_acknowledgement() -> None:
    clock = Clock(100.0)
    meter = Meter(clock, Clock())
    meter.commits()
    clock.now_s = 100.4
    meter.stored(3)
    clock.now_s = 103.4
    assert meter.outbox == 3
    assert meter.outbox_age_s() == pytest.approx(3.0)
    meter.published()
    assert (meter.outbox, meter.outbox_age_s()) == (0, 0.0)
    assert meter.commit_seconds.total == pytest.approx(0.4)
    assert meter.publish_seconds.total == pytest.approx(3.0)


def test_a_commit_that_says_nothing_waits_for_nobody() -> None:
    clock = Clock()
    meter = Meter(clock, Clock())
    meter.commits()
    meter.stored(0)
    clock.now_s = 9.0
    assert meter.outbox_age_s() == 0.0
    meter.published()
    assert sum(meter.publish_seconds.counts) == 0


def test_an_answer_is_as_late_as_its_records_were_early() -> None:
    wall = Clock(1_000.0)
    meter = Meter(Clock(), wall)
    meter.published()
    wall.now_s = 5_000.0  # what is done afterwards makes nobody wait
    meter.answered(990.0, 1_003.0)
    assert meter.latency["first"].total == pytest.approx(10.0)
    assert meter.latency["last"].total == 0.0, "a clock that is ahead makes no negative time"


def test_a_delivery_is_as_late_as_its_event_and_what_no_event_caused_has_no_time() -> None:
    at_s = datetime(2024, 6, 3, 9, 12, 44, tzinfo=UTC).timestamp()  # of the example's event
    counts = Counts()
    counts.arrived(Delivery("1", "ann", crossing(1), 1, since_s=at_s + 2.0), at_s + 5.0)
    counts.arrived(Delivery("2", "ann", crossing(2, origin="decay"), 2, since_s=at_s + 4.0), at_s + 5.0)
    counts.arrived(Delivery("3", "ann", b"no transition", 3, since_s=at_s), at_s + 10.0)
    assert counts.delivered == 3
    assert (sum(counts.since_event.counts), counts.since_event.total) == (1, 5.0)
    assert (sum(counts.since_taken.counts), counts.since_taken.total) == (3, 3.0 + 1.0 + 10.0)


def test_failures_are_counted_by_what_they_became() -> None:
    errors = ClientErrors()
    errors.note("redis", StoreFull("no room"))
    errors.note("redis", Fenced("somebody else"))
    errors.note("kafka", BrokerUnavailable("away"))
    errors.note("kafka", BrokerError("refused"))
    errors.note("kafka", BrokerError("refused"))
    counted = {key: number for key, number in errors.counts().items() if number}
    assert counted == {
        ("redis", "StoreFull"): 1,
        ("redis", "StoreError"): 1,
        ("kafka", "BrokerUnavailable"): 1,
        ("kafka", "BrokerError"): 2,
    }


def test_a_store_that_is_not_there_counts() -> None:
    before = CLIENT_ERRORS.counts()["redis", "StoreUnavailable"]
    wire = Wire(f"redis://127.0.0.1:{free_port()}", timeout_s=1.0)
    with pytest.raises(StoreUnavailable):
        wire.ask("PING")
    wire.close()
    assert CLIENT_ERRORS.counts()["redis", "StoreUnavailable"] == before + 1


@pytest.mark.parametrize(("text", "expected"), [("1048576\n", 1_048_576), ("max\n", None), (None, None)])
def test_the_limit_of_memory_is_the_container_s_or_the_machine_s(
    text: str | None, expected: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "memory.max"
    if text is not None:
        path.write_text(text)
    machine = memory_limit_bytes(())
    assert machine is not None
    assert memory_limit_bytes((path,)) == (expected or machine)


def test_every_process_says_what_memory_it_may_have() -> None:
    registry = CollectorRegistry()
    add_process(registry)
    used, most = (
        registry.get_sample_value(f"{name}_bytes") for name in ("process_resident_memory", "tideline_memory_limit")
    )
    assert used is not None
    assert most is not None
    assert 0 < used < most
