"""Marks of campaigns: an example says what was sent or withheld in its window, recounted from the notes of the log."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.sim.audit_time import SLACK_S, Taken
from tests.sim.evidence import (
    KIND_EVENT,
    KIND_SILENT,
    SENT,
    TOUCH_NONE,
    TOUCH_SENT,
    TOUCH_WITHHELD,
    WITHHELD,
    Chunk,
    Gone,
    Noted,
    learned_chunks,
    read_judged,
    user_hash,
)
from tests.sim.rules import Rules


@dataclass(frozen=True, slots=True)
class _Note:
    """A note, and from which clock to which it was known."""

    offset: int
    name: str
    time_s: float
    clock_s: float
    """Of the shard when it came."""
    ended_s: float
    """When a deletion has ended the life of its user; infinite for never."""

    def is_known_at(self, hour_s: float) -> bool:
        """Whether labels that were given at a whole hour may go by it."""
        return self.clock_s < hour_s <= self.ended_s


@dataclass(frozen=True, slots=True)
class Log:
    """What the log of one shard says of notes. `clocks_s`: by offset, see `audit_time`."""

    notes: Sequence[Noted]
    gone: Sequence[Gone]
    records: Sequence[Taken | None]
    clocks_s: Sequence[float]


@dataclass(slots=True)
class Recount:
    """Judges the examples of one shard, and counts in `checked` what there was to judge."""

    rules: Rules
    checked: Counter[str]
    _notes: dict[int, list[_Note]] = field(default_factory=lambda: defaultdict(list))
    """Hash of the user -> notes, in the order of the log."""
    _firsts: dict[tuple[int, int], int] = field(default_factory=dict)
    """(hash of the user, time) -> where the first event of that instant stands."""

    @classmethod
    def of(cls, rules: Rules, log: Log, checked: Counter[str]) -> Recount:
        """For the examples that the records of `log` have made."""
        recount = cls(rules, checked)
        for note in log.notes:
            ends = (log.clocks_s[gone.offset] for gone in log.gone if _ends(gone, note))
            ended_s = next(ends, math.inf)
            found = _Note(note.offset, note.name, note.time_s, log.clocks_s[note.offset], ended_s)
            recount._notes[user_hash(note.user)].append(found)
        for offset, record in enumerate(log.records):
            if record is not None and not record.deletes:
                recount._firsts.setdefault(_key(user_hash(record.user), record.time_s), offset)
        return recount

    def problems(self, chunk: Chunk) -> Iterator[str]:
        """Of a chunk that stands."""
        for (user, time_s, kind, _, _), touch in zip(chunk.examples, chunk.touches, strict=True):
            known = [note for note in self._notes[user] if note.is_known_at(chunk.handed_out_s)]
            end_s = time_s + self.rules.windows_s[chunk.prediction]
            sent = self._is_marked(SENT, known, (user, time_s, kind), end_s)
            withheld = self._is_marked(WITHHELD, known, (user, time_s, kind), end_s)
            wanted = _touches(sent, withheld)
            self._count(wanted)
            if touch not in wanted:
                yield f"{chunk.prediction}: user {user} at {time_s} is marked {touch}, not {sorted(wanted)}"

    def _is_marked(
        self, name: str, known: Sequence[_Note], example: tuple[int, float, int], end_s: float
    ) -> frozenset[bool]:
        """Whether an example is marked for notes of one name; both where that cannot be told from the log.

        A note of before the example may be hidden by a later one, as far as that lies behind the window.
        """
        _, time_s, _ = example
        notes = [note for note in known if note.name == name]
        inside = [note for note in notes if time_s - SLACK_S < note.time_s < end_s + SLACK_S]
        surely = [note for note in inside if time_s + SLACK_S < note.time_s < end_s - SLACK_S]
        if not inside:
            return frozenset([False])
        is_hidden = any(note.time_s > end_s - SLACK_S for note in notes)
        if any(not is_hidden or self._was_there(example, note) for note in surely):
            return frozenset([True])
        return frozenset([True, False])

    def _was_there(self, example: tuple[int, float, int], note: _Note) -> bool:
        """Whether the example was surely made before the note came, so that this has marked it itself."""
        user, time_s, kind = example
        if kind == KIND_EVENT:
            return self._firsts.get(_key(user, time_s), note.offset) < note.offset
        return kind == KIND_SILENT and time_s < note.clock_s

    def _count(self, wanted: frozenset[int]) -> None:
        self.checked["touches that cannot be told"] += len(wanted) > 1
        self.checked["treated"] += wanted == {TOUCH_SENT}
        self.checked["withheld"] += wanted == {TOUCH_WITHHELD}
        self.checked["untouched"] += wanted == {TOUCH_NONE}

    def late_notes(self, chunks: Sequence[Chunk]) -> int:
        """How many notes have come when labels that they would have marked may have been handed out."""
        hours = sorted({chunk.handed_out_s for chunk in chunks})
        late = 0
        for note in (note for notes in self._notes.values() for note in notes if note.name in (SENT, WITHHELD)):
            labelled_s = hours[at - 1] if (at := bisect_right(hours, note.clock_s)) else 0.0
            late += note.time_s + self.rules.lateness_s < labelled_s
        return late


def _touches(sent: frozenset[bool], withheld: frozenset[bool]) -> frozenset[int]:
    """What the mark may be: who was sent one message and spared another is treated."""
    found: set[int] = {TOUCH_SENT} if True in sent else set()
    if False in sent:
        found |= {TOUCH_WITHHELD if one else TOUCH_NONE for one in withheld}
    return frozenset(found)


def _ends(gone: Gone, note: Noted) -> bool:
    return gone.user == note.user and gone.offset > note.offset


def _key(user: int, time_s: float) -> tuple[int, int]:
    return user, round(time_s / SLACK_S)


def counted_problems(found: Mapping[str, int], notes: int, passed_over: int, late: int) -> Iterator[str]:
    """What a shard has counted, `found`, against what the log holds."""
    wanted = {"notes": notes, "notes_passed_over": passed_over, "late_notes": late}
    for name, count in wanted.items():
        if found[name] != count:
            yield f"{found[name]} {name} are counted, and there are {count}"


def judged_problems(log: Iterable[bytes], blobs: Mapping[str, bytes]) -> Iterator[str]:
    """The quality of a learner holds every usable example of its log once, under the mark that it came with."""
    wanted: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for _, chunk in learned_chunks(log, blobs):
        for (_, _, kind, _, usable), touch in zip(chunk.examples, chunk.touches, strict=True):
            wanted[chunk.prediction][touch, kind] += usable
    for prediction, counts in wanted.items():
        prefix = f"learner:{prediction}:quality:"
        found = sum((read_judged(data) for name, data in blobs.items() if name.startswith(prefix) and data), Counter())
        if found != +counts:
            yield f"{prediction}: the quality by (touch, kind) is {dict(found)}, the examples are {dict(+counts)}"
