"""The same shard under another catalog: what both know is carried over by its name (docs/core.md, Another catalog).

A new catalog means other columns everywhere: rows, pending examples, models. Nothing is computed anew here: what only
the new catalog asks for comes from `past`, a shard of the new catalog that has taken the same inputs and stands at the
same place. Where there is none, it begins empty.

A prediction stays the same as long as it asks the same (`streams.core.questions`), a segment by its id.
Where edges or filters differ, users are judged anew by what is served of them (`Shard.review`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from config.catalog import Catalog, CategoryFilter, LikelihoodFilter, Prediction, ScoreFilter, Segment, walk
from models.jit import F64, I64
from models.scales import NONE, bin_of, likelihood_of
from models.snapshot import PredictionSnapshot, Snapshot, Status
from streams.core.carry_pending import carry_pending
from streams.core.dedupe import remember_all
from streams.core.definitions import CATEGORIES
from streams.core.filters import references, segments_in_order
from streams.core.questions import kept_predictions
from streams.core.row_names import (
    OF_MOMENTS,
    OF_NAMES,
    OF_PREDICTIONS,
    OF_SEGMENTS,
    UNNAMED,
    VIEWS,
    Key,
    nothing_in,
    row_keys,
)
from streams.core.shard import Shard, WentLive
from streams.core.state import BACKFILL, DEFINITION_CHANGE, EPOCH_NOW, TOUCHED, WAITS
from streams.core.users import UserTable
from streams.core.vocabulary import BUCKET

_COUNTED: Final = ("count", "total")
_ABOUT_PREDICTIONS: Final = (ScoreFilter, LikelihoodFilter, CategoryFilter)


@dataclass(frozen=True, slots=True)
class Past:
    """A shard of the new catalog that has taken the inputs of the old one, and stands where that stands.

    `is_whole`: from their beginning. Otherwise what the old one has counted goes further back, and counts.
    `predictions`: those that come from here although they ask the same. `counted`: names of events and traits of which
    this is whole and the old one is not, whatever it is of the others.
    """

    shard: Shard
    is_whole: bool
    predictions: frozenset[str] = frozenset()
    counted: frozenset[str] = frozenset()


def redefined(old: Shard, catalog: Catalog, *, generation: str, past: Past | None = None) -> Shard:
    """A shard of `catalog` that goes on where `old` stands, between two batches; `old` must not be used any more.

    `generation`: that of `old`, or another one if a segment of `old` is gone (it may come back one day, and its users
    would count from 1 again). Everything of the result has to be saved, and its users to be reviewed then. Raises
    RuntimeError when a batch is not done.
    """
    if old.waiting or old.has_effects or old.is_reviewing:
        raise RuntimeError("redefine: the batch before is not done, or not saved, or the review of an earlier change")
    old.users.release_unused()
    new = Shard(catalog, shard=old.number, shards=old.shards, generation=generation, ledger_key=old.ledger.key_source)
    new.ledger.adopt(old.ledger)
    anew = frozenset[str]() if past is None else past.predictions
    kept = [name for name in kept_predictions(old.catalog, catalog) if name not in anew]
    new.vocabulary.adopt(old.vocabulary)
    if past is not None:
        new.vocabulary.adopt(past.shard.vocabulary)
    _Users(old, new, past, kept).carry()
    new.si[:], new.sf[:] = old.si, old.sf
    carry_pending(old, new, None if past is None else past.shard, kept)
    new.use_limits()
    new.remembered.adopt(old.remembered)
    _carry_dedupe(old, new)
    _carry_predictions(old, new, past, kept)
    _announce(old, new, frozenset() if past is None else past.counted)
    _change_everything(new)
    new.rebind()
    _use_scales(old, new, kept)
    new.reschedule_all()
    return new


class _Users:
    """Rows, history buckets and what goes with them. What users only `past` knows is left out: `old` refused them."""

    def __init__(self, old: Shard, new: Shard, past: Past | None, kept: Collection[str]) -> None:
        self._old, self._new, self._past, self._kept = old, new, past, kept
        self._rows: I64 = np.array([row for row, user in enumerate(old.users.ids) if user], np.int64)

    def carry(self) -> None:
        old, new = self._old.users, self._new.users
        for row in self._rows.tolist():
            new.place(old.ids[row], row)
        new.reserve(len(old.buffer))
        new.users.order[: len(old)] = old.users.order[: len(old)]
        new.users.free[: len(old.buffer)] = old.users.free[: len(old.buffer)]
        keys = row_keys(self._new)
        for view in VIEWS:
            into: Any = getattr(new.rows, view)
            for column, key in enumerate(keys[view]):
                into[self._rows, column] = nothing_in(key)
        # What is copied last counts.
        if self._past is not None and self._past.is_whole:
            self._copy_old(keys)
            self._copy_past(keys, self._past.shard)
        else:
            if self._past is not None:
                self._copy_past(keys, self._past.shard)
            self._copy_old(keys, frozenset() if self._past is None else self._past.counted)
        self._end_waiting()
        self._give_up_names(keys)
        self._carry_history()

    def _copy_old(self, keys: Mapping[str, list[Key]], counted: Collection[str] = ()) -> None:
        """All but what belongs to predictions that are learned anew, and what is `counted` in the past."""

        def goes(key: Key) -> bool:
            if key[0] in OF_PREDICTIONS:
                return key[1] not in self._kept
            return key[0] in OF_NAMES and key[1] in counted

        theirs = {view: [UNNAMED if goes(key) else key for key in some] for view, some in row_keys(self._old).items()}
        self._copy(keys, self._rows, self._old, theirs, self._rows)

    def _copy_past(self, keys: Mapping[str, list[Key]], past: Shard) -> None:
        """Predictions that are learned anew, and what is counted of every user; no memberships: they were not told."""
        theirs = {
            view: [UNNAMED if self._is_ours(key) else key for key in some] for view, some in row_keys(past).items()
        }
        found = [past.users.find(self._old.users.ids[row]) for row in self._rows.tolist()]
        both = np.array([(row, at) for row, at in zip(self._rows.tolist(), found, strict=True) if at is not None])
        if len(both):
            self._copy(keys, both[:, 0], past, theirs, both[:, 1])

    def _is_ours(self, key: Key) -> bool:
        of_kept = key[0] in OF_PREDICTIONS and key[1] in self._kept
        return of_kept or key[0] in OF_SEGMENTS or key[0] in OF_MOMENTS

    def _copy(
        self, keys: Mapping[str, list[Key]], rows: I64, other: Shard, theirs: Mapping[str, list[Key]], at: I64
    ) -> None:
        for view in VIEWS:
            into, source = getattr(self._new.users.rows, view), getattr(other.users.rows, view)
            place = {key: column for column, key in enumerate(theirs[view]) if key != UNNAMED}
            for column, key in enumerate(keys[view]):
                if key in place:  # one by one: all at once would hold everything a second time
                    values = source[at, place[key]]
                    is_trait = key[0] == "trait"
                    into[rows, column] = self._recoded(str(key[1]), values, other) if is_trait else values

    def _recoded(self, trait: str, values: F64, other: Shard) -> F64:
        return self._new.vocabulary.recoded(trait, values, other.vocabulary)

    def _end_waiting(self) -> None:
        """Who waits to leave a segment before entering it, and need not any more."""
        first, crossings = self._new.definitions.layout.columns.b_cause, self._new.definitions.segments.crossings
        causes = self._new.users.rows.b[:, first : first + len(crossings)]
        causes[(causes == WAITS) & (crossings == 0)] = NONE

    def _give_up_names(self, keys: Mapping[str, list[Key]]) -> None:
        """What was counted of names without a column now goes to the shared one."""
        for view, kinds in (("f", _COUNTED), ("u", ("latest",))):
            into, source = getattr(self._new.users.rows, view), getattr(self._old.users.rows, view)
            place = {key: column for column, key in enumerate(keys[view])}
            for column, key in enumerate(row_keys(self._old)[view]):
                shared = (key[0], BUCKET, *key[2:])
                if key[0] not in kinds or key in place or shared not in place:
                    continue
                add = np.maximum if view == "u" else np.add
                into[self._rows, place[shared]] = add(into[self._rows, place[shared]], source[self._rows, column])

    def _carry_history(self) -> None:
        """Buckets by name; the arrays behind them are taken over as they are, and places without an owner are free."""
        old, new = self._old.users, self._new.users
        slot = np.full((len(new.buffer), len(self._new.catalog.history)), -1, np.int32)
        names = {name: j for j, name in enumerate(self._old.catalog.history)}
        for j, name in enumerate(self._new.catalog.history):
            if name in names:
                slot[self._rows, j] = old.history.slot[self._rows, names[name]]
        new.history = old.history._replace(slot=slot)
        new.use_slots(old.slots)
        if self._past is not None:
            wanted = [n for n in self._new.catalog.history if n not in names or n in self._past.counted]
            self._fetch_history(self._past.shard.users, wanted)

    def _fetch_history(self, past: UserTable, names: list[str]) -> None:
        """Buckets of names that are new in the catalog."""
        new, theirs = self._new.users, past.history
        for name in names:
            j = self._new.catalog.history.index(name)
            for row in self._rows.tolist():
                other = past.find(new.ids[row])
                if other is not None and (source := int(theirs.slot[other, j])) >= 0:
                    slot = new.need_slot(row, j)
                    for field in ("hours", "days", "newest_hour", "newest_day"):
                        getattr(new.history, field)[slot] = getattr(theirs, field)[source]


def _carry_dedupe(old: Shard, new: Shard) -> None:
    bound = len(old.dedupe.ring)
    count = int(old.dedupe.n[0])
    if bound:
        ring = old.dedupe.ring[np.arange(max(0, count - bound), count) % bound]
        remember_all(new.sealed["dedupe"], ring)


def _carry_predictions(old: Shard, new: Shard, past: Past | None, kept: Collection[str]) -> None:
    """Models, their distributions and their figures."""
    predictions: list[PredictionSnapshot] = list(new.snapshot.predictions)
    counts = new.snapshot.counts.copy()
    for p, name in enumerate(new.definitions.prediction_ids):
        source = old if name in kept else None if past is None else past.shard
        if source is None:
            continue
        their = source.definitions.prediction_ids.index(name)
        predictions[p] = _moved(source.snapshot.predictions[their], source, new)
        counts[p] = source.snapshot.counts[their]
        for field in new.population._fields:
            getattr(new.population, field)[p] = getattr(source.population, field)[their]
        new.chunk_numbers[p] = source.chunk_numbers[their]
        new.user_days[p] = source.user_days[their]
        if source is old and _stays_frozen(old, new, name):
            new.note_frozen(p, float(old.frozen_at_s[their]))
            continue
        comes_back = source is old and _comes_back(old, new, name)
        if (source is not old or comes_back) and predictions[p].status != Status.WARMING:
            # Its rows hold what the model said, or nothing; memberships follow at the users' turns.
            nothing = WentLive(int(old.si[EPOCH_NOW]) + 1, np.zeros(0), 0.0, new.vocabulary.named.copy())
            new.went_live[p] = nothing
        elif source is old and their in old.went_live:
            new.went_live[p] = _then(old.went_live[their], old, new)
    new.went_live_is_new = True
    new.snapshot = Snapshot(old.snapshot.version, tuple(predictions), counts)
    new.snapshot_is_new = True


def _moved(one: PredictionSnapshot, source: Shard, new: Shard) -> PredictionSnapshot:
    """The model over the features of `new`. One that is no weights is kept for the same ones alone."""
    if one.model is not None:
        return one
    return replace(one, weights=_by_feature(one.weights, source, new), means=_by_feature(one.means, source, new))


def _by_feature(values: F64, source: Shard, new: Shard) -> F64:
    place = {name: j for j, name in enumerate(source.vocabulary.feature_names())}
    names = new.vocabulary.feature_names()
    return np.array([values[place[name]] if name in place else 0.0 for name in names], np.float64)


def _then(then: WentLive, old: Shard, new: Shard) -> WentLive:
    place = {name: k for k, name in enumerate(old.vocabulary.columns()) if name is not None}
    named = [then.named[place[name]] if name in place else 0 for name in new.vocabulary.columns()]
    weights = _by_feature(then.weights, old, new) if len(then.weights) else then.weights
    return then._replace(weights=weights, named=np.array(named, np.uint8))


def _announce(old: Shard, new: Shard, counted: frozenset[str]) -> None:
    """Begin a review if a segment is new or has changed, or judges by what was `counted` anew, and turns where a
    prediction goes live or comes back.
    """
    table, changed = new.definitions.segments, False
    before = {name: g for g, name in enumerate(old.definitions.segment_ids)}
    same = _same_segments(old.catalog, new.catalog, counted)
    judged_anew = _judged_anew(old.catalog, new.catalog)
    for g, name in enumerate(new.definitions.segment_ids):
        if name in before and name in same:
            table.epoch[g] = old.definitions.segments.epoch[before[name]]
            table.announced[g] = old.definitions.segments.announced[before[name]]
            table.judged_anew[g] = old.definitions.segments.judged_anew[before[name]]
            continue
        changed = True
        table.epoch[g] = old.si[EPOCH_NOW] + 1
        is_backfill = name not in before or _judges_by(new.catalog.segments.get(name), counted)
        table.announced[g] = BACKFILL if is_backfill else DEFINITION_CHANGE
        table.judged_anew[g] = name in judged_anew
    goes_live = any(then.epoch > old.si[EPOCH_NOW] for then in new.went_live.values())
    goes_live = goes_live or any(_comes_back(old, new, name) for name in new.definitions.prediction_ids)
    if changed or goes_live:
        new.si[EPOCH_NOW] += 1
    if changed:
        new.begin_review()
    if goes_live:
        new.begin_turns()


def _stays_frozen(old: Shard, new: Shard, prediction: str) -> bool:
    """Whether a preview is one as it was: who archives it gives its scores up."""
    at_s = old.frozen_at_s[old.definitions.prediction_ids.index(prediction)]
    return not np.isnan(at_s) and not new.catalog.predictions[prediction].archived


def _comes_back(old: Shard, new: Shard, prediction: str) -> bool:
    """Whether a prediction was archived and is not any more: nobody has a score of it."""
    before = old.catalog.predictions.get(prediction)
    return before is not None and before.archived and not new.catalog.predictions[prediction].archived


def _use_scales(old: Shard, new: Shard, kept: Collection[str]) -> None:
    """Where the scale of a prediction differs, the scores that are served are those of the new one; ranks stay."""
    c, n = new.definitions.layout.columns, len(new.users)
    for p, name in enumerate(new.definitions.prediction_ids):
        if name not in kept or new.catalog.predictions[name].scale == old.catalog.predictions[name].scale:
            continue
        inside = np.flatnonzero(new.users.rows.b[:n, c.b_audience + p])
        for row in inside.tolist():
            z = np.float64(new.users.rows.f[row, c.f_z + p])
            of_model = new.serves(p) and new.definitions.predictions.percentile[p] == 0
            score = 100.0 * likelihood_of(z) if of_model else new.state.model.table[p, bin_of(z)]
            new.users.rows.f[row, c.f_score + p] = score


def _change_everything(new: Shard) -> None:
    """What the next save takes is all that there is."""
    users, sequence = new.users, new.definitions.layout.columns.u_sequence
    rows = [row for row, user in enumerate(users.ids) if user]
    users.users.touched[: len(rows)] = rows
    users.users.dirty[rows] = np.uint64((2 << len(new.definitions.prediction_ids)) - 1)
    new.si[TOUCHED] = len(rows)
    members = np.argwhere(users.rows.u[rows, sequence : sequence + len(new.definitions.segment_ids)] & 1)
    new.changed_members = dict.fromkeys((rows[k], g) for k, g in members.tolist())


def _same_segments(old: Catalog, new: Catalog, counted: frozenset[str]) -> set[str]:
    """Ids of the segments that mean the same in both, with all that they refer to, and do not judge by `counted`."""
    alike = {name for name, p in new.predictions.items() if _means_the_same(p, old.predictions.get(name))}
    same = {f"{p}.{c}" for p in alike for c in CATEGORIES}
    for name in segments_in_order({name: segment.filter for name, segment in new.segments.items()}):
        segment = new.segments[name]
        if not _means_the_same(segment, old.segments.get(name)) or _judges_by(segment, counted):
            continue
        used = {node.prediction for node in walk(segment.filter) if isinstance(node, _ABOUT_PREDICTIONS)}
        if used <= alike and set(references(segment.filter)) <= same:
            same.add(name)
    return same


def _judged_anew(old: Catalog, new: Catalog) -> set[str]:
    """Ids of the segments whose own filter is another one, or names a prediction that is: hysteresis is not for that.

    Not those that only refer to such a segment: their members have fulfilled what their filter still asks.
    """
    edited = {name for name, p in new.predictions.items() if not _means_the_same(p, old.predictions.get(name))}
    anew = {f"{p}.{c}" for p in edited for c in CATEGORIES}
    for name, segment in new.segments.items():
        before = old.segments.get(name)
        named = {node.prediction for node in walk(segment.filter) if isinstance(node, _ABOUT_PREDICTIONS)}
        if before is None or before.filter != segment.filter or named & edited:
            anew.add(name)
    return anew


def _judges_by(segment: Segment | None, counted: frozenset[str]) -> bool:
    """Whether its own filter names one of these events or traits."""
    nodes = () if segment is None else walk(segment.filter)
    return any(getattr(node, "event", None) in counted or getattr(node, "trait", None) in counted for node in nodes)


def _means_the_same(a: Prediction | Segment, b: Prediction | Segment | None) -> bool:
    return b is not None and a.model_dump(exclude={"name"}) == b.model_dump(exclude={"name"})
