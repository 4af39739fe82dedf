"""OpenTelemetry traces, on request: what happens to one event, from its arrival to what is delivered because of it.

    with open_traces(settings, "worker") as traces:        # None where they are off
        if traces is not None and (span := traces.begin("score", parent=context)) is not None:
            ...                                            # `span.context` goes on with what comes of it
            span.end()

Whether an event is traced is decided where it begins (head sampling): by who sent it, or by TIDELINE_TRACES_SHARE for
what came to the API without a context. Everybody behind follows the flag, up to a bound (`Traces.take`), as those who
send may set it on everything. Where spans go is for OpenTelemetry's own
variables (OTEL_EXPORTER_OTLP_ENDPOINT and so on), which its SDK reads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from config.errors import SettingsError
from config.settings import Settings
from streams.trace_context import sampled

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanContext

Kind: TypeAlias = Literal["server", "client", "consumer", "internal"]
Value: TypeAlias = str | int | float | bool
_HEX: Final = 16
MOST_PER_S: Final = 50
"""Spans that a process begins because others ask for them, and so many at once."""
FLUSH_S: Final = 3.0
"""What is recorded when a process stops is tried for so long."""


class Span:
    """One that is recorded. For one thread at a time."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        found = span.get_span_context()
        self.context: Final = f"00-{found.trace_id:032x}-{found.span_id:016x}-01"
        """What comes of it goes on with this."""
        self.trace_id: Final = f"{found.trace_id:032x}"

    def end(self, error: str | None = None, attributes: Mapping[str, Value] | None = None) -> None:
        """It is over; only the first call counts. `error`: what has gone wrong, in words."""
        from opentelemetry.trace import Status, StatusCode

        if not self._span.is_recording():
            return
        self._span.set_attributes(dict(attributes or {}))
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class Traces:
    """Begins spans. Threads may share it."""

    def __init__(self, provider: TracerProvider, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: in seconds."""
        self._tracer = provider.get_tracer("tideline", version("tideline"))
        self._clock = clock
        self._taking = threading.Lock()
        self._left = float(MOST_PER_S)
        self._at_s = clock()

    def take(self, wanted: int) -> int:
        """How many of `wanted` spans may begin now; what is beyond goes on as if it were of no trace.

        To be asked before spans of what arrives with a context: whoever sends it sets the flag at will, and each costs
        time of the whole process. What comes of a span need not ask again.
        """
        with self._taking:
            now_s = self._clock()
            self._left = min(float(MOST_PER_S), self._left + (now_s - self._at_s) * MOST_PER_S)
            self._at_s = now_s
            given = min(wanted, int(self._left))
            self._left -= given
            return given

    def begin(
        self,
        name: str,
        *,
        parent: str | None,
        kind: Kind = "internal",
        attributes: Mapping[str, Value] | None = None,
        links: Sequence[str] = (),
    ) -> Span | None:
        """A span below `parent`; None where it is not to be recorded. Without a parent it begins a trace, or does not.

        `parent` and `links` are contexts (`streams.trace_context`).
        """
        from opentelemetry import trace

        of_parent = None if parent is None else _span_context(parent)
        around = None if of_parent is None else trace.set_span_in_context(trace.NonRecordingSpan(of_parent))
        span = self._tracer.start_span(
            name,
            around or trace.set_span_in_context(trace.INVALID_SPAN),
            trace.SpanKind[kind.upper()],
            dict(attributes or {}),
            [trace.Link(found) for link in links if (found := _span_context(link)) is not None],
        )
        return Span(span) if span.is_recording() else None

    @contextmanager
    def around(
        self, name: str, parent: str | None, kind: Kind, attributes: Mapping[str, Value] | None = None
    ) -> Iterator[Span | None]:
        """As `begin`, of what is done in the context: it is over with it, and failed by what it raises.

        None, too, where there is no `parent`.
        """
        span = None if parent is None else self.begin(name, parent=parent, kind=kind, attributes=attributes)
        try:
            yield span
        except BaseException as error:
            if span is not None:
                span.end(type(error).__name__)
            raise
        if span is not None:
            span.end()


def _span_context(context: str) -> SpanContext | None:
    """None for what is not sampled, or no context."""
    from opentelemetry.trace import SpanContext, TraceFlags

    found = sampled(context)
    if found is None:
        return None
    _, trace_id, span_id, _ = found.split("-")
    return SpanContext(int(trace_id, _HEX), int(span_id, _HEX), is_remote=True, trace_flags=TraceFlags(1))


def traces_to(
    processor: SpanProcessor, service: str, share: float, clock: Callable[[], float] = time.monotonic
) -> tuple[Traces, TracerProvider]:
    """Traces that end in `processor`, and what has to be shut down. `share`: of what comes without a context."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    named = Resource({"service.name": f"tideline-{service}", "service.version": version("tideline")})
    # Who names the service by OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES knows better.
    resource = named.merge(OTELResourceDetector().detect())
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return Traces(provider, clock), provider


@contextmanager
def open_traces(settings: Settings, service: str) -> Iterator[Traces | None]:
    """As the settings say; None where they are off. At the end what is recorded is sent, for some seconds at most.

    `service`: worker, api, deliver, campaigns. Raises SettingsError where the packages for it are not installed.
    """
    if settings.traces == "off":
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"TIDELINE_TRACES={settings.traces}: the package {error.name!r} is not installed. It comes with the extra "
            "`traces` (pip install '.[traces]'), and is in the image; without it set TIDELINE_TRACES=off"
        ) from error
    exporter = OTLPSpanExporter()
    share = settings.traces_share if service == "api" else 0.0  # what comes to others without a context began untraced
    traces, provider = traces_to(BatchSpanProcessor(exporter), service, share)
    try:
        yield traces
    finally:
        giving_up = threading.Timer(FLUSH_S, exporter.shutdown)  # a collector that is away must not hold up a stop
        giving_up.daemon = True
        giving_up.start()
        provider.shutdown()
        giving_up.cancel()
