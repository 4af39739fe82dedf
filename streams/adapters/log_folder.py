"""The folder of an embedded log: which topics it has, cut into how many partitions, and where they are.

<folder>/partitions                 how many partitions the topics by user have
<folder>/<topic>/<number>/          one partition (`log_format.py`)
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.errors import BrokerError, BrokerUnavailable, NoLog, TopicsDiffer
from config.settings import TOPIC_KINDS, Settings, TopicKind
from streams.adapters.file_lock import held_lock

LOG_FOLDER: Final = "log"
"""Its name in a data directory."""
SINGLE: Final[frozenset[TopicKind]] = frozenset({"examples", "models", "dead-letters", "deletions"})
"""Topics of one partition; the others are cut by user."""
_PARTITIONS_FILE: Final = "partitions"
_WORKED_FILE: Final = "worked"
_TOLD_FILE: Final = "told"
_TOLD_BYTES: Final = 255
"""The file has always so many: it is written in place, and in one piece."""


def bound_bytes(settings: Settings) -> int:
    """The most that a topic may hold."""
    return int(settings.log_max_gb * 1e9)


@dataclass(frozen=True, slots=True)
class LogFolder:
    """An embedded log that exists. Make it with `make` or `find`."""

    path: Path
    shards: int
    """Partitions of the topics by user."""

    @classmethod
    def make(cls, path: Path, shards: int) -> LogFolder:
        """The log in `path`, which is made if there is none.

        Raises TopicsDiffer for one of another number of partitions, BrokerUnavailable where it cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = _write_once(path / _PARTITIONS_FILE, shards)
        except OSError as error:
            raise BrokerUnavailable(f"{path}: no log can be made there ({error.strerror})") from error
        if found != shards:
            raise TopicsDiffer(
                f"the log in {path} has {found} partitions, not {shards}: users would change theirs. Go on with "
                f"--shards {found} (TIDELINE_SHARDS={found}), or begin anew in another data directory."
            )
        return cls(path, shards)

    @classmethod
    def find(cls, data_dir: Path) -> LogFolder:
        """The log of a data directory. Raises NoLog if there is none, BrokerUnavailable where it cannot be read, and
        BrokerError where that file is damaged.
        """
        path = data_dir / LOG_FOLDER
        try:
            text = (path / _PARTITIONS_FILE).read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            text = ""
        except OSError as error:
            raise BrokerUnavailable(f"{path}: the log cannot be read ({error.strerror})") from error
        if not text.endswith("\n"):  # or it is being made at this moment
            raise NoLog(
                f"{data_dir} holds no log. `tideline up -c CATALOG --data-dir {data_dir}` makes one and works it; "
                "where that is starting, wait until it says: Running."
            )
        return cls(path, _number(path / _PARTITIONS_FILE, text))

    def partitions(self, topic: TopicKind) -> int:
        """How many partitions a topic has."""
        return 1 if topic in SINGLE else self.shards

    def partition(self, topic: TopicKind, number: int) -> Path:
        """The folder of a partition, which may not exist yet."""
        return self.path / topic / str(number)

    def all_partitions(self) -> list[tuple[TopicKind, int]]:
        """Of all topics."""
        return [(topic, number) for topic in TOPIC_KINDS for number in range(self.partitions(topic))]


def _write_once(path: Path, number: int) -> int:
    """The number in the file; the given one is written down if there is none yet."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with held_lock(file):
            text = os.pread(file, 20, 0).decode(errors="replace")
            if text.endswith("\n"):
                return _number(path, text)
            os.pwrite(file, f"{number}\n".encode(), 0)
            os.fsync(file)
            return number
    finally:
        os.close(file)


def _number(path: Path, text: str) -> int:
    """What the file at `path` says. Raises BrokerError for what is no number."""
    if re.fullmatch(r"[1-9][0-9]{0,5}\n", text):
        return int(text)
    raise BrokerError(
        f"{path} is damaged: it should hold how many partitions the log has, which is how many folders "
        f"{path.parent / 'events'} has. Write that number into it, and end the line."
    )


def read_worked(partition: Path) -> int:
    """How far the worker has said that it has come in a partition; 0 if it has not."""
    try:
        text = (partition / _WORKED_FILE).read_text()
    except FileNotFoundError:
        return 0
    return int(text) if text.endswith("\n") else 0


def write_worked(partition: Path, offset: int) -> None:
    """Say it; for `tideline lag`. Not synced: it may be lost. Raises OSError."""
    file = os.open(partition / _WORKED_FILE, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(file, f"{offset:020}\n".encode(), 0)
    finally:
        os.close(file)


def read_told(partition: Path) -> str:
    """What `write_told` was given last; "" if nothing was."""
    try:
        return (partition / _TOLD_FILE).read_text().rstrip()
    except FileNotFoundError:
        return ""


def write_told(partition: Path, text: str) -> None:
    """Keep one line, durably: how far the store has come, to notice one that went back. Raises OSError."""
    data = text.encode()
    if len(data) >= _TOLD_BYTES:
        raise ValueError(f"a line of {len(data)} bytes to be told")
    file = os.open(partition / _TOLD_FILE, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(file, data.ljust(_TOLD_BYTES - 1) + b"\n", 0)
        os.fdatasync(file)
    finally:
        os.close(file)
