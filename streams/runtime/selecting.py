"""Which of many stored users a filter holds for: the compiled program of the core, run over arrays.

`streams.core.filters` is what decides memberships, one user at a time as events come. Here the same program runs over
the columns of thousands of stored users; a property test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from config.catalog import Catalog, CategoryFilter, Filter, LikelihoodFilter, ScoreFilter, walk
from config.checks import MAX_FILTER_PARTS
from config.errors import NotKept
from models.jit import F64
from models.layout import NO_CATEGORY, TEXT_BASE, Columns
from streams.core.filters import (
    ALL,
    ANY,
    CATEGORY,
    LIKELIHOOD,
    MEMBER,
    NOT,
    SCORE,
    SINCE,
    TOTAL,
    TRAIT_EXISTS,
    TRAIT_IN,
    TRAIT_RANGE,
    WITHIN,
    Programs,
    ProgramWriter,
    references,
)
from streams.core.vocabulary import OTHER_TEXT, Vocabulary
from streams.runtime.stored import StoredState
from streams.runtime.stored_rows import Said, StoredRows, decided_at

Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Selector:
    """A filter for the users of one shard."""

    _programs: Programs
    _columns: Columns
    _uses: tuple[int, ...]
    """Places of the predictions whose audience a user must be in, as for a segment with this filter."""
    _state: StoredState

    @classmethod
    def of(cls, state: StoredState, tree: Filter) -> Selector:
        """Compile a filter for the shard whose state this is. Raises NotKept."""
        definitions = state.definitions
        uses = predictions_used(state, tree)
        places = tuple(definitions.prediction_ids.index(name) for name in uses)
        return cls(_compiled(state, tree), definitions.layout.columns, places, state)

    def chosen(self, users: StoredRows, said: Said) -> Flags:
        """[n] whether each user would be in a new segment with this filter now."""
        times_s = decided_at(self._state, users)
        found = holds_each(self._programs, 0, users, self._columns, times_s, said, self._members(users))
        for p in self._uses:
            found &= said.inside[:, p] & ~said.waiting[:, p]
        return found

    def _members(self, users: StoredRows) -> Flags:
        c = self._columns
        members: Flags = (users.rows.u[:, c.u_sequence : c.u_sequence + c.segments] & 1) != 0
        return members


def predictions_used(state: StoredState, tree: Filter) -> tuple[str, ...]:
    """The predictions that a filter rests on, also through segments. Raises NotKept for one that does not exist."""
    definitions = state.definitions
    named = [
        node.prediction for node in walk(tree) if isinstance(node, ScoreFilter | LikelihoodFilter | CategoryFilter)
    ]
    used = {_place(definitions.prediction_ids, name, "prediction") for name in named}
    for segment in references(tree):
        bits = int(definitions.segments.uses[_place(definitions.segment_ids, segment, "segment")])
        used |= {p for p in range(len(definitions.prediction_ids)) if bits >> p & 1}
    return tuple(name for p, name in enumerate(definitions.prediction_ids) if p in used)


def _compiled(state: StoredState, tree: Filter) -> Programs:
    parts = sum(1 for _ in walk(tree))
    if parts > MAX_FILTER_PARTS:
        raise NotKept(f"the filter has {parts} parts; at most {MAX_FILTER_PARTS} can be used")
    catalog, definitions = state.catalog, state.definitions
    vocabulary = Vocabulary(catalog)
    vocabulary.load(state.vocabulary.save())  # a copy: to ask for a text's number is to give it one
    writer = ProgramWriter(
        prediction=lambda name: _place(definitions.prediction_ids, name, "prediction"),
        segment=lambda name: _place(definitions.segment_ids, name, "segment"),
        event=_event_column(vocabulary),
        history=_history_place(catalog),
        trait=_trait_place(vocabulary),
        encode=_encoder(vocabulary),
    )
    writer.add(tree)
    return writer.build()


def _place(known: tuple[str, ...], name: str, what: str) -> int:
    if name not in known:
        raise NotKept(f"there is no {what} {name!r}")
    return known.index(name)


def _event_column(vocabulary: Vocabulary) -> Callable[[str], int]:
    def column(name: str) -> int:
        try:
            return vocabulary.known_column(name)
        except KeyError:
            raise NotKept(
                f"nothing is kept of the event {name!r}: list it under features.events or history of the catalog"
            ) from None

    return column


def _history_place(catalog: Catalog) -> Callable[[str], int]:
    def place(name: str) -> int:
        if name not in catalog.history:
            raise NotKept(f"{name!r} is not listed under history: only names that are keep counts per hour and day")
        return catalog.history.index(name)

    return place


def _trait_place(vocabulary: Vocabulary) -> Callable[[str], int]:
    def place(name: str) -> int:
        if name not in vocabulary.traits:
            raise NotKept(f"the trait {name!r} is not kept: list it under features.traits of the catalog")
        return vocabulary.traits[name]

    return place


def _encoder(vocabulary: Vocabulary) -> Callable[[str, str | float | bool], float]:
    def encode(trait: str, value: str | float | bool) -> float:
        number = vocabulary.trait_code(trait, value)
        if number == OTHER_TEXT:
            raise NotKept(f"the trait {trait!r} has more values than are told apart, and {value!r} is none of those")
        return number

    return encode


def holds_each(
    programs: Programs, which: int, users: StoredRows, c: Columns, time_s: F64, said: Said, member: Flags
) -> Flags:
    """[n] whether filter `which` holds for each user at `time_s` [n], as `streams.core.filters.holds` without widening.

    `member` is [n, segments].
    """
    score, likelihood, category = said.score, said.likelihood, said.category
    stack: list[Flags] = []
    for at in range(int(programs.start[which]), int(programs.start[which + 1])):
        code, a, b, n = programs.code[at].tolist()
        low, high = programs.bounds[at].tolist()
        if code in (ALL, ANY):
            inner = np.stack(stack[len(stack) - a :])
            del stack[len(stack) - a :]
            stack.append(np.all(inner, axis=0) if code == ALL else np.any(inner, axis=0))
        elif code == NOT:
            stack.append(~stack.pop())
        elif code == SCORE:
            stack.append((low <= score[:, a]) & (score[:, a] < high))
        elif code == LIKELIHOOD:
            stack.append((low <= likelihood[:, a]) & (likelihood[:, a] < high))
        elif code == CATEGORY:
            found = category[:, a]
            stack.append((found != NO_CATEGORY) & (b >> np.minimum(found, 3) & 1 == 1))
        elif code == MEMBER:
            stack.append(member[:, a])
        elif code == WITHIN:
            counted = users.count_within(a, b, n, time_s)
            stack.append((low <= counted) & (counted <= high))
        else:
            stack.append(_of_row(programs, code, (a, b, n), (low, high), users, c, time_s))
    return stack[0]


def _of_row(
    programs: Programs,
    code: int,
    operands: tuple[int, int, int],
    bounds: tuple[float, float],
    users: StoredRows,
    c: Columns,
    time_s: F64,
) -> Flags:
    """A condition on a trait, or on how often or when something was done."""
    a, b, n = operands
    low, high = bounds
    rows = users.rows
    if code == TOTAL:
        total: F64 = rows.f[:, c.f_total + a].astype(np.float64)
        return (low <= total) & (total <= high)
    if code == SINCE:
        latest: F64 = rows.u[:, c.u_latest + a].astype(np.float64)
        since: F64 = time_s - latest
        is_within: Flags = (latest != 0.0) & (low <= since) & (since < high)
        return is_within
    value: F64 = rows.t[:, c.t_trait + a]
    if code == TRAIT_RANGE:
        return (value < TEXT_BASE) & (low <= value) & (value <= high)
    if code == TRAIT_IN:
        is_one: Flags = np.isin(value, programs.values[b : b + n])
        return is_one
    assert code == TRAIT_EXISTS, f"no instruction {code}"
    is_unknown: Flags = np.isnan(value)
    return ~is_unknown if b == 1 else is_unknown
