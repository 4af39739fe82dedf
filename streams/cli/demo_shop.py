"""The shop of `tideline demo --live`: CDNOW's purchases, moved up to this month, then visits of its customers.

The visits are those of `tideline simulate`, by the same people: their first simulated customer is CDNOW's first, and so
on; those beyond are new. The same days come out at every start, so a demonstration that was stopped goes on where it
was: what happened meanwhile is told at once. All that is kept for it is when it began and how far it was told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from config.errors import InputError, TidelineError
from config.loader import load_catalog
from config.settings import Settings
from streams.adapters.files import open_log
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.core.events import BadEvent, Event
from streams.runtime.embedded.produce import open_traffic
from streams.runtime.produce import segment_json
from streams.simulate.draws import I64
from streams.simulate.records import Record
from streams.simulate.run import Plan, run_simulation
from streams.simulate.sinks import Sink

BEGUN_FILE: Final = "demo.json"
_DAY_S: Final = 86_400
_LASTS_DAYS: Final = 3_650.0
_SLICE_EVENTS: Final = 5_000
_AT_ONCE: Final = 5_000
_NOTED_EVERY_S: Final = 2.0
_LONGEST_WAIT_S: Final = 1.0
_STOP_S: Final = 30.0
_USUAL_VISITORS: Final = 100_000


class Begun(msgspec.Struct):
    """What is kept of a demonstration."""

    start_ms: int
    """Milliseconds since 1970 UTC when the visits began."""
    visitors: int = _USUAL_VISITORS
    """With another number the same days would not come out again."""
    has_purchases: bool = False
    """Whether all purchases are in the log."""
    told_ms: int = -1
    """Visits up to so many milliseconds since then are in the log."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much goes on in the shop."""

    visitors: int | None = None
    """None: as many as it has begun with, 100,000 where it begins."""
    arrive_days: float = 28.0
    """They come for the first time within so many days."""
    visited_days: int = 12
    """Purchases end and visits begin so many days before the first start."""


class DemoShop:
    """Tells the log what happens in the shop (`streams.runtime.supervisor.Part`), in a thread.

    `purchases` and `catalog` are CDNOW's; `wall_s` gives seconds since 1970 UTC.
    """

    name = "The shop"

    def __init__(
        self,
        data_dir: Path,
        settings: Settings,
        purchases: tuple[Path, Path],
        say: Callable[[str], None],
        wall_s: Callable[[], float] = time.time,
        size: Size = Size(),
    ) -> None:
        self._data_dir = data_dir
        self._size = size
        self._settings = settings
        self._purchases = purchases
        self._say = say
        self._wall_s = wall_s
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: TidelineError | None = None

    def start(self, stopping: threading.Event) -> None:  # noqa: ARG002  it begins at once
        """See `Part`. Raises InputError as `begun_in` does, BrokerError where no log can be made."""
        begun = kept(self._data_dir, self._wall_s, self._size)
        folder = LogFolder.make(self._data_dir / LOG_FOLDER, self._settings.shards)
        self._closing.clear()
        self._failed = None
        self._thread = threading.Thread(target=self._run, args=(begun, folder), name="shop")
        self._thread.start()

    def ended(self) -> str | None:
        """See `Part`."""
        if self._thread is None or self._thread.is_alive():
            return None
        return "" if self._failed is None else f": {self._failed}"

    def stop(self) -> None:
        """See `Part`."""
        self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_STOP_S)

    def _run(self, begun: Begun, folder: LogFolder) -> None:
        try:
            with suppress(_Closing), open_traffic(folder, self._settings) as log:
                self._purchase(begun, log)
                self._visit(begun, log)
        except TidelineError as error:
            self._failed = error

    def _purchase(self, begun: Begun, log: Sink) -> None:
        """Every purchase, once. Those that were told twice because of a crash have the same message ids."""
        if begun.has_purchases:
            return
        file, catalog = self._purchases
        mapped = load_catalog(catalog)
        with open_log([file], mapped, self._wall_s()) as rows:
            later_s = moved_s(rows.last_time_s, begun.start_ms / 1_000.0)
            for first in range(0, rows.rows, _AT_ONCE):
                if self._closing.is_set():
                    raise _Closing
                log.send(list(_moved(rows.read(first, min(first + _AT_ONCE, rows.rows)), later_s)))
        begun.has_purchases = True
        keep(self._data_dir, begun)
        self._say(f"{rows.rows:,} purchases are told; now the visits of {self._size.visited_days} days.")

    def _visit(self, begun: Begun, log: Sink) -> None:
        plan = Plan(
            begun.visitors,
            _LASTS_DAYS,
            begun.start_ms,
            arrive_days=self._size.arrive_days,
            slice_events=_SLICE_EVENTS,
        )
        pace = _Told(begun, self._data_dir, self._wall_s, self._closing, self._say)
        try:
            run_simulation(plan, log, pace, named=customer)
        finally:
            keep(self._data_dir, begun)


class _Closing(Exception):
    """The shop closes."""


class _Told:
    """Tells each record when it is due (`streams.simulate.pacing.Pace`), and what was told before not again.

    The wall clock decides, so that a machine that has slept catches up.
    """

    def __init__(
        self,
        begun: Begun,
        data_dir: Path,
        wall_s: Callable[[], float],
        closing: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self._begun = begun
        self._data_dir = data_dir
        self._wall_s = wall_s
        self._closing = closing
        self._say = say
        self._noted_s = wall_s()
        self._is_open = False

    def send(self, sink: Sink, records: list[Record], due_ms: I64) -> None:
        begun = self._begun
        at = int(np.searchsorted(due_ms, begun.told_ms, side="right"))
        while at < len(records):
            if self._closing.is_set():
                raise _Closing
            now_ms = int(self._wall_s() * 1_000.0) - begun.start_ms
            end = min(at + _AT_ONCE, int(np.searchsorted(due_ms, now_ms, side="right")))
            if end == at:
                self._wait((int(due_ms[at]) - now_ms) / 1_000.0)
                continue
            sink.send(records[at:end])
            # Of records that are due in the same millisecond some may be left: they are told with the next ones.
            begun.told_ms = int(due_ms[end - 1]) - 1
            at = end
            self._note()

    def _wait(self, seconds: float) -> None:
        if not self._is_open:
            self._is_open = True
            self._say("The shop is open: visits are told as they happen.")
        self._closing.wait(min(seconds, _LONGEST_WAIT_S))

    def _note(self) -> None:
        if self._wall_s() - self._noted_s >= _NOTED_EVERY_S:
            keep(self._data_dir, self._begun)
            self._noted_s = self._wall_s()


def customer(number: int) -> str:
    """The id of a customer: CDNOW's count from 00001."""
    return f"{number + 1:05d}"


def moved_s(last_s: float, until_s: float) -> float:
    """By how many seconds purchases are moved, whole days, so that the last one is in the day before `until_s`."""
    return (until_s - last_s) // _DAY_S * _DAY_S


def _moved(events: list[Event | BadEvent], later_s: float) -> list[Record]:
    found = []
    for event in events:
        if not isinstance(event, BadEvent):
            moved = msgspec.structs.replace(event, time_s=event.time_s + later_s)
            found.append((event.user, segment_json(moved, "revenue")))
    return found


def begun_in(data_dir: Path, size: Size) -> Begun | None:
    """How far the demonstration there is; None where there is none.

    Raises InputError for what cannot be read, and for one that has begun with another number of visitors.
    """
    path = data_dir / BEGUN_FILE
    try:
        begun = msgspec.json.decode(path.read_bytes(), type=Begun)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(str(path), f"cannot be read: {error}; remove {data_dir} to begin anew") from error
    if size.visitors not in (None, begun.visitors):
        words = f"has begun with {begun.visitors:,} users; leave --users out, or take another --data-dir"
        raise InputError(str(data_dir), words)
    return begun


def kept(data_dir: Path, wall_s: Callable[[], float], size: Size) -> Begun:
    """The same; one of that size is begun where there is none."""
    begun = begun_in(data_dir, size)
    if begun is None:
        visitors = _USUAL_VISITORS if size.visitors is None else size.visitors
        begun = Begun(round((wall_s() - size.visited_days * _DAY_S) * 1_000.0), visitors)
        keep(data_dir, begun)
    return begun


def keep(data_dir: Path, begun: Begun) -> None:
    """Write down how far it is. Raises InputError."""
    path = data_dir / BEGUN_FILE
    written = path.with_suffix(".new")
    try:
        written.write_bytes(msgspec.json.encode(begun))
        written.replace(path)
    except OSError as error:
        raise InputError(str(path), f"cannot be written: {error.strerror}") from error
