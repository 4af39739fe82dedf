"""What was read of the past and does not fit into the store leaves nothing there that live commits have no room for."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from config.errors import StoreFull
from streams.adapters.redis_past import RedisPast
from streams.adapters.redis_wire import Wire
from streams.adapters.valkey_server import EmbeddedValkey
from streams.runtime.kafka.read_past import Task, offer_to

MIB = 1 << 20


class LargeRun:
    """What a reading of two shards would have."""

    shards = (0, 1)
    offsets = (0, 0)

    def learned(self) -> bytes:
        return bytes(6 * MIB)

    def shard_state(self, _shard: int) -> bytes:
        return bytes(30 * MIB)


def test_a_past_that_does_not_fit_into_the_store_is_taken_out_again(tmp_path: Path) -> None:
    with (
        EmbeddedValkey(tmp_path) as server,
        closing(RedisPast(server.url)) as past,
        closing(Wire(server.url, timeout_s=10.0)) as wire,
    ):
        used = int(wire.ask("INFO", "memory").split(b"used_memory:")[1].split()[0])
        wire.ask("CONFIG", "SET", "maxmemory", used + 50 * MIB)
        epoch = past.take("me")
        assert epoch is not None
        task = Task(
            catalog=b"", digest="d", settings={}, store=server.url, prefix="tl", id="x", epoch=epoch,
            predictions=[], folder="", ledger_key=b"",
        )  # fmt: skip
        with pytest.raises(StoreFull):
            offer_to(past, task, cast("Any", LargeRun()))
        assert not [key for key in wire.ask("KEYS", "*") if b":x:" in key]
        assert past.read().offer is None
        assert past.take("me") == epoch, "there is room again"
