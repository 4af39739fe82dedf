"""What workers share of the past, in memory: the same contract as in Redis, for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from streams.adapters.past_store import (
    FAILED_S,
    LEASE_S,
    OFFER_S,
    PARTS_S,
    Board,
    Joined,
    Offer,
    Standing,
    cut,
    names_of,
)

T = TypeVar("T")


class MemoryPast:
    """As `RedisPast`; several workers may share one. `standing` and `ledgers` are what shards would store."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._epoch = 0
        self._last: str | None = None
        self._lease: tuple[str, float] | None = None
        self._offer: tuple[Offer, float] | None = None
        self._failed: tuple[str, float] | None = None
        self._joined: dict[int, Joined] = {}
        self.parts: dict[tuple[str, str, int], tuple[bytes, float]] = {}
        self.standing: dict[int, Standing] = {}
        self.ledgers: dict[int, dict[str, bytes]] = {}

    def read(self) -> Board:
        return Board(self._now(self._lease), self._now(self._offer), dict(self._joined), self._now(self._failed))

    def _now(self, kept: tuple[T, float] | None) -> T | None:
        return None if kept is None or self._clock() >= kept[1] else kept[0]

    def take(self, holder: str) -> int | None:
        if self._now(self._lease) not in (None, holder):
            return None
        if self._last != holder:
            self._epoch, self._last = self._epoch + 1, holder
        self._lease = holder, self._clock() + LEASE_S
        return self._epoch

    def release(self, holder: str) -> None:
        if self._now(self._lease) == holder:
            self._lease = None

    def put(self, offer_id: str, name: str, data: bytes) -> int:
        parts = cut(data)
        for number, part in enumerate(parts):
            self.parts[offer_id, name, number] = part, self._clock() + PARTS_S
        return len(parts)

    def discard(self, offer_id: str, parts: Mapping[str, int]) -> None:
        for name, number in names_of(parts):
            self.parts.pop((offer_id, name, number), None)

    def get(self, offer: Offer, name: str) -> bytes | None:
        found = [self._now(self.parts.get((offer.id, name, number))) for number in range(offer.parts[name])]
        return None if None in found else b"".join(part for part in found if part is not None)

    def offer(self, epoch: int, offer: Offer) -> bool:
        if epoch == self._epoch:
            self._offer = offer, self._clock() + OFFER_S
        return epoch == self._epoch

    def withdraw(self, epoch: int, offer: Offer) -> bool:
        if epoch == self._epoch:
            self._offer = None
            self.discard(offer.id, offer.parts)
        return epoch == self._epoch

    def fail(self, epoch: int, catalog: str) -> bool:
        if epoch == self._epoch:
            self._failed = catalog, self._clock() + FAILED_S
        return epoch == self._epoch

    def joined(self, partition: int, joined: Joined) -> None:
        self._joined[partition] = joined

    def standings(self, shards: int) -> list[Standing]:
        return [self.standing.get(shard, Standing(None, None)) for shard in range(shards)]

    def deleted(self, shard: int) -> list[tuple[str, bytes]]:
        return list(self.ledgers.get(shard, {}).items())

    def close(self) -> None:
        """Nothing is open."""
