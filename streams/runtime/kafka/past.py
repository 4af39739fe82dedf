"""New definitions learn from Kafka's events, read from their beginning beside the live stream, and joined to it.

Any number of workers share the shards. One of them holds a lease and has a process read (`read_past.py`); what that
has found lies in the store (`streams.adapters.past_store`). Every worker follows there what is offered, loads what its
own runs need, and says what its learners have taken over; shards join when all learners have. What is not complete is
told by the store, as in `streams/runtime/embedded/past.py`: so whoever ends, another one goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec

from config.catalog import Catalog
from config.errors import BrokerUnavailable, Fenced, StoreUnavailable
from streams.adapters.kafka_topics import EXAMPLES_PARTITIONS
from streams.adapters.past_store import Board, Joined, Offer, PastStore
from streams.adapters.redis_past import RedisPast
from streams.core.partition import shard_of
from streams.core.shard import Shard
from streams.runtime.history import PastLearner, PastShard, all_of
from streams.runtime.joining import JoiningLearner, JoiningShard
from streams.runtime.kafka.past_lead import LOOK_S, PastJob, PastLead, is_waiting
from streams.runtime.kafka.past_log import kafka_partition
from streams.runtime.past_thread import PastThread
from streams.runtime.records import Record, Run
from streams.runtime.replay import catalog_digest
from streams.runtime.shard_run import ShardRun

_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Found:
    """An offer, and what of it this worker has loaded."""

    offer: Offer
    catalog: Catalog
    learned: JoiningLearner | None = None
    versions: dict[str, int] = field(default_factory=dict)
    """Of the predictions whose learners have taken over."""
    begun_s: dict[str, float] = field(default_factory=dict)
    """When those learners began."""
    states: dict[int, bytes] = field(default_factory=dict)
    """Of shards that have to join here."""

    @property
    def is_learned(self) -> bool:
        """Whether shards may join."""
        return self.versions.keys() >= set(self.offer.predictions)


def examples_partition(prediction: str) -> int:
    """The partition of the examples in which all chunks of a prediction are."""
    return shard_of(prediction, EXAMPLES_PARTITIONS)


class KafkaPasts(PastThread):
    """What of the past runs of this worker have to take over (`Pasts`); a thread of its own looks after it.

    `shards` and `learners` give the runs that this worker has or has had, by partition.
    """

    def __init__(
        self, job: PastJob, shards: Callable[[], Mapping[int, Run]], learners: Callable[[], Mapping[int, Run]]
    ) -> None:
        super().__init__()
        self._job = job
        self._shards = shards
        self._learners = learners
        self._found: _Found | None = None
        self._failed: str | None = None
        self._digest: tuple[Catalog, str] | None = None
        self._told: dict[int, Joined] = {}
        """What learners here have said, and nobody else knows yet."""
        self._lead = PastLead(job, self._stopping)

    # --- what is offered to runs, in their threads --------------------------------------------------------------------

    @property
    def are_coming(self) -> bool:
        """See `Pasts`."""
        return self._failed is None or self._failed != self._digest_of(self._job.wanted.catalog)

    def of_shard(self, shard: int, catalog: Catalog) -> JoiningShard | None:
        """See `Pasts`."""
        found = self._found
        if found is None or found.catalog is not catalog or not found.is_learned:
            return None
        state = found.states.get(shard)
        if state is None:
            return None
        predictions = frozenset(found.offer.predictions)
        return JoiningShard(
            found.offer.offsets[shard],
            partial(self._load, state, shard, catalog),
            partial(self._records, shard),
            predictions,
            found.versions,
            found.begun_s,
        )

    def of_learner(self, partition: int, catalog: Catalog) -> JoiningLearner | None:
        """See `Pasts`."""
        found = self._found
        if found is None or found.catalog is not catalog or found.learned is None:
            return None
        ours = frozenset(name for name in found.learned.predictions if examples_partition(name) == partition)
        return JoiningLearner(found.learned.id, ours, found.learned.learned) if ours else None

    def learner_joined(self, partition: int, reading: str, version: int, begun_s: float) -> None:
        """See `Pasts`."""
        self._told[partition] = Joined(reading, version, begun_s)

    def _load(self, state: bytes, shard: int, catalog: Catalog) -> Shard:
        past = msgspec.msgpack.decode(state, type=PastShard)
        shards, codec, key = self._job.settings.shards, self._job.codec, self._job.ledger_key
        return past.load(catalog, shard=shard, shards=shards, codec=codec, ledger_key=key)

    def _records(self, shard: int, start: int, end: int) -> Iterator[Sequence[Record]]:
        """Raises Fenced where Kafka does not answer: whoever takes the shard anew waits for that."""
        if start >= end:
            return
        try:
            with kafka_partition(self._job.settings, shard) as reader:
                reader.end = end
                yield from all_of(lambda _, offset, most: reader.read(offset, most), shard, start, end)
        except BrokerUnavailable as error:
            raise Fenced(f"shard {shard} cannot take over the past: {error}") from error

    def _digest_of(self, catalog: Catalog) -> str:
        known = self._digest
        if known is None or known[0] is not catalog:
            self._digest = known = catalog, catalog_digest(catalog)
        return known[1]

    # --- looking after it ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        is_away = False
        with closing(RedisPast(self._job.url, prefix=self._job.prefix)) as store:
            while not self._stopping.wait(LOOK_S):
                try:
                    self.look(store)
                    is_away = False
                except StoreUnavailable as error:
                    if not is_away:
                        _LOG.warning("the past is not looked after for now: %s", error)
                    is_away = True
            if not is_away:
                self._lead.release(store)

    def look(self, store: PastStore) -> None:
        """Once. Raises StoreError."""
        catalog = self._job.wanted.catalog
        board = store.read()
        self._pass_on(store)
        self._failed = board.failed
        self._follow(store, board, catalog)
        loaded = [run for run in self._shards().values() if isinstance(run, ShardRun) and run.is_loaded]
        self._lead.look(store, board, catalog, self._digest_of(catalog), loaded)

    def _pass_on(self, store: PastStore) -> None:
        """What learners have said, once. A learner says it again as long as it is not seen."""
        for partition in list(self._told):
            joined = self._told.pop(partition)
            store.joined(partition, joined)

    def _follow(self, store: PastStore, board: Board, catalog: Catalog) -> None:
        """Load what runs here have to take over, and forget what they have taken over."""
        offer = board.offer
        if offer is None or offer.catalog != self._digest_of(catalog):
            self._found = None
            return
        found = self._found
        if found is None or found.offer.id != offer.id or found.catalog is not catalog:
            found = _Found(offer, catalog)
        told = {name: board.joined.get(examples_partition(name)) for name in offer.predictions}
        joined = {name: one for name, one in told.items() if one and one.offer == offer.id}
        found.begun_s = {name: one.begun_s for name, one in joined.items()}
        found.versions = {name: one.version for name, one in joined.items()}
        if found.is_learned:
            found.learned = None
            self._fetch_states(store, found)
        elif found.learned is None and self._has_learner_for(found):
            data = store.get(offer, "learner")
            if data is not None:
                learned = msgspec.msgpack.decode(data, type=PastLearner)
                found.learned = JoiningLearner(offer.id, frozenset(offer.predictions), learned)
        self._found = found

    def _has_learner_for(self, found: _Found) -> bool:
        waiting = {examples_partition(name) for name in found.offer.predictions if name not in found.versions}
        return any(run.is_loaded and number in waiting for number, run in self._learners().items())

    def _fetch_states(self, store: PastStore, found: _Found) -> None:
        waiting = {number for number, run in self._shards().items() if isinstance(run, ShardRun) and is_waiting(run)}
        for shard in found.states.keys() - waiting:
            del found.states[shard]
        for shard in sorted(waiting - found.states.keys()):
            data = store.get(found.offer, f"shard-{shard}")
            if data is not None:  # otherwise it was withdrawn meanwhile, or lay too long: another one will come
                found.states[shard] = data
