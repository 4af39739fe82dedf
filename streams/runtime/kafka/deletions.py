"""The topic of deletions, read once for all shards of a worker that load at the same time.

It has one partition for all shards, so each would read all of it to keep its own part. When a store was made anew or
went back in time, all of them ask at once. Each still hears what the topic has when it asks: what a reading has found
for others is kept for a short time, and read on from where it ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from typing import Any, Final

from config.settings import Settings
from streams.adapters.event_history import kafka_records
from streams.runtime.deletion_log import KnownDeletions, shard_deletions, shard_of_key

KEPT_S: Final = 60.0
"""How long the parts are kept that nobody has asked for, seconds."""
_Told = tuple[bytes | None, bytes | None]


class DeletionsReader:
    """Any thread may ask; who asks while another one reads waits for that.

    `read` gives the records from an offset on (`kafka_records`). `mark` is that of the secret, `ours` gives the shards
    of this worker: of others nothing is kept.
    """

    def __init__(
        self, read: Callable[[int], Generator[Any, None, None]], mark: str, ours: Callable[[], Collection[int]]
    ) -> None:
        self._read = read
        self._mark = mark
        self._ours = ours
        self._lock = threading.Lock()
        self._parts: dict[int, list[_Told]] = {}
        """Of the shards that have not asked since the topic was read from its beginning."""
        self._unreadable: list[_Told] = []
        """Records whose key names no shard: each shard counts them."""
        self._reached = 0
        self._forgetting: threading.Timer | None = None

    @classmethod
    def of_kafka(cls, settings: Settings, mark: str, ours: Callable[[], Collection[int]]) -> DeletionsReader:
        """Of the topic of these settings."""
        return cls(lambda first: kafka_records(settings, "deletions", first), mark, ours)

    def of_shard(self, shard: int) -> KnownDeletions:
        """Who was deleted of a shard, as the log has it now. Raises BrokerError, StoreIncompatible."""
        with self._lock:
            try:
                if shard not in self._parts:
                    self._begin_anew(shard)
                self._read_on()
            except BaseException:
                self._forget()
                raise
            records = self._unreadable + self._parts.pop(shard)
            if not self._parts:
                self._forget()
        return shard_deletions(records, shard, self._mark)

    def forget(self) -> None:
        """Keep nothing any more; who asks next reads from the beginning."""
        with self._lock:
            self._forget()

    def _begin_anew(self, shard: int) -> None:
        self._forget()
        self._parts = {number: [] for number in {shard, *self._ours()}}
        self._forgetting = threading.Timer(KEPT_S, self.forget)
        self._forgetting.daemon = True
        self._forgetting.start()

    def _read_on(self) -> None:
        with closing(self._read(self._reached)) as records:  # its client would keep the process from ending
            for record in records:
                self._reached = record.offset + 1
                shard = shard_of_key(record.key)
                if shard is None:
                    self._unreadable.append((record.key, record.value))
                elif shard in self._parts:
                    self._parts[shard].append((record.key, record.value))

    def _forget(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._parts, self._unreadable, self._reached, self._forgetting = {}, [], 0, None
