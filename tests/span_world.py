"""Traces that end in memory, for tests to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streams.runtime.traces import Traces, traces_to

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = f"00-{TRACE}-{SPAN}-01"
NOT_SAMPLED = f"00-{TRACE}-{SPAN}-00"


class SpanWorld:
    """`traces` to hand in, and what was recorded."""

    def __init__(self, service: str = "test", share: float = 0.0) -> None:
        self.now_s = 0.0
        """By which what may begin is bounded (`Traces.take`)."""
        self._kept = InMemorySpanExporter()
        self.traces: Traces
        self.traces, self._provider = traces_to(SimpleSpanProcessor(self._kept), service, share, lambda: self.now_s)

    def named(self, name: str) -> list[ReadableSpan]:
        """Those that are over, in the order of their ends."""
        return [span for span in self._kept.get_finished_spans() if span.name == name]

    def names(self) -> list[str]:
        """Of all that are over."""
        return sorted(span.name for span in self._kept.get_finished_spans())

    def close(self) -> None:
        self._provider.shutdown()


@contextmanager
def spans(share: float = 0.0) -> Iterator[SpanWorld]:
    """For the time of a test."""
    world = SpanWorld(share=share)
    try:
        yield world
    finally:
        world.close()


def context_of(span: ReadableSpan) -> str:
    """As it travels."""
    found = span.get_span_context()
    assert found is not None
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-01"


def parent_of(span: ReadableSpan) -> str | None:
    """The context of what it is below; None at the top of a trace."""
    return None if span.parent is None else f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-01"
