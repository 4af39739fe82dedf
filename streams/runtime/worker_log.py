"""What of others goes into the log of a worker: what an operator can use, and no more often than that.

Faust tells of the services that it starts, and its timers of every question that Kafka answers late. Kafka's client
says ten times a second that a broker does not answer, for as long as that lasts.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 30.0
"""One line of a client for what it says again and again, in so long."""
MOST_KINDS: Final = 256
"""So many different things are known to have been told; of more, those of the longest time ago are forgotten."""
_FRAMEWORK: Final = ("faust", "mode")
_CLIENTS: Final = ("aiokafka", "kafka")
_SERVICE: Final = "[^"
"""How a line begins that the framework writes under our own names: a service starts, stops."""
_NUMBERS: Final = re.compile(r"[0-9]+")


class WorkerLogFilter(logging.Filter):
    """For a handler; any thread may log."""

    def __init__(self, pace_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._pace_s = pace_s
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], tuple[float, int]] = {}
        """(who, what without numbers) -> when it was told, and how often it was said and not told since then."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is told; one that stands for others says so."""
        who = record.name.partition(".")[0]
        if who in _FRAMEWORK:
            return record.levelno >= logging.ERROR
        if str(record.msg).startswith(_SERVICE):
            return record.levelno >= logging.WARNING
        return who not in _CLIENTS or self._is_due(record)

    def _is_due(self, record: logging.LogRecord) -> bool:
        words = record.getMessage()
        kind, now_s = (record.name, _NUMBERS.sub("", words)), self._pace_s()
        with self._lock:
            told_s, more = self._told.get(kind, (-EVERY_S, 0))
            if now_s - told_s < EVERY_S:
                self._told[kind] = told_s, more + 1
                return False
            self._told.pop(kind, None)  # they stand in the order in which they were told
            self._told[kind] = now_s, 0
            if len(self._told) > MOST_KINDS:
                del self._told[next(iter(self._told))]
        if more:
            record.msg, record.args = f"{words} (and {more:,} times more since this was told last)", None
        return True


def quiet_others() -> None:
    """For every handler of the process that writes its log."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(WorkerLogFilter())
