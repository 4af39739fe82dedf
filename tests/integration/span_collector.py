"""A collector of OpenTelemetry spans: takes them by OTLP over HTTP, as Jaeger or a vendor does, and keeps them."""

from __future__ import annotations

import gzip
import threading
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.post_server import PostServer


class Taken(NamedTuple):
    """A span as it arrived."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    about: dict[str, str]
    """Attributes that are text."""


class SpanCollector(PostServer):
    """Use as a context manager."""

    def __init__(self) -> None:
        super().__init__()
        self._spans: list[Taken] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        return self.address

    def posted(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.take(gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body)
        return 200, b""

    def take(self, body: bytes) -> None:
        """One request."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            found = [
                Taken(
                    named["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    {each.key: each.value.string_value for each in span.attributes if each.value.string_value},
                )
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            with self._lock:
                self._spans += found

    def of_trace(self, trace: str) -> list[Taken]:
        """All of it so far."""
        with self._lock:
            return [span for span in self._spans if span.trace == trace]
