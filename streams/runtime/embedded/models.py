"""Follows the topic of models in the embedded log, from its start."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from streams.adapters.log_reader import PartitionReader
from streams.runtime.latest_models import LatestModels

_WAIT_S: Final = 1.0
_BATCH: Final = 64


class ModelsFollower:
    """Keeps `models` up to date. `folder` is the partition of the topic."""

    def __init__(self, folder: Path, models: LatestModels) -> None:
        self._reader = PartitionReader(folder)
        self._models = models
        self._next = self._reader.begin
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="models")

    def catch_up(self) -> None:
        """Take all there is. Raises BrokerError."""
        while entries := self._reader.read(self._next, _BATCH):
            self._models.take("models", ((e.offset, e.key, e.value, e.log_time_s) for e in entries))
            self._next = entries[-1].offset + 1

    def start(self) -> Future[None]:
        """Follow; the future ends with `stop`, or with what it has failed by."""
        return self._thread.submit(self._follow)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self.catch_up()
            self._reader.wait(self._next, _WAIT_S, self._stopping)

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def close(self) -> None:
        """Wait until it has ended, and close the files."""
        self._thread.shutdown()
        self._reader.close()
