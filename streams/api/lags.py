"""How far the workers are in the log of events, for all who ask: to ask Kafka takes a connection, and time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from config.errors import BrokerError
from streams.runtime.seen import PartitionLag

_LAG_S: Final = 2.0
"""So long it is answered again, a failure as well."""
_OLD_S: Final = 30.0
"""What is older is not shown while somebody asks: it is waited for."""


class _Answer(NamedTuple):
    at_s: float
    found: tuple[PartitionLag, ...] | BrokerError


class Lags:
    """How far they are, as it was a moment ago. For several threads, one of which asks; the others do not wait for it
    where anything is known.
    """

    def __init__(self, find: Callable[[], Sequence[PartitionLag]], clock: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._clock = clock
        self._asking = threading.Lock()
        self._kept: _Answer | None = None

    def now(self) -> dict[int, PartitionLag]:
        """By partition. Raises BrokerError."""
        kept = self._kept
        age_s = float("inf") if kept is None else self._clock() - kept.at_s
        if kept is None or age_s >= _LAG_S:
            kept = self._newer(kept, may_wait=age_s >= _OLD_S)
        if isinstance(kept.found, BrokerError):
            raise type(kept.found)(str(kept.found)) from kept.found
        return {each.partition: each for each in kept.found}

    def _newer(self, kept: _Answer | None, *, may_wait: bool) -> _Answer:
        """Asked for now; what is kept where another one is asking."""
        if not self._asking.acquire(blocking=kept is None or may_wait):
            assert kept is not None, "who knows nothing waits"
            return kept
        try:
            if self._kept is not None and self._kept is not kept:
                return self._kept  # somebody has asked while this one waited
            self._kept = found = self._asked()
            return found
        finally:
            self._asking.release()

    def _asked(self) -> _Answer:
        found: tuple[PartitionLag, ...] | BrokerError
        try:
            found = tuple(self._find())
        except BrokerError as error:
            found = error
        return _Answer(self._clock(), found)
