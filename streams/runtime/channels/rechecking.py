"""A second look at messages that are late: by what shards and campaigns have stored of their users by now."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from streams.adapters.redis_campaigns import RedisCampaigns
from streams.adapters.redis_reader import RedisReader
from streams.campaigns.allowance import Allowance
from streams.campaigns.effects import Send
from streams.campaigns.inputs import Facts
from streams.campaigns.plan import Plan
from streams.campaigns.profiles import unpack_profile, with_profile
from streams.campaigns.question import MessageFailed, Tools, Wait, Withhold
from streams.campaigns.recheck import recheck
from streams.campaigns.state import Books, State
from streams.core.partition import shard_of
from streams.runtime.campaigns.opened import Where
from streams.runtime.campaigns.past import known_of
from streams.runtime.campaigns.shard_facts import StoredShardFacts
from streams.runtime.campaigns.two_logs import Place


class _NothingShared:
    """See `allowance.Grants`: at a second look nothing is used."""

    def raise_to(self, resource: str, *_: float) -> int:
        raise AssertionError(f"a second look asked for {resource}")

    def lower_to(self, resource: str, *_: int) -> None:
        raise AssertionError(f"a second look gave {resource} back")


def _no_texts(*_: Any) -> Any:
    raise MessageFailed("a second look renders nothing")


_SPARE: Final = Allowance(State(), Books({}), _NothingShared(), generation="", partitions=1)


class StoredUsers:
    """Facts of users as they are now, read without owning anything. Threads may share it; one is served at a time.

    What campaigns have read of the log is in their profiles, and shards are never behind that: so facts are as of when
    the campaigns of the user's partition were, as they have told last.
    """

    def __init__(self, where: Where, shards: int) -> None:
        self._where = where
        self._shards = shards
        self._lock = threading.Lock()
        self._store = RedisCampaigns(where.url, prefix=where.prefix)
        self._facts: dict[int, StoredShardFacts] = {}
        self._plan: Plan | None = None

    def facts(self, users: Sequence[str], plan: Plan) -> dict[str, Facts]:
        """Of every user that is asked for, known or not, as the plan needs it. Raises StoreError."""
        found: dict[str, Facts] = {}
        with self._lock:
            if plan is not self._plan:
                for each in self._facts.values():
                    each.use(plan)
                self._plan = plan
            by_shard: dict[int, list[str]] = {}
            for user in dict.fromkeys(users):
                by_shard.setdefault(shard_of(user, self._shards), []).append(user)
            for shard, some in by_shard.items():
                found |= self._of_shard(shard, some, plan)
        return found

    def close(self) -> None:
        """Give the connections back."""
        with self._lock:
            self._store.close()
            for each in self._facts.values():
                each.close()

    def _of_shard(self, shard: int, users: Sequence[str], plan: Plan) -> dict[str, Facts]:
        read_s, position = self._store.told_read(shard)  # before anything is read: it may be later by then
        profiles = self._store.profiles_of(shard, users)
        stored = self._opened(shard, plan).facts(users, read_s)
        known = known_of(Place.from_bytes(position), plan.latest())
        said = {user: unpack_profile(data) for user, data in profiles.items()}
        return {user: with_profile(stored[user], said.get(user), known) for user in users}

    def _opened(self, shard: int, plan: Plan) -> StoredShardFacts:
        found = self._facts.get(shard)
        if found is None:
            where = self._where
            found = self._facts[shard] = StoredShardFacts(
                lambda: RedisReader(where.url, prefix=where.prefix),
                shard,
                clock=time.monotonic,
                ledger_key=where.ledger_key,
                codec=where.codec,
            )
            found.use(plan)
        return found


class StoredRecheck:
    """See `run.Recheck`. `plan`: what is in force."""

    def __init__(self, users: StoredUsers, plan: Callable[[], Plan], wall: Callable[[], float] = time.time) -> None:
        self._users = users
        self._plan = plan
        self._wall = wall

    async def __call__(self, sends: Sequence[Send], channel: str) -> Sequence[Withhold | Wait | None]:
        """What speaks against each now; None where nothing does. Raises StoreError."""
        return await asyncio.to_thread(self._look, sends, channel)

    def _look(self, sends: Sequence[Send], channel: str) -> Sequence[Withhold | Wait | None]:
        plan, now_s = self._plan(), self._wall()
        facts = self._users.facts([send.user for send in sends], plan)
        tools = Tools(plan, Books({}), _SPARE, _no_texts, {})
        return [recheck(send, channel, facts[send.user], tools, now_s) for send in sends]
