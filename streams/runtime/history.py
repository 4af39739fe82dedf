"""What a service would know if it had had its catalog from the beginning: its log, read again beside the live stream.

All shards and one learner go through the log in lock-step: at every whole hour of a shard the learner learns what has
matured there, and its snapshot is in force in that shard. The shard that is furthest behind goes first, so nobody is
more than an hour ahead, and the same log gives the same models. No transition comes of it.

    past = HistoryRun(catalog, shards=2, codec=None)
    past.run(read, ends, tell)
    past.shard_state(0), past.learned()        # as they are joined to the live stream (`streams.runtime.joining`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from config.catalog import Catalog
from models.jit import I64
from models.learner import Learner, prediction_specs
from models.snapshot import BINS, ModelCodec, Status
from streams.core.decode import SegmentDecoder
from streams.core.events import BadEvent, Event
from streams.core.ledger import KeySource
from streams.core.message_hash import id_hash, place_hash
from streams.core.saving import Saver
from streams.core.shard import CHUNK_PARTS, Shard, Stop
from streams.core.state import GOALS
from streams.core.vocabulary import Vocabulary
from streams.runtime.records import Record

BATCH: Final = 2_048

Read = Callable[[int, int, int], Sequence[Record]]
"""(partition, offset, how many at most) -> the next records of its log; none at its end."""


class PastShard(msgspec.Struct, array_like=True, frozen=True):
    """A shard that has read its partition up to `offset`, as it would be stored."""

    offset: int
    rows: list[tuple[str, bytes]]
    blobs: dict[str, bytes]
    appended: dict[str, bytes]
    remembered: list[tuple[str, bytes]]
    deleted: list[tuple[str, bytes]]

    def load(
        self, catalog: Catalog, *, shard: int, shards: int, codec: ModelCodec | None, ledger_key: KeySource = b""
    ) -> Shard:
        """The shard itself, where it stood when it was learned from."""
        loaded = Shard(catalog, shard=shard, shards=shards, generation="past", ledger_key=ledger_key)
        if self.blobs:
            parts = sorted(self.appended.items(), key=lambda part: int(part[0].partition(":")[2]))
            Saver(loaded, codec).load(self.blobs, [self.rows], parts, [self.remembered], [self.deleted])
        return loaded


class PastLearner(msgspec.Struct, array_like=True, frozen=True):
    """What was learned of all shards together."""

    names: list[str]
    """Of the features, in column order."""
    built: list[str]
    """The same as the catalog alone knows them, with which it was made."""
    fields: dict[str, bytes]
    """The learner's state."""
    seen: dict[int, int]
    """Shard -> every chunk up to this number is learned."""
    serves: list[str]
    """Predictions that have left warm-up."""
    counts: dict[str, dict[int, bytes]]
    """Prediction -> shard -> its distribution, as int64."""


class Gone(NamedTuple):
    """Who was deleted before a log is read: nothing is learned of them."""

    key: KeySource = b""
    """The secret of the ledgers."""
    known: Sequence[Sequence[tuple[str, bytes]]] = ()
    """Per shard what its ledger knows (`Ledger.copy`)."""


NOBODY_GONE: Final = Gone()


class HistoryRun:
    """Shards and learner of a catalog over logs from their beginning. `source(n)` is what shard n calls partition n."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        shards: int,
        source: Callable[[int], str],
        codec: ModelCodec | None = None,
        gone: Gone = NOBODY_GONE,
    ) -> None:
        self.shards = [
            Shard(catalog, shard=n, shards=shards, generation="past", ledger_key=gone.key) for n in range(shards)
        ]
        for shard, known in zip(self.shards, gone.known, strict=False):
            for name, data in known:
                shard.ledger.merge(name, data)
        # With several shards no names are found; with one its learner knows columns by their places alone.
        self.learner = Learner(prediction_specs(catalog), Vocabulary(catalog).feature_names(), codec)
        self.offsets = [0] * shards
        """Behind the last record that was read of each partition."""
        self._codec = codec
        self._decoder = SegmentDecoder(catalog)
        self._hashes = [id_hash(source(n)) for n in range(shards)]

    def begin_at(self, offsets: Sequence[int]) -> None:
        """What lies before is not kept any more."""
        self.offsets = list(offsets)

    def run(self, read: Read, ends: Sequence[int], tell: Callable[[int], None] = lambda _: None) -> None:
        """Read every partition up to its end; `tell` is called with the number of records read so far."""
        reading = [n for n, end in enumerate(ends) if self.offsets[n] < end or self.shards[n].waiting]
        while reading:
            n = min(reading, key=lambda one: (self.shards[one].hour, one))
            if not self._go_on(n, read, ends[n]):
                reading.remove(n)
            tell(sum(self.offsets))

    def _go_on(self, n: int, read: Read, end: int) -> bool:
        """One shard up to its next whole hour, or the end of its batch; whether there is more."""
        shard = self.shards[n]
        if not shard.waiting:
            records = read(n, self.offsets[n], min(BATCH, end - self.offsets[n])) if self.offsets[n] < end else ()
            if not records:
                return False
            shard.feed([self._decode(n, record) for record in records])
            self.offsets[n] = records[-1].offset + 1
        if shard.run() is Stop.HOUR:
            self._work_hour(shard)
        forget_effects(shard)
        return True

    def _decode(self, n: int, record: Record) -> Event | BadEvent:
        place = place_hash(self._hashes[n], record.offset)
        return self._decoder.decode(record.value, record.offset, record.log_time_s, place)

    def _work_hour(self, shard: Shard) -> None:
        for chunk in shard.matured():
            self.learner.learn(chunk)
        if shard.needs_snapshot:
            shard.apply(self.learner.snapshot(shard.hour, self._counts(shard)))

    def _counts(self, asking: Shard) -> I64:
        """The distribution of all shards that rank by the same as the one that asks."""
        counts = asking.counts()
        for other in self.shards:
            if other is not asking:
                theirs = other.counts()
                for p in range(len(counts)):
                    if other.serves(p) == asking.serves(p):
                        counts[p] += theirs[p]
        return counts

    # --- what comes of it ---------------------------------------------------------------------------------------------

    def shard_state(self, n: int) -> PastShard:
        """Shard n as it would be stored. It must not be used any more."""
        shard = self.shards[n]
        batch = Saver(shard, self._codec).take_effects(1, b"")
        return PastShard(
            self.offsets[n],
            batch.rows,
            batch.blobs,
            dict(batch.appends),
            [(user, data) for user, data in batch.remembered if data is not None],
            [(name, data) for name, data in batch.deleted if data is not None],
        )

    def learned(self) -> PastLearner:
        """The learner as it would be stored, with where it stands."""
        serves = [one.spec.id for one in self.learner.predictions if one.warmup.left]
        names = self.shards[0].definitions.prediction_ids
        return PastLearner(
            list(self.shards[0].vocabulary.feature_names()),
            list(self.learner.feature_names),
            self.learner.state(),
            {shard.number: (shard.hour + 1) * CHUNK_PARTS - 1 for shard in self.shards},
            serves,
            {
                name: {
                    s.number: s.counts()[p].astype("<i8").tobytes() for s in self.shards if _is_counted(s, p, serves)
                }
                for p, name in enumerate(names)
            },
        )


def _is_counted(shard: Shard, p: int, serves: Sequence[str]) -> bool:
    """Whether its users are ranked by what its prediction is served by now."""
    return (shard.definitions.prediction_ids[p] in serves) == (shard.snapshot.predictions[p].status != Status.WARMING)


def forget_effects(shard: Shard) -> None:
    """Nobody is told anything, and all of it is saved at the end: users who are gone by then never were."""
    shard.transitions, shard.dead, shard.marks_before = [], [], []
    shard.si[GOALS] = 0
    if shard.deleted_users:
        shard.deleted_users = []
        shard.release_unsaved()


def counts_of(data: bytes) -> I64:
    """A distribution as `PastLearner` holds it."""
    return np.frombuffer(data, "<i8", BINS).astype(np.int64)


def all_of(read: Read, partition: int, start: int, end: int) -> Iterable[Sequence[Record]]:
    """The records of a partition from `start` up to `end`, batch by batch."""
    while start < end and (records := read(partition, start, min(BATCH, end - start))):
        yield records
        start = records[-1].offset + 1
