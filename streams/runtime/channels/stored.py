"""What channels have taken in, kept in the store: the `DeskStore` of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import msgspec

from streams.adapters.redis_deliveries import dead_field
from streams.adapters.redis_desks import DeskStep, Ended, RedisDesks
from streams.runtime.channels.desk import Step, Taken
from streams.runtime.deliveries.pace import Delivery

_TAKEN: Final = msgspec.msgpack.Decoder(Taken)
_DELIVERY: Final = msgspec.msgpack.Decoder(Delivery)
_KINDS: Final[tuple[Ended, ...]] = ("dead", "unknown")


class StoredDesks:
    """See `run.DeskStore`. `owner`: the name under which this process owns the channels; `wall`: seconds since 1970."""

    def __init__(self, store: RedisDesks, owner: str, wall: Callable[[], float]) -> None:
        self._store = store
        self._owner = owner
        self._wall = wall

    async def load(self, channel: str) -> tuple[Taken, list[Delivery]]:
        """See the port."""
        taken, waiting = await asyncio.to_thread(lambda: (self._store.taken(channel), self._store.waiting(channel)))
        deliveries = sorted((_DELIVERY.decode(data) for data in waiting), key=lambda delivery: delivery.number)
        return Taken() if taken is None else _TAKEN.decode(taken), deliveries

    async def known(self, channel: str, ids: Collection[str]) -> set[str]:
        """See the port."""
        return await asyncio.to_thread(self._store.known, channel, ids, self._wall()) if ids else set()

    async def asked(self, channel: str) -> Mapping[str, Delivery]:
        """See the port."""
        found = await asyncio.to_thread(self._store.asked, channel)
        return {name: _DELIVERY.decode(data) for name, data in found.items()}

    async def step(self, channel: str, taken: Taken, step: Step) -> None:
        """See the port."""
        await asyncio.to_thread(self._step, channel, msgspec.msgpack.encode(taken), step)

    def ended(self, channel: str, kind: Ended) -> list[Delivery]:
        """Given up, or unknown, for people to look at: the latest `ENDED_KEPT`, the oldest first."""
        return [_DELIVERY.decode(data) for data in self._store.ended(channel, kind).values()]

    def _step(self, channel: str, taken: bytes, step: Step) -> None:
        ended: dict[Ended, dict[str, bytes]] = {"dead": _named(step.dead), "unknown": _named(step.unknown)}
        stored = DeskStep(
            taken=taken,
            put={delivery.id: msgspec.msgpack.encode(delivery) for delivery in step.put},
            drop=[delivery.id for delivery in step.drop],
            ids=step.ids,
            ended={kind: found for kind, found in ended.items() if found},
            ended_drop={kind: self._of_users(channel, kind, step.purged) for kind in _KINDS} if step.purged else {},
            asked_drop=[*step.asked, *(self._asked_of_users(channel, step.purged) if step.purged else ())],
        )
        self._store.step(self._owner, channel, stored, self._wall())

    def _of_users(self, channel: str, kind: Ended, users: Collection[str]) -> list[str]:
        """Deliveries to users who were deleted."""
        return _of_users(self._store.ended(channel, kind), users)

    def _asked_of_users(self, channel: str, users: Collection[str]) -> list[str]:
        return _of_users(self._store.asked(channel), users)


def _of_users(found: Mapping[str, bytes], users: Collection[str]) -> list[str]:
    return [name for name, data in found.items() if _DELIVERY.decode(data).user in users]


def _named(deliveries: Iterable[Delivery]) -> dict[str, bytes]:
    return {dead_field(each.number, each.id): msgspec.msgpack.encode(each) for each in deliveries}
