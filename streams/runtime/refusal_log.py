"""Tells in the log what a worker could not use: a producer that is set up wrongly must not go unnoticed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from streams.core.events import BadEvent
from streams.runtime.hints import hint_in_log
from streams.runtime.shard_run import ShardRun
from streams.runtime.words import printable

_LOG: Final = logging.getLogger(__name__)
EVERY_S: Final = 300.0
"""One line for a reason in a shard in so long."""


class RefusalLog:
    """Remembers what it has told. A run is told about by one thread at a time; several runs may be at once."""

    def __init__(self, pace_s: Callable[[], float] = time.monotonic) -> None:
        self._pace_s = pace_s
        self._told: dict[tuple[int, str], tuple[int, float]] = {}
        """(shard, reason) -> how many there were when it was told last, and when."""

    def tell(self, run: ShardRun) -> None:
        """After a step."""
        now_s = self._pace_s()
        for reason, count in run.counts.refused_by.items():
            before, told_s = self._told.get((run.number, reason), (0, None))
            if count > before and (told_s is None or now_s - told_s >= EVERY_S):
                self._told[run.number, reason] = count, now_s
                last = run.counts.refused_last[reason]
                ids = {"partition": run.number, "offset": last.position, "reason": reason}
                _LOG.warning("%s", self._words(last, count - before), extra=ids)

    def _words(self, last: BadEvent, count: int) -> str:
        records = "1 record" if count == 1 else f"{count:,} records"
        return (
            f"{last.source}: {records} could not be used ({last.reason}), the last one at offset {last.position}: "
            f"{printable(last.detail)}. What to do: {hint_in_log(last.reason)}"  # the detail quotes what users sent
        )
