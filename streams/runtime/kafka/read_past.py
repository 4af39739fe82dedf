"""Reads the events of Kafka from their beginning, in a process of its own: `python -m streams.runtime.kafka.read_past`.

What to read comes as its input, what it found goes into the store, where all workers can load it. It is started by
`past.py` and ends with it.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from config.catalog import Catalog
from config.errors import BrokerUnavailable, StoreFull, StoreUnavailable
from config.settings import load_settings
from streams.adapters.past_store import Offer, PastStore
from streams.adapters.redis_past import RedisPast
from streams.runtime.history import Gone, HistoryRun
from streams.runtime.kafka.past_log import kafka_past_log
from streams.runtime.past_reading import codec_of, read_history, signing_key

AWAY: Final = 75
"""The exit status when Kafka or the store does not answer: nothing is wrong with what is to be read."""
MAX_BYTES: Final = 8 << 30
"""So much may lie in the store at most."""


class Task(msgspec.Struct):
    """What to read."""

    catalog: bytes
    """As JSON."""
    digest: str
    """Of the catalog."""
    settings: dict[str, Any]
    """Of the worker, with their passwords."""
    store: str
    """Its address."""
    prefix: str
    id: str
    """Of what will be offered."""
    epoch: int
    predictions: list[str]
    folder: str
    """Where it says how far it is; nobody else may read it."""
    ledger_key: bytes


def main() -> int:
    """Read, and offer it. Raises what nobody expects; the last words tell."""
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Task)
    try:
        _work(task)
    except (BrokerUnavailable, StoreUnavailable) as error:
        sys.stderr.write(f"{error}\n")
        return AWAY
    return 0


def _work(task: Task) -> None:
    catalog, settings = Catalog.model_validate_json(task.catalog), load_settings(**task.settings)
    topic = settings.topic("events")
    with closing(RedisPast(task.store, prefix=task.prefix)) as store:
        gone = Gone(task.ledger_key, [store.deleted(shard) for shard in range(settings.shards)])
    with kafka_past_log(settings) as log:
        codec, folder = codec_of(signing_key(settings)), Path(task.folder)
        run = read_history(catalog, log, lambda n: f"{topic}-{n}", folder=folder, codec=codec, gone=gone)
    with closing(RedisPast(task.store, prefix=task.prefix)) as store:
        offer_to(store, task, run)


def offer_to(store: PastStore, task: Task, run: HistoryRun) -> bool:
    """Keep what was read, and offer it; False if another worker reads by now. `run` must not be used any more.

    Raises StoreFull where it is more than `MAX_BYTES`, and what `PastStore` does.
    """
    parts: dict[str, int] = {}
    is_offered = False
    try:
        _put_all(store, task, run, parts)
        is_offered = store.offer(task.epoch, Offer(task.id, task.digest, task.predictions, run.offsets, parts))
    finally:
        if not is_offered:
            store.discard(task.id, parts)  # nobody will ask for it, and a store that is full has no room for it
    return is_offered


def _put_all(store: PastStore, task: Task, run: HistoryRun, parts: dict[str, int]) -> None:
    left = MAX_BYTES
    learned = msgspec.msgpack.encode(run.learned())
    for name in ("learner", *(f"shard-{n}" for n in range(len(run.shards)))):
        is_learner = name == "learner"
        data = learned if is_learner else msgspec.msgpack.encode(run.shard_state(int(name.removeprefix("shard-"))))
        if (left := left - len(data)) < 0:
            raise StoreFull(f"what was read of the past has more than {MAX_BYTES:,} bytes")
        parts[name] = store.put(task.id, name, data)


if __name__ == "__main__":
    sys.exit(main())
