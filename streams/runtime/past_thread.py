"""The thread in which a worker looks after the past."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor


class PastThread:
    """Does the `_work` of a subclass until `stop`."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="past")

    def start(self) -> Future[None]:
        """Look after it; the future ends with `stop`, or with what it has failed by."""
        return self._thread.submit(self._work)

    def stop(self) -> None:
        """Look no more, and end the process that reads."""
        self._stopping.set()

    def close(self) -> None:
        """Wait until it has ended."""
        self.stop()
        self._thread.shutdown()

    def _work(self) -> None:
        raise NotImplementedError
