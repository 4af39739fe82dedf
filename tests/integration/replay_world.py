"""A small replay of real purchases, run as a process of its own, that tests stop, kill and look into."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from config.errors import StoreError
from streams.adapters.redis_reader import RedisReader, holds_store
from streams.adapters.valkey_server import running_server
from streams.runtime.replay import Totals
from tests.conftest import ROOT, SLOWNESS
from tests.integration.held_commits import let

ROWS = 12_000
BATCH = 256
"""Small batches: many commits, so many moments at which something can happen."""
COMMITS = -(-ROWS // BATCH)
"""At the end of a run over all rows there are at least so many."""

CATALOG = f"""
version: 1
name: Small CDNOW
input:
  format: csv
  user: customer_id
  event: {{constant: Order Completed}}
  time: date
  value: dollar_value
features: {{events: [Order Completed], value: dollar_value}}
history: [Order Completed]
predictions:
  orders_7d: {{name: Orders within 7 days, goal: {{did: Order Completed}}, window: 7d}}
  churn_7d: {{name: No order for 7 days, kind: churn, goal: {{did_not: Order Completed}}, window: 7d}}
segments:
  eager:
    name: Two orders within a week
    filter: {{event: Order Completed, count: {{min: 2}}, within: 7d}}
limits: {{batch_events: {BATCH}}}
"""

PATIENCE_S = 240.0 * SLOWNESS
"""Covers the compilation of the core at its first start on a slow machine."""


@dataclass(frozen=True)
class Files:
    """The input of a replay, and where its results go."""

    events: Path
    catalog: Path
    more: tuple[Path, ...] = ()
    """Files that are given behind `events`."""

    @classmethod
    def write(cls, folder: Path) -> Files:
        with gzip.open(ROOT / "examples/cdnow/events.csv.gz", "rt") as source:
            lines = [next(source) for _ in range(ROWS + 1)]
        files = cls(folder / "orders.csv", folder / "catalog.yaml")
        files.events.write_text("".join(lines))
        files.catalog.write_text(CATALOG)
        return files

    def cut(self, folder: Path, rows: int) -> Files:
        """The same rows in two files, the first with so many."""
        header, *lines = self.events.read_text().splitlines(keepends=True)
        first, second = folder / "first.csv", folder / "second.csv"
        first.write_text("".join([header, *lines[:rows]]))
        second.write_text("".join([header, *lines[rows:]]))
        return Files(first, self.catalog, (second,))


class Run:
    """One `tideline replay` as a process. Its output is read when it has ended.

    `until`: it makes no commit behind this number before `let_on`, so it cannot be over before that.
    """

    def __init__(self, files: Files, data_dir: Path, *more: str, until: int | None = None) -> None:
        self._limit = data_dir.with_name(f"{data_dir.name}.until")
        program: list[object] = ["streams"]
        if until is not None:
            let(self._limit, until)
            program = ["tests.integration.held_commits", self._limit]
        command = [sys.executable, "-m", *program, "replay", files.events, *files.more, "--catalog", files.catalog]
        self.process = subprocess.Popen(
            [*map(str, command), "--data-dir", str(data_dir), *more],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def let_on(self, until: int = sys.maxsize) -> None:
        """Commits up to this number may be made from now on."""
        let(self._limit, until)

    def wait(self) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err

    def end(self, how: signal.Signals) -> tuple[int, str, str]:
        """Send a signal and wait."""
        self.process.send_signal(how)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def commits_of(url: str) -> int:
    """Commits that a store has; 0 if it does not answer or holds nothing."""
    try:
        if not holds_store(url, timeout_s=5.0):
            return 0
        reader = RedisReader(url, timeout_s=5.0)
        (shard,) = reader.shard_infos()
        reader.close()
    except StoreError:
        return 0  # starting, loading or gone: the caller asks again
    return shard.number


def address_of(data_dir: Path) -> str:
    """Where the embedded server of a running replay listens; empty as long as it does not."""
    return running_server(data_dir) or "" if data_dir.is_dir() else ""


def await_commits(run: Run, place: Path | str, number: int) -> int:
    """Wait until the store (an address, or the data directory of an embedded one) has so many commits.

    Returns how many there are. Fails where the run ends before; a run that must not, is held (`Run`).
    """
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        url = address_of(place) if isinstance(place, Path) else place
        found = commits_of(url) if url else 0
        if found >= number:
            return found
        if run.process.poll() is not None:
            raise AssertionError(f"the run has ended with {found} of {number} commits: {run.wait()}")
        time.sleep(0.002)
    raise AssertionError(f"no commit {number} after {PATIENCE_S:g} s")


@dataclass(frozen=True)
class Contents:
    """What a store has come to, without what says how often it was started."""

    totals: Totals
    rows: dict[str, bytes]
    scores: dict[str, dict[str, bytes]]
    members: dict[str, set[str]]

    @classmethod
    def of(cls, reader: RedisReader, client: Any) -> Contents:
        """`client`: a plain Redis client of the same server."""
        info = reader.info
        return cls(
            totals=Totals.of(reader.blobs(0)),
            rows=_texts(client.hgetall("tl:{0}:rows")),
            scores={name: _texts(client.hgetall(f"tl:{{0}}:scores:{name}")) for name in info.predictions},
            members={name: set(reader.members(name)) for name in info.segments},
        )


def _texts(fields: dict[bytes, bytes]) -> dict[str, bytes]:
    return {name.decode(): data for name, data in fields.items()}


def folded(transitions: Path) -> dict[str, set[str]]:
    """Who is in which segment, as somebody knows who has read all transitions and nothing else."""
    members: dict[str, set[str]] = {}
    for line in transitions.read_bytes().splitlines():
        data = msgspec.json.decode(line)["data"]
        users = members.setdefault(data["segment_id"], set())
        (users.add if data["in_segment"] else users.discard)(data["user_id"])
    return {name: users for name, users in members.items() if users}
