"""Where records go: the port, and what writes them to a file or to standard output.

Another target (Kafka, HTTP) is another class with these two methods; nothing else here knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import IO, Final, Protocol

from config.errors import InputError
from streams.simulate.records import Record

_GZIP_LEVEL: Final = 3
"""Higher ones cost more than drawing the events, and save a tenth."""


class Sink(Protocol):
    """Takes records, in the order in which they are sent."""

    def send(self, records: list[Record]) -> None:
        """Send some thousand records of (user id, bytes). The user id is the key: one user's records keep their order.

        May hold the caller back while the other side is slow, and may return before everything has arrived. Raises a
        `TidelineError` when it cannot send; any part of the records may have been sent then.
        """

    def close(self) -> None:
        """Return when everything has arrived. Raises a `TidelineError` when it cannot arrive."""


class LineSink:
    """One record a line into an open binary file, which stays open. A broken pipe is for the caller to see."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name

    def send(self, records: list[Record]) -> None:
        with told(self._name):
            self._file.write(b"".join([raw + b"\n" for _, raw in records]))

    def close(self) -> None:
        with told(self._name):
            self._file.flush()


class FileSink:
    """One record a line into a file that is written anew, gzip if its name ends in `.gz`.

    Raises InputError for a file that cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        with told(self._name):
            self._plain = path.open("wb")
        self._file: IO[bytes] | GzipFile = self._plain
        if path.suffix == ".gz":
            # Without name and time in its header, so that the same records are the same bytes.
            self._file = GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=self._plain, mtime=0)

    def send(self, records: list[Record]) -> None:
        self.write(b"".join([raw + b"\n" for _, raw in records]))

    def write(self, data: bytes) -> None:
        """Put bytes behind what is there. Raises InputError."""
        with told(self._name):
            self._file.write(data)

    def close(self) -> None:
        with told(self._name):
            try:
                self._file.close()
            finally:
                self._plain.close()


@contextmanager
def told(name: str) -> Iterator[None]:
    """Say which file cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(name, f"cannot be written: {error.strerror or error}") from error
