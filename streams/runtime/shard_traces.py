"""Traces of a shard: a span for each event that is part of one, from its batch to the last acknowledgement.

A batch is worked as a whole, so it has a span of its own, below the first event of it that is traced; links lead from
it to the others, and from each of them to it. A transition goes on under the span of the event that has caused it, and
is stored so: who publishes it after a stop passes on the same. What nobody traces costs a look at each record where
traces are on, and nothing where they are off. What is beyond the bound of a process (`Traces.take`) has no span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from streams.core.events import BadEvent, Event
from streams.runtime.records import Record
from streams.runtime.traces import Span, Traces
from streams.trace_context import of_headers, of_json, with_trace


class _Cause(msgspec.Struct):
    causationid: str | None = None


_CAUSE: Final = msgspec.json.Decoder(_Cause)


def traced_by_headers(records: list[Record], found: Sequence[Any]) -> list[Record]:
    """Records as they were `found` in Kafka, with the traces that their headers name."""
    for place, record in enumerate(found):
        if record.headers and (context := of_headers(record.headers)) is not None:
            records[place] = records[place]._replace(trace=context)
    return records


def traced_by_events(records: Sequence[Record]) -> Sequence[Record]:
    """Records of a log without headers, with the traces that their events name."""
    return [
        record if (context := of_json(record.value)) is None else record._replace(trace=context) for record in records
    ]


class TracedBatch:
    """The spans of a batch, which `traced_batch` begins."""

    def __init__(self, whole: Span | None, spans: Mapping[str, Span]) -> None:
        """`spans`: by what transitions name as their cause."""
        self._whole = whole
        self._spans = spans
        self._caused = dict.fromkeys(spans, 0)

    def mark(self, transitions: Sequence[bytes]) -> list[bytes]:
        """The same, each with the context of the event that has caused it, if that is traced."""
        found = []
        for data in transitions:
            cause = _CAUSE.decode(data).causationid
            span = None if cause is None else self._spans.get(cause)
            if cause is not None and span is not None:
                self._caused[cause] += 1
            found.append(data if span is None else with_trace(data, span.context))
        return found

    def end(self, error: BaseException | None) -> None:
        """Everything is stored and acknowledged, or failed by an error."""
        words = None if error is None else type(error).__name__
        for cause, span in self._spans.items():
            span.end(words, {"tideline.event_id": cause, "tideline.transitions": self._caused[cause]})
        if self._whole is not None:
            self._whole.end(words)


def traced_batch(
    traces: Traces, source: str, records: Sequence[Record], items: Sequence[Event | BadEvent]
) -> TracedBatch | None:
    """Begin the spans of a batch; None where nothing of it is traced. `items`: what stands in `records`."""
    traced = [(record, item) for record, item in zip(records, items, strict=True) if record.trace is not None]
    if not traced:
        return None
    del traced[traces.take(len(traced)) :]
    if not traced:
        return None
    links = [record.trace for record, _ in traced if record.trace is not None]
    whole = traces.begin(
        "score batch",
        parent=links[0],
        kind="consumer",
        links=links[1:],
        attributes={"messaging.batch.message_count": len(records), "messaging.destination.name": source},
    )
    spans: dict[str, Span] = {}
    for record, item in traced:
        span = traces.begin(
            "score",
            parent=record.trace,
            kind="consumer",
            links=() if whole is None else (whole.context,),
            attributes={"messaging.destination.name": source, "messaging.kafka.offset": record.offset},
        )
        if span is None:
            continue
        if isinstance(item, BadEvent):
            span.end(item.reason.value)
        elif item.cause_id in spans:
            span.end(attributes={"tideline.event_id": item.cause_id, "tideline.duplicate": True})
        else:
            spans[item.cause_id] = span
    return TracedBatch(whole, spans)
