"""Traces of channels: a span for each attempt to deliver a message that is part of a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from streams.runtime.channels.parcel import Parcel
from streams.runtime.deliveries.sender import Outcome
from streams.runtime.traces import Span, Traces


class TracedParcels:
    """Of one call: `parcels` know the spans of their attempts."""

    def __init__(self, parcels: Sequence[Parcel], spans: Sequence[Span | None]) -> None:
        self.parcels = [
            parcel if span is None else replace(parcel, attempt_traceparent=span.context)
            for parcel, span in zip(parcels, spans, strict=True)
        ]
        self._spans = spans

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """What came of each parcel, in their order."""
        for span, outcome in zip(self._spans, outcomes, strict=True):
            if span is not None:
                span.end(None if outcome.is_delivered else outcome.words, {"tideline.outcome": outcome.words})

    def fail(self, error: BaseException) -> None:
        """The call has raised this."""
        for span in self._spans:
            if span is not None:
                span.end(type(error).__name__)


@contextmanager
def traced_parcels(traces: Traces, channel: str, parcels: Sequence[Parcel]) -> Iterator[TracedParcels]:
    """Of a call that is made in this context, and whose outcomes are given to `end`."""
    traced = TracedParcels(parcels, [_begin(traces, channel, parcel) for parcel in parcels])
    try:
        yield traced
    except BaseException as error:
        traced.fail(error)
        raise


def _begin(traces: Traces, channel: str, parcel: Parcel) -> Span | None:
    if parcel.traceparent is None:
        return None
    about = {
        "tideline.channel": channel,
        "tideline.message_id": parcel.id,
        "tideline.campaign": parcel.campaign,
    }
    return traces.begin("deliver", parent=parcel.traceparent, kind="client", attributes=about)
