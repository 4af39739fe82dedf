"""What the auditor keeps: of each place the commits as a store carried them out, and what it holds at the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tests.sim.audit_time import Tick

EVENTS, EXAMPLES = "events", "examples"
UNMOVED = Tick()
Place = tuple[str, int]
"""(topic, partition): who works it has a shard of the store with that number."""


class Violation(AssertionError):
    """Something that must hold does not."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as a store carried it out."""

    number: int
    generation: str
    offset: int
    transitions: tuple[bytes, ...]
    messages: tuple[tuple[str, str, bytes], ...]
    """(topic, key, data)."""
    dead_letters: tuple[bytes, ...]
    tick: Tick = UNMOVED
    """Of a shard."""
    frozen: Mapping[str, tuple[float, Mapping[str, bytes]]] = field(default_factory=dict)
    """Prediction -> as of when everybody was scored for good, and what was said then, where this commit did it."""


@dataclass(slots=True)
class Book:
    """What the store of one place went through."""

    commits: list[Commit] = field(default_factory=list)
    """Those that stand; a set-back takes the last ones away."""
    owner: tuple[int, str] = (0, "")
    """Epoch and generation of the latest claim."""
    transitions: set[bytes] = field(default_factory=set)
    """All that were ever stored."""
    messages: dict[tuple[str, str, bytes], str] = field(default_factory=dict)
    """The same of messages, with the generation in which they were stored first."""
    generations: list[str] = field(default_factory=list)
    lost: list[Commit] = field(default_factory=list)
    """Those that set-backs took away."""
    gone_on: set[str] = field(default_factory=set)
    """Generations in which a commit was made after a set-back had taken some of it away."""

    def stands(self, transition: bytes) -> bool:
        """Whether a commit that stands holds it."""
        return any(transition in commit.transitions for commit in self.commits)


@dataclass(slots=True)
class Held:
    """What a store holds of one place at the end."""

    number: int
    generation: str
    position: bytes | None
    blobs: Mapping[str, bytes]
    scores: Mapping[str, Mapping[str, bytes]]
    members: Mapping[str, set[str]]
    appended: Mapping[str, bytes]
    outbox: Sequence[bytes]
    messages: Sequence[tuple[str, str, bytes]]
    dead_letters: Sequence[bytes]
    rows: Collection[str] = ()
    remembered: Collection[str] = ()
