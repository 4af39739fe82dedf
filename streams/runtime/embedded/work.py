"""One partition of the embedded log and its run, in a thread of its own.

    the log has records: a step with them
    it has none for a second: a step in which time passes

Where to begin is in the store. The file `worked` of the partition is for displays, and `told` keeps the witness of a
shard: a store that stands before it has gone back in time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from config.errors import Fenced, Stopped
from streams.adapters.log_folder import read_told, write_told, write_worked
from streams.adapters.log_reader import PartitionReader
from streams.runtime.log_bounds import Bounds, can_be_known, check_last, lacks_history, tell_history, where_to_begin
from streams.runtime.records import Record, Run
from streams.runtime.steady_clock import SteadyClock
from streams.runtime.witness import Witness

_LOG: Final = logging.getLogger(__name__)
IDLE_S: Final = 1.0
"""A partition without records is worked so often, so that time passes in it."""
LOOK_S: Final = 0.25
"""Without records it is asked so often whether something else is due."""
AFTER_FENCE_S: Final = 0.5
TELL_S: Final = 1.0
"""How far it has come is told so often at most."""

HANGS_S: Final = 5.0
"""A step that takes longer waits for a store that does not answer: how far behind we are says nothing then."""

Step = Callable[[Sequence[Record], float | None], None]
"""One batch; with the wall clock when the partition has nothing more."""


class PartitionWork:
    """Works one partition until `stop`.

    `place` is its name in messages; `make` gives the run and its step, in the thread; `batch` is the most records of a
    step; `accepts_gaps`: records that are gone by retention are left out. `on_ready` is called when all is loaded;
    `is_due` says whether there is something to do although no record has come.
    """

    def __init__(
        self,
        place: str,
        folder: Path,
        make: Callable[[], tuple[Run, Step]],
        *,
        batch: int,
        on_ready: Callable[[], None],
        accepts_gaps: bool = False,
        is_due: Callable[[Run], bool] = lambda _: False,
    ) -> None:
        self.run: Run | None = None
        self.is_ready = False
        self._place = place
        self._folder = folder
        self._make = make
        self._batch = batch
        self._on_ready = on_ready
        self._accepts_gaps = accepts_gaps
        self._is_due = is_due
        self._reader = PartitionReader(folder)
        self._watching = PartitionReader(folder)
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=place)
        self._clock = SteadyClock()
        self._read_to = 0
        self._told = -1
        self._told_s = 0.0
        self._step_since_s: float | None = None

    def hangs(self, now_s: float) -> bool:
        """Whether its step has run for too long by now (monotonic clock)."""
        since_s = self._step_since_s  # once: the thread may be done with it between two looks
        return since_s is not None and now_s - since_s > HANGS_S

    @property
    def lag(self) -> int:
        """Records that are still to be worked; for one thread at a time."""
        return max(0, self._watching.end - self._read_to)

    def tell(self, witness: Witness) -> None:
        """For the run, before it publishes anything of the commit."""
        write_told(self._folder, witness.to_text())

    def start(self) -> Future[None]:
        """Begin. The future ends with the work; its exception is what the work has failed by."""
        return self._thread.submit(self._work)

    def stop(self) -> None:
        """The batch in hand is the last one."""
        self._stopping.set()

    def close(self) -> None:
        """Wait until it has ended, and close the files."""
        self._thread.shutdown()
        self._reader.close()
        self._watching.close()

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self.run, step = self._make()
            while not self._stopping.is_set():
                try:
                    self._assign(self.run)
                    self._steps(self.run, step)
                except Fenced as error:
                    # Another process has it, or the store went back in time. If it is still ours, it is claimed again.
                    _LOG.warning("%s: %s", self._place, error)
                    self.is_ready = False
                    self._stopping.wait(AFTER_FENCE_S)
        except Stopped as error:
            _LOG.warning("%s: %s; the next start goes on from the store", self._place, error)

    def _assign(self, run: Run) -> None:
        set_backs = run.set_backs
        position = run.assign(Witness.from_text(read_told(self._folder)))
        if run.set_backs != set_backs:
            _LOG.warning(
                "%s: the store was set back to an earlier copy, or is another one. It is loaded again, and goes on at "
                "offset %d under a new generation: what was said since may be said again, with other ids.",
                self._place,
                position.offset,
            )
        bounds = Bounds(self._reader.begin, self._reader.end)
        begin = where_to_begin(self._place, position.offset, bounds, accepts_gaps=self._accepts_gaps)
        if can_be_known(position, bounds):
            (found,) = self._reader.read(position.last_offset, 1)
            check_last(self._place, position, Record(found.offset, found.log_time_s, found.value))
        if lacks_history(position.offset, bounds):
            oldest = self._reader.read(begin, 1)
            tell_history(self._place, bounds, oldest[0].log_time_s if oldest else None)
        self._read_to = begin
        self._tell()
        self.is_ready = True
        self._on_ready()
        _LOG.info("%s: at offset %d of %d", self._place, self._read_to, bounds.end)

    def _steps(self, run: Run, step: Step) -> None:
        worked_s = time.monotonic()
        while not self._stopping.is_set():
            now_s = self._clock.now_s()  # before the look: what is taken meanwhile comes later
            entries = self._reader.read(self._read_to, self._batch)
            if entries:
                self._clock.raise_to(entries[-1].log_time_s)
                self._step(step, [Record(entry.offset, entry.log_time_s, entry.value) for entry in entries], None)
                self._read_to = entries[-1].offset + 1
            elif (left_s := worked_s + IDLE_S - time.monotonic()) > 0 and not self._is_due(run):
                self._reader.wait(self._read_to, min(left_s, LOOK_S), self._stopping)
                continue
            else:
                self._step(step, [], now_s)
            worked_s = time.monotonic()
            if worked_s - self._told_s >= TELL_S:
                self._tell()
        self._tell()

    def _step(self, step: Step, records: Sequence[Record], now_s: float | None) -> None:
        self._step_since_s = time.monotonic()
        try:
            step(records, now_s)
        finally:
            self._step_since_s = None

    def _tell(self) -> None:
        """All before is stored as worked."""
        self._told_s = time.monotonic()
        if self._told != self._read_to:
            write_worked(self._folder, self._read_to)
            self._told = self._read_to
