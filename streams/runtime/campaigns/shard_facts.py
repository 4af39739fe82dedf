"""What the store of one shard says of its users, for whoever decides about messages. Claims and writes nothing.

A row is decoded as the shard has stored it: memberships, scores and filters of one user are of one commit. The state
of the shard around it (which columns there are, the names found so far) is read anew when it does not fit any more,
and every few seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from config.campaigns import Message
from config.errors import CatalogMoved, NotKept
from models.features import features_at
from models.jit import F32
from models.layout import SCORED_T
from models.reasons import describe, reasons
from models.snapshot import ModelCodec, Status
from streams.adapters.redis_reader import RedisReader, ScanPlace, StaleScan
from streams.campaigns.inputs import Facts, Score
from streams.campaigns.plan import Plan
from streams.core.definitions import CATEGORIES
from streams.core.ledger import Deleted
from streams.runtime.selecting import Selector
from streams.runtime.stored import StoredState, state_of
from streams.runtime.stored_rows import Said, StoredRows
from streams.runtime.uncompiled import uncompiled

STATE_S: Final = 5.0
"""So long the state of the shard is taken as the latest."""


class _Kept(msgspec.Struct):
    """As `streams.core.remembered` stores it."""

    properties: dict[str, Any]


_REMEMBERED: Final = msgspec.json.Decoder(dict[str, _Kept])


def _parts_of(message: Message) -> Iterator[str]:
    """All templates of a message, also those that one channel has of its own."""
    for parts in (message.parts, *message.by_channel.values()):
        yield from parts.values()


class _Known(NamedTuple):
    """What holds for all users of the shard."""

    state: StoredState
    selectors: Mapping[str, Selector]
    """By the name of the filter; those that can be asked."""
    read_s: float


class StoredShardFacts:
    """See `campaigns.ports.FactsReader`. One thread at a time. `clock`: seconds that never go back.

    `open_reader` raises StoreIncompatible where there is no store yet; so does every method then.
    """

    def __init__(
        self,
        open_reader: Callable[[], RedisReader],
        shard: int,
        *,
        clock: Callable[[], float],
        ledger_key: bytes = b"",
        codec: ModelCodec | None = None,
    ) -> None:
        """`ledger_key`: the secret under which the shard remembers deleted users. `codec`: for models with a key."""
        self._open = open_reader
        self._shard = shard
        self._ledger_key = ledger_key
        self._codec = codec
        self._clock = clock
        self._reader: RedisReader | None = None
        self._plan: Plan | None = None
        self._wants_reasons = False
        self._known: _Known | None = None

    def use(self, plan: Plan) -> None:
        """See the port."""
        self._plan = plan
        self._wants_reasons = any("reasons" in part for message in plan.messages() for part in _parts_of(message))
        self._known = None

    def facts(self, users: Sequence[str], as_of_s: float) -> dict[str, Facts]:
        """See the port. Raises CatalogMoved (ask again) where a shard has just gone over to other definitions."""
        known = self._current()
        try:
            return _nobody(users, as_of_s) if known is None else self._facts(known, users, as_of_s)
        except CatalogMoved:
            self._known = None
            raise

    def lives_s(self, users: Sequence[str]) -> dict[str, float]:
        """See the port."""
        there = list(self._rows(users))
        ends = self._opened().deletions(there, self._ledger_key)
        return {
            user: -inf if data is None else Deleted.of(data).until_s for user, data in zip(there, ends, strict=True)
        }

    def members(self, segment: str, cursor: str, limit: int) -> tuple[list[str], str]:
        """See the port. A cursor that means nothing any more begins anew: users come twice then."""
        number, _, server = cursor.partition(":")
        reader = self._opened()
        try:
            users, place = reader.members_page(segment, ScanPlace(self._shard, int(number or 0), server), limit)
        except StaleScan:
            users, place = reader.members_page(segment, ScanPlace(self._shard), limit)
        return users, f"{place.cursor}:{place.server}" if place is not None and place.shard == self._shard else ""

    def close(self) -> None:
        """Give the connections back."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # --- parts -------------------------------------------------------------------------------------------------------

    def _opened(self) -> RedisReader:
        if self._reader is None:
            self._reader = self._open()
        return self._reader

    def _current(self) -> _Known | None:
        """The state of the shard; None before its first commit."""
        if self._known is None or self._clock() - self._known.read_s > STATE_S:
            read_s, blobs = self._clock(), self._opened().blobs(self._shard)
            if not blobs:
                return None
            state = state_of(blobs, users=0, members={}, learners=(), codec=self._codec)
            self._known = _Known(state, self._selectors(state), read_s)
        return self._known

    def _selectors(self, state: StoredState) -> dict[str, Selector]:
        """Of a filter that rests on what is not kept (yet) nothing is known: it holds for nobody."""
        found = {}
        for name, tree in (self._plan.filters() if self._plan is not None else {}).items():
            try:
                found[name] = Selector.of(state, tree)
            except NotKept:
                continue
        return found

    def _rows(self, users: Sequence[str]) -> dict[str, bytes]:
        rows = self._opened().rows(users)
        return {user: row for user, row in zip(users, rows, strict=True) if row is not None}

    def _facts(self, known: _Known, users: Sequence[str], as_of_s: float) -> dict[str, Facts]:
        there = self._rows(users)
        if not there:
            return _nobody(users, as_of_s)
        state, names = known.state, list(there)
        rows = StoredRows.of(state.definitions.layout, list(there.values()))
        said = Said.of(state, rows)
        columns = state.definitions.layout.columns
        inside = (rows.rows.u[:, columns.u_sequence : columns.u_sequence + columns.segments] & 1) != 0
        chosen = {name: selector.chosen(rows, said) for name, selector in known.selectors.items()}
        remembered = self._opened().remembered(names)
        found = _nobody(users, as_of_s)
        ids = np.array(state.definitions.segment_ids, object)
        for n, user in enumerate(names):
            kept = remembered[n]
            found[user] = Facts(
                as_of_s=as_of_s,
                segments=frozenset(ids[inside[n]].tolist()),
                fits=frozenset(name for name, flags in chosen.items() if flags[n]),
                scores=self._scores(state, rows, said, n),
                remembered={} if kept is None else {k: v.properties for k, v in _REMEMBERED.decode(kept).items()},
            )
        return found

    def _scores(self, state: StoredState, rows: StoredRows, said: Said, n: int) -> dict[str, Score]:
        found = {}
        for p, name in enumerate(state.definitions.prediction_ids):
            if not said.inside[n, p]:
                continue
            category = int(said.category[n, p])
            found[name] = Score(
                score=_rounded(float(said.score[n, p]), 2),
                likelihood=_rounded(float(said.likelihood[n, p]), 4),
                category=CATEGORIES[category] if category < len(CATEGORIES) else None,
                reasons=self._reasons(state, rows, said, n, p) if self._wants_reasons else (),
            )
        return found

    def _reasons(self, state: StoredState, rows: StoredRows, said: Said, n: int, p: int) -> tuple[str, ...]:
        """In words, of a model that has them and serves the user."""
        snapshot = None if state.snapshot is None else state.snapshot.predictions[p]
        serves = snapshot is not None and snapshot.status != Status.WARMING and not said.waiting[n, p]
        if snapshot is None or not serves or snapshot.model is not None:
            return ()
        d = state.definitions
        x: F32 = np.zeros(d.layout.columns.features, np.float32)
        uncompiled(features_at)(rows.rows, d.layout.columns, d.features, n, float(rows.rows.t[n, SCORED_T]), x)
        found = reasons(snapshot.weights, snapshot.means, x, state.vocabulary.feature_names())
        return tuple(describe(each.feature, high=each.level == "high") for each in found)


def _nobody(users: Sequence[str], as_of_s: float) -> dict[str, Facts]:
    return {user: Facts(as_of_s=as_of_s, known=False) for user in users}


def _rounded(number: float, digits: int) -> float | None:
    return None if math.isnan(number) else round(number, digits)
