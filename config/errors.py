"""Every error that Tideline raises on purpose.

* ``TidelineError``
    - ``ConfigError``: something that a person wrote is not right
        + ``CatalogError``: the catalog; holds every problem found, with line and path
        + ``SettingsError``: an environment variable, or a command line value that stands for one
        + ``NotKept``: a filter asks for what is not kept of users
    - ``NotStored``: a user or segment that was asked for does not exist
    - ``InputError``: a whole input cannot be read (one bad event is a dead letter, not an error)
    - ``StoreError``: the store
        + ``StoreUnavailable``: no answer
            - ``CatalogMoved``: definitions have changed while it was read
        + ``Fenced``: the stored epoch or commit number is not ours
        + ``StoreIncompatible``: it holds another format, number of shards, catalog or input
        + ``StoreFull``: it has no memory left
    - ``BrokerError``: Kafka, or the embedded log
        + ``BrokerUnavailable``: no broker answers, or none can be started; a log that is full or cannot be written
        + ``TopicsDiffer``: a topic is missing, or is not as it has to be
        + ``NoLog``: nothing has made the log yet
        + ``RecordsGone``: what was to be read on from is not kept any more
    - ``ModelError``: models and their snapshots
        + ``SnapshotRefused``: bad signature, wrong shape, unreadable
        + ``ModelUnknown``: a model that the catalog names does not exist or cannot be used
    - ``Stopped``: a wait was given up because the process has to stop

A message says what was found and what to do about it. ``exit_code`` is what the command line ends with.
Anything else that escapes is a bug in Tideline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "BrokerError",
    "BrokerUnavailable",
    "CatalogError",
    "CatalogMoved",
    "ConfigError",
    "Fenced",
    "InputError",
    "ModelError",
    "ModelUnknown",
    "NoLog",
    "NotKept",
    "NotStored",
    "Problem",
    "RecordsGone",
    "SettingsError",
    "SnapshotRefused",
    "Stopped",
    "StoreError",
    "StoreFull",
    "StoreIncompatible",
    "StoreUnavailable",
    "TidelineError",
    "TopicsDiffer",
]


class TidelineError(Exception):
    """Base of all errors that Tideline raises on purpose; the command line prints them without a traceback."""

    exit_code: int = 1


class ConfigError(TidelineError):
    """Something that a person wrote is not right; a second try without a change cannot help."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a catalog.

    ``line`` counts from 1 and is None where there is no text; ``path`` is like
    ``predictions.orders_7d.goal.any[1].did``, empty for the whole catalog.
    """

    line: int | None
    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        where = [f"line {self.line}"] if self.line is not None else []
        where += [self.path] if self.path else []
        place = ", ".join(where)
        text = f"found {self.found}; expected {self.expected}"
        return f"{place}: {text}" if place else text


class CatalogError(ConfigError):
    """The catalog is refused. ``problems`` holds everything that was found wrong, in the order of the text."""

    def __init__(self, problems: Sequence[Problem], source: str = "catalog") -> None:
        if not problems:
            raise ValueError("a CatalogError needs at least one problem")
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.source = source
        count = len(self.problems)
        head = f"{source}: {count} problem{'s' if count > 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class SettingsError(ConfigError):
    """A setting has a value that cannot be used."""


class NotKept(ConfigError):
    """A filter asks for what is not kept of users; the message says what would be needed."""


class NotStored(TidelineError):
    """What was asked for by its name is not stored: a user that nobody has seen, a segment that does not exist."""

    exit_code = 1


class InputError(TidelineError):
    """A whole input cannot be read.

    ``source`` names it (a path, a topic); ``position`` is the row, byte or offset where reading stopped, None if it
    never started.
    """

    exit_code = 3

    def __init__(self, source: str, message: str, position: int | None = None) -> None:
        self.source = source
        self.position = position
        place = source if position is None else f"{source} at {position}"
        super().__init__(f"{place}: {message}")


class StoreError(TidelineError):
    """Something about the store."""

    exit_code = 4


class StoreUnavailable(StoreError):
    """The store did not answer; what was asked may or may not have been done."""


class CatalogMoved(StoreUnavailable):
    """What was read is of another catalog than the one that was read before it; asked again it fits."""


class Fenced(StoreError):
    """The stored epoch or commit number is not ours: another owner, or a store that went back in time."""


class StoreIncompatible(StoreError):
    """The store holds another format, number of shards, catalog or input than the one it is opened with."""


class StoreFull(StoreError):
    """The store refused a write for lack of memory or disk."""


class BrokerError(TidelineError):
    """Something about Kafka or the embedded log: it refused, was refused, or is damaged."""

    exit_code = 6


class BrokerUnavailable(BrokerError):
    """No broker answers, or a log cannot be written now; what was asked may or may not have been done."""


class TopicsDiffer(BrokerError):
    """A topic is missing, or is not as it has to be."""


class NoLog(BrokerError):
    """There is no log: nothing has made it yet."""


class RecordsGone(BrokerError):
    """A log does not have the place any more, or not yet, from which it was to be read on."""


class ModelError(TidelineError):
    """Something about a model."""

    exit_code = 5


class SnapshotRefused(ModelError):
    """A snapshot that must not be used: bad signature, wrong shape, unreadable."""


class ModelUnknown(ModelError):
    """A model that the catalog names does not exist or cannot be used."""


class Stopped(TidelineError):
    """A wait for the store or Kafka was given up because the process has to stop; everything is as it was stored."""
