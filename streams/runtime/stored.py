"""A shard's state as far as people look at it, read from the store without taking the shard.

Nothing here claims or writes, so it may be used while another process scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from config.catalog import Catalog
from config.errors import StoreError
from models.jit import F64
from models.learner import Learner, prediction_specs
from models.snapshot import ModelCodec, Snapshot
from streams.adapters.redis_reader import RedisReader
from streams.core.definitions import Definitions, compile_definitions
from streams.core.saving import POPULATION_BLOB, SHARD_BLOB, SNAPSHOT_BLOB, VOCABULARY_BLOB, read_population
from streams.core.state import CLOCK, COUNTERS, SF_SIZE, Population, allocate_population
from streams.core.vocabulary import Vocabulary
from streams.runtime.about import Run, stored_catalog, stored_run
from streams.runtime.lockstep import LEARNER_PREFIX
from streams.runtime.replay import Totals


class _SmallState(msgspec.Struct):
    """The part of a shard's small blob that is read here."""

    si: list[int]
    sf: bytes
    user_days: list[float]


@dataclass(frozen=True, slots=True)
class StoredState:
    """One shard as of its last commit."""

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
    """The shard's clock, seconds since 1970 UTC; NaN before the first event."""
    totals: Totals
    run: Run | None
    users: int
    members: dict[str, int]
    """segment -> users in it"""

    def served_from_s(self, p: int) -> float | None:
        """From when on prediction number `p` serves likelihoods, seconds since 1970 UTC; None while warming up."""
        served_s = self.learner.predictions[p]._served_from_s  # noqa: SLF001  the learner shows it in no other way
        return served_s if math.isfinite(served_s) else None


def state_of(
    blobs: Mapping[str, bytes], *, users: int, members: Mapping[str, int], codec: ModelCodec | None = None
) -> StoredState:
    """The state from its named parts (`RedisReader.blobs`).

    Raises StoreIncompatible when there has been no commit yet, ModelError or SnapshotRefused for broken parts, or for
    a signed model without its key.
    """
    catalog = stored_catalog(blobs)
    vocabulary = Vocabulary(catalog)
    known_from_catalog = vocabulary.feature_names()
    definitions = compile_definitions(catalog, vocabulary)
    small = msgspec.msgpack.decode(blobs[SHARD_BLOB], type=_SmallState)
    vocabulary.load(msgspec.msgpack.decode(blobs[VOCABULARY_BLOB]))
    fields = {n.removeprefix(LEARNER_PREFIX): d for n, d in blobs.items() if n.startswith(LEARNER_PREFIX)}
    population = allocate_population(len(catalog.predictions))
    read_population(blobs[POPULATION_BLOB], population)
    snapshot = None
    if SNAPSHOT_BLOB in blobs:
        snapshot = Snapshot.from_bytes(blobs[SNAPSHOT_BLOB], definitions.layout.columns.features, codec)
    return StoredState(
        catalog=catalog,
        definitions=definitions,
        vocabulary=vocabulary,
        learner=Learner.load(prediction_specs(catalog), known_from_catalog, fields, codec),
        snapshot=snapshot,
        population=population,
        user_days=np.array(small.user_days, np.float64),
        counters={name: small.si[at] for name, at in COUNTERS.items()},
        clock_s=float(np.frombuffer(small.sf, np.float64, SF_SIZE)[CLOCK]),
        totals=Totals.of(blobs),
        run=stored_run(blobs),
        users=users,
        members=dict(members),
    )


def read_state(reader: RedisReader, codec: ModelCodec | None = None) -> StoredState:
    """The only shard's state. Raises as `state_of` and the reader do, and StoreError before the first commit."""
    shards = reader.shard_infos()
    if len(shards) > 1:
        raise StoreError(
            f"this is the store of workers, with {len(shards)} shards, which only programs can read so far: "
            "docs/redis.md shows where scores and members are, and a worker's /readyz and /metrics how it is doing"
        )
    (shard,) = shards
    if not shard.number:
        raise StoreError(
            "a run has begun here, but nothing is stored yet. Ask again in a moment; if it was stopped, start the same "
            "`tideline replay` again."
        )
    members = {segment: reader.member_count(segment) for segment in reader.info.segments}
    return state_of(reader.blobs(shard.shard), users=shard.users, members=members, codec=codec)
