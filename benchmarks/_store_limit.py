"""How many events a second the store would take if it were all there is.

A shard works events of the live shop and commits them, as a worker does, and every byte that goes to the server is
kept. Then the same bytes go to another server, from a list, and are timed: nothing is decoded, scored or packed. They
go there on as many connections at once as a worker has shards, whose commits overlap too: what shard 0 has sent, below
the keys of each shard.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks._live_traffic import LiveScript, LiveShop, live_catalog
from benchmarks._measure import Progress
from benchmarks.engine import Committer, Stopwatch, batches, decode_all, new_pair
from streams.adapters.memory_sinks import NullSink
from streams.adapters.redis_store import RedisStore
from streams.adapters.redis_wire import Wire
from streams.adapters.valkey_server import EmbeddedValkey
from streams.core.decode import build_decoder
from streams.core.events import BadEvent, Event
from streams.runtime.place import PATIENCE

Exchange = Sequence[bytes]
_MOST_CONNECTIONS = 10


def measure_store_limit(
    script: LiveScript, connections: int, folder: Path, progress: Progress
) -> dict[str, float | int | str | None]:
    """The days before `script.now_day` are stored first, and not timed; the day `now_day` is.

    `connections`: that send at once, each what the shard has sent; 10 at most, whose numbers are of one digit.
    Raises RuntimeError where the server refuses something.
    """
    if not 1 <= connections <= _MOST_CONNECTIONS:
        raise ValueError(f"1 to {_MOST_CONNECTIONS} connections, not {connections}")
    before, timed, events = _record(script, folder / "recorded", progress)
    progress.say(f"the store alone: {len(timed)} exchanges of {events:,} events")
    with ExitStack() as open_:
        server = open_.enter_context(EmbeddedValkey(folder / "replayed"))
        wires = [open_.enter_context(closing(Wire(server.url, timeout_s=60.0))) for _ in range(connections)]
        pool = open_.enter_context(ThreadPoolExecutor(connections))
        _replay(pool, wires, [_below_keys_of(shard, before) for shard in range(connections)])
        sent = [_below_keys_of(shard, timed) for shard in range(connections)]
        mark = time.perf_counter()
        _replay(pool, wires, sent)
        seconds = time.perf_counter() - mark
    size = sum(len(command) for commands in timed for command in commands)
    return {
        "events_per_s": connections * events / seconds,
        "events": connections * events,
        "bytes_per_event": size / events,
        "connections": connections,
    }


def _below_keys_of(shard: int, exchanges: Sequence[Exchange]) -> list[Exchange]:
    """As if that shard had sent them: the same lengths, so that the framing of the commands holds."""
    return [[command.replace(b":{0}:", b":{%d}:" % shard) for command in commands] for commands in exchanges]


def _replay(pool: ThreadPoolExecutor, wires: Sequence[Wire], exchanges: Sequence[Sequence[Exchange]]) -> None:
    """Those of each line one after another, as a shard does; the lines at once."""
    for done in [pool.submit(_send, wire, some) for wire, some in zip(wires, exchanges, strict=True)]:
        done.result()


def _send(wire: Wire, exchanges: Sequence[Exchange]) -> None:
    for commands in exchanges:
        for reply in wire.exchange(commands):
            if isinstance(reply, Exception):
                raise RuntimeError("the store refuses what it has taken of the shard") from reply


def _record(script: LiveScript, folder: Path, progress: Progress) -> tuple[list[Exchange], list[Exchange], int]:
    """What is sent before the timed day, what on it, and how many events it has."""
    catalog = live_catalog()
    pair = new_pair(catalog)
    shop = LiveShop(script, 1)
    decoder = build_decoder(catalog)

    def next_batches() -> Iterator[Sequence[Event | BadEvent]]:
        records = [record for _, _, record in shop.keyed(shop.next_day())]
        for some in batches(records, catalog.limits.batch_events):
            yield decode_all(decoder, some)

    for day in range(script.now_day):
        progress.say(f"the store alone: day {day + 1} of {script.now_day}")
        for items in next_batches():
            pair.take(items)
            pair.shard.transitions.clear()
    before: list[Exchange] = []
    timed: list[Exchange] = []
    with EmbeddedValkey(folder) as server:
        store = RedisStore(server.url, patience=PATIENCE, outbox_keep=1_000)
        with closing(store):
            with _kept(before):
                committer = Committer(pair, store, NullSink(), Stopwatch())
                committer.commit()
            events = 0
            with _kept(timed):
                for items in next_batches():
                    pair.take(items, save=committer.commit_within)
                    committer.commit()
                    events += len(items)
    return before, timed, events


@contextmanager
def _kept(exchanges: list[Exchange]) -> Iterator[None]:
    """Keep what every line to a server is asked meanwhile."""
    inner = Wire.exchange

    def exchange(self: Wire, commands: Sequence[bytes], *, on_same_line: bool = False) -> list[Any]:
        exchanges.append(list(commands))
        return inner(self, commands, on_same_line=on_same_line)

    with patch.object(Wire, "exchange", exchange):
        yield
