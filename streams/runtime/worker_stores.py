"""What every worker is started with, and the stores of its runs."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from config.catalog import Catalog, EventLimit
from config.errors import Stopped
from config.features import TraitLimit
from config.settings import Settings
from models.snapshot import ModelCodec
from streams.adapters.redis_keys import LEARNERS
from streams.adapters.redis_store import RedisStore
from streams.commit import Patience, patiently
from streams.core.definitions import segment_ids_of
from streams.ports import Courier, Identity, Sink, Store
from streams.runtime.births import birth_in
from streams.runtime.deletion_log import KnownDeletions, mark_of
from streams.runtime.place import Place
from streams.runtime.replay import catalog_digest
from streams.runtime.shard_run import Ports
from streams.runtime.store_watch import StoreWatch
from streams.runtime.traces import Traces

_LOG: Final = logging.getLogger(__name__)
AWAY_S: Final = 60.0
"""A store or a log that has been away for so long is not asked again. A last question may hang as long as a reply may
take, beyond that."""
ANSWER_S: Final = 10.0
"""How long the store may take for one reply, not counting the wait for copies. A stop waits for it, and so does a
partition that is given back: it should not be much longer than the slowest reply, which is a commit that a busy disk
holds up."""


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What a worker is started with."""

    settings: Settings
    catalog: Catalog
    place: Place
    codec: ModelCodec | None = None
    catalog_file: str = ""
    """Where the catalog is, with the machine, for the messages of others."""
    traces: Traces | None = None
    """None where they are off; opened with the worker."""


@dataclass(frozen=True, slots=True)
class LedgerSource:
    """What shards need to know who was deleted: the secret of the ledger, and how the log is asked for a shard's."""

    key: bytes = b""
    deletions: Callable[[int], KnownDeletions] = lambda _: KnownDeletions()


class WorkerStores:
    """Opens a store for each run of a worker; waits in them end with `give_up`.

    `url` is the server's, for `place`. `shards` is the number of shards, `learners` that of partitions with learners.
    `file` is the catalog of the file at `file_name`, `catalog` the one with what was defined beside it; `ledger` of
    deleted users.
    """

    def __init__(
        self,
        url: str,
        place: Place,
        file: Catalog,
        *,
        shards: int,
        learners: int,
        catalog: Catalog | None = None,
        file_name: str = "",
        ledger: LedgerSource | None = None,
    ) -> None:
        catalog = catalog or file
        self._url = url
        self.watch = StoreWatch(url, place.wait_for.replicas if place.wait_for else 0)
        """How the servers are; for metrics."""
        self._place = place
        self._limit = catalog.limits.dead_letters
        self._digest, self._file_name = catalog_digest(file), file_name
        self._ledger = ledger or LedgerSource()
        self._identity = self._named(catalog)
        self._shards = {False: shards, True: learners}
        self._stores: list[Store] = []
        self._leaving = threading.Event()
        self._patience = Patience(self._rest, most_s=AWAY_S, clock_s=time.monotonic)

    def _rest(self, seconds: float) -> None:
        """A pause in a wait for store or log. Raises Stopped when the worker has to stop."""
        if self._leaving.wait(seconds):
            raise Stopped("the store or the log did not answer when the worker had to stop")

    def give_up(self) -> None:
        """The worker has to stop: nobody waits for a store or a log that is away."""
        self._leaving.set()

    @property
    def ledger_key(self) -> bytes:
        """The secret under which deleted users are remembered."""
        return self._ledger.key

    def check(self) -> str:
        """Prepare the store; one line about what its settings promise. Raises StoreError."""
        store = self._open(self._place.patience, learners=False, goes_on=True)
        self._open(self._place.patience, learners=True, goes_on=True)
        promises = store.promises()
        if not store.keeps_all:
            _LOG.warning(
                "The store may forget what it has acknowledged (docs/redis.md, What the server must promise): %s",
                promises,
            )
        return f"Store: {promises}."

    def _named(self, catalog: Catalog) -> Identity:
        """What the store is made for; the file decides whether two starts mean the same, names are for readers."""
        return Identity(
            catalog=self._digest,
            predictions=tuple(catalog.predictions),
            segments=segment_ids_of(catalog),
            ledger=mark_of(self._ledger.key),
            file=self._file_name,
        )

    def ports(self, sink: Sink, courier: Courier, *, learners: bool = False) -> Ports:
        """For one run, with a store of its own. Raises StoreError, Stopped."""
        store = self._open(self._patience, learners=learners)

        def name(catalog: Catalog) -> None:
            self._identity = self._named(catalog)
            store.prepare(self._shards[learners], self._identity)

        return Ports(
            store=store,
            sink=sink,
            courier=courier,
            patience=self._patience,
            new_generation=lambda: secrets.token_hex(8),
            name=name,
            ledger_key=self._ledger.key,
            deletions=self._ledger.deletions,
            birth_of=self._births() if learners else None,
        )

    def _births(self) -> Callable[[int], str | None]:
        """For the thread of one learner, with a connection of its own; it asks seldom, and mostly never."""
        opened: list[RedisStore] = []

        def birth_of(shard: int) -> str | None:
            if not opened:
                opened.append(self._connect(Patience(self._rest, attempts=1), learners=False))
            return birth_in(opened[0], shard)

        return birth_of

    def _open(self, patience: Patience, *, learners: bool, goes_on: bool = False) -> RedisStore:
        """`goes_on`: with another file than before, as only a start may. Later it is another worker's file."""
        store = self._connect(patience, learners=learners)
        identity = replace(self._identity, goes_on=goes_on)
        patiently(patience, lambda: store.prepare(self._shards[learners], identity))
        return store

    def _connect(self, patience: Patience, *, learners: bool) -> RedisStore:
        wait_for = self._place.wait_for
        store = RedisStore(
            self._url,
            patience=patience,
            timeout_s=ANSWER_S + (0.0 if wait_for is None else wait_for.timeout_s),
            prefix=self._place.prefix + (LEARNERS if learners else ""),
            dead_letters=self._limit,
            wait_for=wait_for,
            part="learner" if learners else "partition",  # as an operator knows a shard
        )
        self._stores.append(store)
        return store

    def close(self) -> None:
        """Give the connections back."""
        for store in self._stores:
            store.close()


def words_about_names(catalog: Catalog, shards: int) -> str | None:
    """What to say of a catalog that leaves it to the stream which names become features; None for nothing."""
    by_limit = [kind for kind in catalog.trait_features.values() if isinstance(kind, TraitLimit)]
    if shards == 1 or not (isinstance(catalog.features.events, EventLimit) or by_limit):
        return None
    return (
        "Event names and trait values that the catalog does not list have no features of their own where the events "
        "have several partitions; list those that matter under features."
    )
