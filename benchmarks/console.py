"""The console's first page with very many users and predictions: how long its server takes. See `docs/benchmarks.md`.

Store, worker and API run as `tideline up` runs them. Everybody comes through the log once, is in the audience of one
prediction of each kind of goal, and the page is asked for over HTTP by somebody who has signed in.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from benchmarks._command import Command
from benchmarks._measure import Figures, Progress
from benchmarks.ingest import Service, running
from config.errors import TidelineError
from config.settings import load_settings
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.runtime.embedded.produce import open_traffic
from streams.runtime.embedded.watch import lag_of
from streams.runtime.up_parts import WorkerPart

PAGE_LIMIT_MS = 300.0
"""What issue 5 of the project asks for."""
_BATCH = 20_000
_FRESH = 10
"""Pages after a commit, which reads what has changed of the shards."""
_WARM = 40
_STATE_S = 2.1
"""What was read of a shard is taken for the latest for so long, at most."""
_WORK_S = 1_800.0
_LOOK_S = 0.5
_PAGE = "/console/predictions"


def catalog(predictions: int) -> str:
    """Each prediction has an audience of its own: who did one of as many events."""
    events = [f"Visit {number}" for number in range(predictions)]
    lines = [
        "version: 1",
        "name: Console",
        f"features: {{events: {json.dumps([*events, 'Order'])}}}",
        "predictions:",
    ]
    lines += [
        f"  order_{number}: {{name: Orders {number}, goal: {{did: Order}}, window: 7d, "
        f"audience: {{event: {event}, count: {{min: 1}}}}}}"
        for number, event in enumerate(events)
    ]
    return "\n".join([*lines, "limits: {commit_users: 50000, commit_transitions: 20000}", ""])


def visits(users: int, predictions: int, now_s: float) -> Iterator[list[tuple[str, bytes]]]:
    """One visit of everybody in the last hour, in order."""
    for first in range(0, users, _BATCH):
        batch = []
        for number in range(first, min(first + _BATCH, users)):
            user, at_s = f"user-{number}", now_s - 3_600.0 * (1.0 - number / users)
            batch.append((user, _visit(user, number % predictions, at_s)))
        yield batch


def _visit(user: str, number: int, at_s: float) -> bytes:
    at = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return json.dumps(
        {"type": "track", "userId": user, "event": f"Visit {number}", "timestamp": at, "messageId": f"{user}-{at}"}
    ).encode()


class Visitor:
    """Somebody who has signed in, on one connection."""

    def __init__(self, service: Service) -> None:
        self._line = http.client.HTTPConnection(service.target.host, service.target.port, timeout=60.0)
        form = urlencode({"key": service.target.key})
        self._line.request("POST", "/console/sign-in", form, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = self._line.getresponse()
        answer.read()
        self._cookie = (answer.getheader("set-cookie") or "").partition(";")[0]

    def ask_ms(self, path: str) -> tuple[float, bytes]:
        """How long the whole answer took, in milliseconds, and what it is. Raises TidelineError for another status."""
        began_s = time.perf_counter()
        self._line.request("GET", path, headers={"Cookie": self._cookie, "Accept-Language": "en"})
        answer = self._line.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise TidelineError(f"{path} was answered {answer.status}")
        return (time.perf_counter() - began_s) * 1_000.0, body

    def close(self) -> None:
        """Give the connection back."""
        self._line.close()


def run(users: int, predictions: int, folder: Path, progress: Progress) -> Figures:
    """Fill, work, ask. Raises TidelineError."""
    file = folder / "catalog.yaml"
    file.write_text(catalog(predictions))
    log = LogFolder.make(folder / LOG_FOLDER, 1)
    progress.say("filling the log")
    with open_traffic(log, load_settings()) as traffic:
        for batch in visits(users, predictions, time.time()):
            traffic.send(batch)
        progress.say("working it")
        began_s = time.monotonic()
        with running(folder, WorkerPart, catalog=file) as service:
            _wait_until_worked(log)
            worked_s = time.monotonic() - began_s
            progress.say("asking for the page")
            visitor = Visitor(service)
            try:
                figures = _measured(visitor, traffic.send, predictions)
            finally:
                visitor.close()
    return {"users": users, "predictions": predictions, "filled_s": worked_s, **figures}


def _measured(visitor: Visitor, send: Callable[[list[tuple[str, bytes]]], None], predictions: int) -> Figures:
    first_ms, body = visitor.ask_ms(_PAGE)
    cards = body.count(b'<article class="card')
    if cards != predictions:
        raise TidelineError(f"the page shows {cards} predictions, not {predictions}")
    never, fresh = threading.Event(), []
    for number in range(_FRESH):
        send([("user-0", _visit("user-0", 0, time.time() + number))])
        never.wait(_STATE_S)  # the worker commits it, and nobody takes what was read before for the latest
        fresh.append(visitor.ask_ms(_PAGE)[0])
    warm = [visitor.ask_ms(_PAGE)[0] for _ in range(_WARM)]
    figures_ms, _ = visitor.ask_ms(f"{_PAGE}/figures")
    worst = max(first_ms, *fresh, *warm)
    return {
        "page_first_ms": first_ms,
        "page_fresh_p50_ms": float(np.percentile(fresh, 50.0)),
        "page_fresh_max_ms": max(fresh),
        "page_warm_p50_ms": float(np.percentile(warm, 50.0)),
        "page_warm_max_ms": max(warm),
        "page_limit_ms": PAGE_LIMIT_MS,
        "page_within_limit": int(worst < PAGE_LIMIT_MS),
        "page_bytes": len(body),
        "figures_first_ms": figures_ms,
    }


def _wait_until_worked(log: LogFolder) -> None:
    """Raises TidelineError where that takes too long."""
    never, end_s = threading.Event(), time.monotonic() + _WORK_S
    while any(part.lag for part in lag_of(log, "events")):
        if time.monotonic() > end_s:
            raise TidelineError(f"the worker has not come to the end of the log in {_WORK_S:g} s")
        never.wait(_LOOK_S)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print; ends with status 1 where a limit does not hold."""
    command = Command("console", __doc__)
    command.numbers({"users": (1_000_000, "in the store"), "predictions": (20, "on the page")})
    figures = command.run(
        arguments, lambda given, folder, progress: run(given["users"], given["predictions"], folder, progress)
    )
    if not figures["page_within_limit"]:
        sys.exit(f"console: a page took longer than {PAGE_LIMIT_MS:g} ms")


if __name__ == "__main__":
    main()
