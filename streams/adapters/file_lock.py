"""Locks on files: held by an open file, so the system gives them back when the last process that has it open ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def try_lock(file: int) -> bool:
    """Lock the open file; False if another opener holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held_lock(file: int) -> Iterator[None]:
    """Wait for the lock of the open file, and hold it. Raises OSError."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


class ProcessLock:
    """A lock file that says which process holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the lock and write our process id down; False if another holder has it."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not try_lock(file):
            os.close(file)
            return False
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file
        return True

    def holder(self) -> str:
        """The process id in the lock file, for messages; `unknown` if there is none."""
        try:
            text = self._path.read_text().strip()
        except FileNotFoundError:
            text = ""
        return text if text.isdigit() else "unknown"

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes hold two files of one name."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
