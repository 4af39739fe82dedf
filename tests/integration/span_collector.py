"""A collector of OpenTelemetry spans: takes them by OTLP over HTTP, as Jaeger or a vendor does, and keeps them."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Taken(NamedTuple):
    """A span as it arrived."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    about: dict[str, str]
    """Attributes that are text."""


class SpanCollector:
    """Use as a context manager."""

    def __init__(self) -> None:
        self._spans: list[Taken] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_packed = self.headers.get("Content-Encoding") == "gzip"
                collector.take(gzip.decompress(body) if is_packed else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing into the output of tests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

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
