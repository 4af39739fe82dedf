"""A shard's state as far as people look at it, read from the store without taking the shard.

Nothing here claims or writes, so it may be used while another process scores.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from config.catalog import Catalog
from config.errors import StoreError
from models.jit import F64, I64
from models.labels import NEXT
from models.learner import Learner, prediction_specs
from models.snapshot import BINS, ModelCodec, PredictionSnapshot, Snapshot, Status
from streams.adapters.redis_reader import RedisReader
from streams.core.definitions import Definitions, compile_definitions
from streams.core.questions import kept_predictions
from streams.core.saving import (
    POPULATION_BLOB,
    SHARD_BLOB,
    SNAPSHOT_BLOB,
    VOCABULARY_BLOB,
    WENT_LIVE_BLOB,
    read_population,
)
from streams.core.state import CLOCK, COUNTERS, MINUTE, Population, allocate_population
from streams.core.vocabulary import Vocabulary
from streams.runtime.about import CATALOG_BLOB, Run, stored_catalog, stored_run
from streams.runtime.hints import DeadLetter
from streams.runtime.learned_features import FEATURES_BLOB, LearnedFeatures, learner_fields
from streams.runtime.replay import Totals, catalog_digest
from streams.runtime.since import Since

_N = TypeVar("_N", np.int64, np.float64)

_LETTERS = msgspec.json.Decoder(DeadLetter)


class _SmallState(msgspec.Struct):
    """The part of a shard's small blob that is read here."""

    si: list[int]
    sf: bytes
    user_days: list[float]
    n: list[int]
    due: list[int]
    frozen: list[float] = []


class _WentLive(msgspec.Struct, array_like=True):
    """The part of a prediction's going live that is read here."""

    epoch: int


@dataclass(frozen=True, slots=True)
class StoredState:
    """One shard as of its last commit, or all shards of a service together."""

    catalog: Catalog
    definitions: Definitions
    vocabulary: Vocabulary
    """With every name found so far."""
    learner: Learner
    snapshot: Snapshot | None
    """The one in force; None before the first whole hour."""
    population: Population
    user_days: F64
    """[P] user-days in the audience since each prediction went live."""
    counters: dict[str, int]
    clock_s: float
    """The shard's clock, of several the latest, seconds since 1970 UTC; NaN before the first event."""
    looked_s: float
    """Up to when all looks have happened, seconds since 1970 UTC; of one shard."""
    served_epochs: tuple[int | None, ...]
    """[P] the epoch from which on users of one shard have had their turn since a prediction went live; None: not yet"""
    frozen_s: tuple[float | None, ...]
    """[P] as of which event time, in seconds since 1970 UTC, everybody was scored for good; None where scores move."""
    totals: Totals
    run: Run | None
    """None where events come without an end, to workers."""
    users: int
    members: dict[str, int]
    """segment -> users in it"""
    pending_examples: int = 0
    """Examples that wait for their label."""
    awaited: frozenset[str] = frozenset()
    """Ids of the predictions that one shard still learns from history: what it says of them is not theirs yet."""

    def served_from_s(self, p: int) -> float | None:
        """From when on prediction number `p` serves likelihoods, seconds since 1970 UTC; None while warming up."""
        served_s = self.learner.predictions[p].served_from_s
        return served_s if math.isfinite(served_s) else None


def state_of(
    blobs: Mapping[str, bytes],
    *,
    users: int,
    members: Mapping[str, int],
    learners: Sequence[Mapping[str, bytes]] | None = None,
    codec: ModelCodec | None = None,
) -> StoredState:
    """The state from its named parts (`RedisReader.blobs`); `learners`: the same of each learner that stands apart.

    Raises StoreIncompatible when there has been no commit yet, ModelError or SnapshotRefused for broken parts, or for
    a signed model without its key.
    """
    catalog = stored_catalog(blobs)
    vocabulary = Vocabulary(catalog)
    known_from_catalog = vocabulary.feature_names()
    definitions = compile_definitions(catalog, vocabulary)
    small = msgspec.msgpack.decode(blobs[SHARD_BLOB], type=_SmallState)
    vocabulary.load(msgspec.msgpack.decode(blobs[VOCABULARY_BLOB]))
    learned = [blobs] if learners is None else learners
    population = allocate_population(len(catalog.predictions))
    read_population(blobs[POPULATION_BLOB], population)
    snapshot = None
    if SNAPSHOT_BLOB in blobs:
        snapshot = Snapshot.from_bytes(blobs[SNAPSHOT_BLOB], definitions.layout.columns.features, codec)
    return StoredState(
        catalog=catalog,
        definitions=definitions,
        vocabulary=vocabulary,
        learner=_learner(catalog, known_from_catalog, learned, codec),
        snapshot=snapshot,
        population=population,
        user_days=np.array(small.user_days, np.float64),
        counters={name: small.si[at] for name, at in COUNTERS.items()},
        clock_s=float(np.frombuffer(small.sf)[CLOCK]),
        looked_s=60.0 * small.si[MINUTE],
        served_epochs=_served_epochs(blobs.get(WENT_LIVE_BLOB), len(catalog.predictions)),
        frozen_s=_frozen_s(small.frozen, len(catalog.predictions)),
        totals=Totals.of(blobs),
        run=stored_run(blobs),
        users=users,
        members=dict(members),
        pending_examples=small.n[NEXT] - min([small.n[NEXT], *small.due]),
        awaited=frozenset(Since.of(blobs).predictions),
    )


def _learner(
    catalog: Catalog, names: Sequence[str], learned: Sequence[Mapping[str, bytes]], codec: ModelCodec | None
) -> Learner:
    """What all learners have learned of the predictions of a catalog, under which some of them may not stand yet."""
    specs = prediction_specs(catalog)
    whole = Learner(specs, names, codec, accept_gaps=True)
    for blobs in learned:
        theirs = blobs.get(CATALOG_BLOB)
        same = set(catalog.predictions) if theirs is None else set(kept_predictions(stored_catalog(blobs), catalog))
        fields = {name: data for name, data in learner_fields(blobs).items() if name.partition(":")[0] in same}
        built = LearnedFeatures.of(blobs, catalog).built if FEATURES_BLOB in blobs else names
        one = Learner.load(specs, built, fields, codec, accept_gaps=True)
        whole.predictions = tuple(
            b if b.has_learned else a for a, b in zip(whole.predictions, one.predictions, strict=True)
        )
    return whole


def learner_of(learners: RedisReader, state: StoredState, codec: ModelCodec | None = None) -> Learner:
    """What the learners of a service know, from their own store. Raises as `state_of` does."""
    names = Vocabulary(state.catalog).feature_names()
    return _learner(state.catalog, names, _blobs_of_learners(learners), codec)


def _blobs_of_learners(learners: RedisReader) -> list[dict[str, bytes]]:
    return [learners.blobs(info.shard) for info in learners.shard_infos()]


def _served_epochs(data: bytes | None, predictions: int) -> tuple[int | None, ...]:
    went_live = msgspec.msgpack.decode(data, type=dict[int, _WentLive]) if data else {}
    return tuple(went_live[p].epoch if p in went_live else None for p in range(predictions))


def _frozen_s(stored: Sequence[float], predictions: int) -> tuple[float | None, ...]:
    known = [None if math.isnan(at_s) else at_s for at_s in stored]
    return tuple(known) if known else (None,) * predictions


def read_state(reader: RedisReader, codec: ModelCodec | None = None) -> StoredState:
    """What is stored, of all shards together. Raises as `state_of` and the reader do, StoreError before any commit."""
    learners = reader.learners()
    if learners is None:
        return _joined(reader, None, codec)
    with closing(learners):
        learned = _blobs_of_learners(learners)
    return _joined(reader, learned, codec)


def _joined(
    reader: RedisReader, learners: Sequence[Mapping[str, bytes]] | None, codec: ModelCodec | None
) -> StoredState:
    members = {segment: reader.member_count(segment) for segment in reader.info.segments}
    states: list[StoredState] = []
    for shard in reader.shard_infos():
        if shard.number:
            once = () if states and learners is not None else learners  # the first one's are shown
            blobs = reader.blobs(shard.shard)
            states.append(state_of(blobs, users=shard.users, members=members, learners=once, codec=codec))
    if not states:
        raise StoreError(
            "a run has begun here, but nothing is stored yet. Ask again in a moment; if it was stopped, start the same "
            "`tideline replay` or `tideline worker` again."
        )
    return states[0] if learners is None else _of_service(_under_one_catalog(states), reader)


def _under_one_catalog(states: Sequence[StoredState]) -> list[StoredState]:
    """Those under the catalog that most shards have: while one is on its way, the others follow in a moment."""
    digests = [catalog_digest(state.catalog) for state in states]
    ((most, _),) = Counter(digests).most_common(1)
    return [state for state, digest in zip(states, digests, strict=True) if digest == most]


def _of_service(states: Sequence[StoredState], reader: RedisReader) -> StoredState:
    """The shards of workers as one. Of dead letters those count that the store still has."""
    return with_kept_letters(together(states), reader)


def with_kept_letters(state: StoredState, reader: RedisReader) -> StoredState:
    """A service with the dead letters that the store still has: workers keep no count of all that there were.

    Of a run that keeps one, as it is.
    """
    if state.run is not None:
        return state
    shards = range(reader.info.shards)
    entries = (entry for shard in shards for entry in reader.each_dead_letter(shard))
    letters = Counter(_LETTERS.decode(entry.data).reason for entry in entries)
    taken = sum(state.counters[name] for name in ("events", "duplicates", "notes", "notes_passed_over"))
    return replace(state, totals=Totals(taken + letters.total(), 0, dict(letters)))


def together(states: Sequence[StoredState]) -> StoredState:
    """Shards of one service as one: sums, the newest model of each prediction, what else there is of the first one.

    While workers take up other definitions shards know others: each prediction is that of the shards that know it.
    """
    first = states[0]
    clocks = [state.clock_s for state in states if not math.isnan(state.clock_s)]
    return replace(
        first,
        snapshot=_newest(states),
        population=Population(
            *(_added(states, [getattr(state.population, name) for state in states]) for name in Population._fields)
        ),
        user_days=_added(states, [state.user_days for state in states]),
        counters={name: sum(state.counters[name] for state in states) for name in first.counters},
        clock_s=max(clocks, default=math.nan),
        users=sum(state.users for state in states),
        pending_examples=sum(state.pending_examples for state in states),
    )


def models_of(states: Sequence[StoredState], prediction: str) -> list[tuple[PredictionSnapshot, I64]]:
    """The models of one prediction that shards have in force, each with that shard's distribution [BINS].

    Of shards with the columns of the first alone: of another catalog they mean something else.
    """
    found = []
    for state in states:
        if state.snapshot is not None and prediction in state.catalog.predictions:
            p = list(state.catalog.predictions).index(prediction)
            if len(state.snapshot.predictions[p].weights) == states[0].definitions.layout.columns.features:
                found.append((state.snapshot.predictions[p], state.snapshot.counts[p]))
    return found


def _added(states: Sequence[StoredState], arrays: Sequence[npt.NDArray[_N]]) -> npt.NDArray[_N]:
    """The sum of each shard's array [P, …], by the predictions of the first one."""
    ids = list(states[0].catalog.predictions)
    total = np.zeros_like(arrays[0])
    for state, array in zip(states, arrays, strict=True):
        places = {id_: q for q, id_ in enumerate(state.catalog.predictions)}
        for p, id_ in enumerate(ids):
            if id_ in places:
                total[p] += array[places[id_]]
    return total


def _newest(states: Sequence[StoredState]) -> Snapshot | None:
    """Of every prediction the latest model that a shard has in force, with that shard's distribution."""
    versions = [state.snapshot.version for state in states if state.snapshot is not None]
    predictions = list(states[0].catalog.predictions)
    if not versions:
        return None
    features = np.zeros(states[0].definitions.layout.columns.features)
    none_yet = PredictionSnapshot(Status.WARMING, features, 0.0, features, 0, 0), np.zeros(BINS, np.int64)
    chosen = [max(models_of(states, id_), key=lambda one: one[0].version, default=none_yet) for id_ in predictions]
    counts = np.zeros((len(predictions), BINS), np.int64)
    for p, (_, distribution) in enumerate(chosen):
        counts[p] = distribution
    return Snapshot(max(versions), tuple(model for model, _ in chosen), counts)
