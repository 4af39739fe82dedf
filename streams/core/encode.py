"""From decoded events to the columns that the loop reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from config import notes
from config.catalog import Catalog
from models.labels import NO_NOTE, OTHER_NOTE, SENT, WITHHELD
from streams.core.events import BadEvent, DeadReason, Event, Scalar, bad_event
from streams.core.goals import GoalBits
from streams.core.state import Events
from streams.core.vocabulary import Vocabulary


class _Name(NamedTuple):
    """What one event name means: columns (-1: none), bits it always sets, whether its properties matter, and which note
    of a campaign it is.
    """

    column: int
    history: int
    bits: int
    reads_properties: bool
    note: int = NO_NOTE


def _note(kind: int) -> _Name:
    """A note has no column, reaches no goal and tells nothing by its properties."""
    return _Name(-1, -1, 0, False, kind)


class Encoded(NamedTuple):
    """A batch for the loop: event e is item `item[e]` of the batch as fed; `refused` holds (place, dead letter)."""

    events: Events
    item: list[int]
    refused: list[tuple[int, BadEvent]]


class Encoder:
    """Turns events into columns. `row_of` gives a user's row, a new one if need be, -1 for a user of another shard."""

    def __init__(self, catalog: Catalog, vocabulary: Vocabulary, row_of: Callable[[str], int]) -> None:
        self._vocabulary = vocabulary
        self._row_of = row_of
        self._goals = GoalBits(catalog)
        self._history = {name: j for j, name in enumerate(catalog.history)}
        self._with_conditions = {a.event for p in catalog.predictions.values() for a in p.goal.atoms if a.where}
        self._names: dict[str, _Name] = {notes.SENT: _note(SENT), notes.WITHHELD: _note(WITHHELD)}
        self._users_limit = catalog.limits.users

    def _name(self, name: str) -> _Name:
        found = self._names.get(name)
        if found is None and notes.is_note(name):
            found = _note(OTHER_NOTE)  # not kept: such names are without number
        elif found is None:
            column = self._vocabulary.event_column(name)
            reads = name in self._with_conditions
            found = _Name(column, self._history.get(name, -1), self._goals.of(name, None), reads)
            if column != self._vocabulary.names - 1:
                self._names[name] = found  # names of the shared bucket are without number: they are not kept
        return found

    def encode(self, items: Sequence[Event | BadEvent]) -> Encoded:
        """Columns of all good events, in order."""
        size = len(items)
        kept: list[int] = []
        refused: list[tuple[int, BadEvent]] = []
        rows: list[int] = []
        names: list[_Name] = []
        bits: list[int] = []
        traits = _Traits()
        nothing = _Name(-1, -1, 0, False)
        for place in range(size):
            event = items[place]
            if isinstance(event, BadEvent):
                refused.append((place, event))
                continue
            row = self._row_of(event.user)
            if row < 0:
                refused.append((place, _wrong_partition(event)))
                continue
            name = nothing if event.name is None else self._name(event.name)
            rows.append(row)
            names.append(name)
            bits.append(
                self._goals.of(event.name, event.properties) if name.reads_properties and event.name else name.bits
            )
            kept.append(place)
            traits.add(None if name.note else event.traits, self._vocabulary)
        return Encoded(self._columns([items[k] for k in kept], rows, names, bits, traits), kept, refused)

    def no_room(self, event: Event) -> BadEvent:
        """The dead letter of an event whose user would be one too many."""
        detail = f"the shard holds its {self._users_limit} users already; raise limits.users in the catalog"
        return bad_event(DeadReason.TOO_MANY_USERS, detail, event.position, msgspec.json.encode(event))

    def of_deleted(self, event: Event) -> BadEvent:
        """The dead letter of an event of a deleted user: without its bytes, which would bring the user back into it."""
        detail = "the user was deleted, and the event is not later; its bytes are not kept"
        return bad_event(DeadReason.DELETED_USER, detail, event.position, b"")

    def _columns(
        self, events: list[Any], rows: list[int], names: list[_Name], bits: list[int], traits: _Traits
    ) -> Events:
        return Events(
            row=np.array(rows, np.int64),
            name=np.array([n.column for n in names], np.int64),
            history=np.array([n.history for n in names], np.int64),
            time_s=np.array([e.time_s for e in events], np.float64),
            log_time_s=np.array([e.log_time_s for e in events], np.float64),
            value=np.array([e.value for e in events], np.float64),
            message=np.array([e.message_hash for e in events], np.uint64),
            bits=np.array(bits, np.uint64),
            trait_first=np.array(traits.first, np.int64),
            trait_column=np.array(traits.column, np.int64),
            trait_value=np.array(traits.value, np.float64),
            deletes=np.array([e.deletes for e in events], np.uint8),
            note=np.array([n.note for n in names], np.uint8),
            outcome=np.zeros(len(events), np.uint8),
        )


def _wrong_partition(event: Event) -> BadEvent:
    detail = "by its hash (murmur2, as Java clients and aiokafka partition) the user belongs to another partition"
    return bad_event(DeadReason.WRONG_PARTITION, detail, event.position, msgspec.json.encode(event))


class _Traits:
    """Trait updates of a batch, flat, with the start of each event's part."""

    def __init__(self) -> None:
        self.first = [0]
        self.column: list[int] = []
        self.value: list[float] = []

    def add(self, traits: Mapping[str, Scalar] | None, vocabulary: Vocabulary) -> None:
        if traits:
            for trait, value in traits.items():
                column = vocabulary.traits.get(trait)
                if column is not None:
                    self.column.append(column)
                    self.value.append(vocabulary.trait_number(trait, value))
        self.first.append(len(self.column))
