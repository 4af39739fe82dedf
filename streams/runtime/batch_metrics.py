"""What runs have measured of their batches (`meter`), for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from streams.runtime.meter import LATENCY_SECONDS, RECORDS, SECONDS, Meter, Tally

# name -> (help, bounds, of a meter). Of all partitions together: for each of them it would be a hundred series more.
_TALLIES: Final[Mapping[str, tuple[str, tuple[float, ...], Callable[[Meter], Tally]]]] = {
    "tideline_batch_records": ("Records of a batch of a shard.", RECORDS, lambda meter: meter.batch_records),
    "tideline_batch_seconds": (
        "Time of a batch, from its records to the last acknowledgement.",
        SECONDS,
        lambda meter: meter.batch_seconds,
    ),
    "tideline_commit_seconds": ("Time that the store takes for a commit.", SECONDS, lambda meter: meter.commit_seconds),
    "tideline_publish_seconds": (
        "Time from a commit until all that it had to say is acknowledged.",
        SECONDS,
        lambda meter: meter.publish_seconds,
    ),
}


def batch_metrics(known: Iterable[Meter], held: Mapping[int, Meter]) -> Iterator[Metric]:
    """`known`: of every shard that this process has or has had; `held`: partition -> of those that it has."""
    known = list(known)
    for name, (words, bounds, of) in _TALLIES.items():
        family = HistogramMetricFamily(name, words)
        _put(family, [], Tally.sum_of(map(of, known), bounds))
        yield family
    latency = HistogramMetricFamily(
        "tideline_transition_latency_seconds",
        "Time from a record in the log until the transitions of its batch are acknowledged.",
        labels=("record",),
    )
    for place in ("first", "last"):
        _put(latency, [place], Tally.sum_of((meter.latency[place] for meter in known), LATENCY_SECONDS))
    yield latency
    yield _transitions(known)
    yield from _outboxes(held)


def _transitions(known: Iterable[Meter]) -> Metric:
    total: Counter[tuple[str, str, str]] = Counter()
    for meter in known:
        total.update(meter.transitions.copy())  # its own thread may add to it
    family = CounterMetricFamily(
        "tideline_transitions", "Transitions that were published.", labels=("segment", "direction", "origin")
    )
    for key, number in sorted(total.items()):
        family.add_metric(key, number)
    return family


def _outboxes(held: Mapping[int, Meter]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "tideline_outbox_entries", "What is stored and not acknowledged by the log yet.", labels=("partition",)
    )
    age = GaugeMetricFamily(
        "tideline_outbox_age_seconds", "How long the oldest of that has waited.", labels=("partition",)
    )
    for number, meter in sorted(held.items()):
        waiting.add_metric([str(number)], meter.outbox)
        age.add_metric([str(number)], meter.outbox_age_s())
    yield waiting
    yield age


def _put(family: HistogramMetricFamily, labels: list[str], tally: Tally) -> None:
    family.add_metric(labels, buckets=tally.buckets(), sum_value=tally.total)
