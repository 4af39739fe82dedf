"""What the store holds, for routes that read: readers for several threads, and the states of shards for a moment."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from config.catalog import Catalog
from config.errors import CatalogMoved, StoreIncompatible, StoreUnavailable
from models.learner import Learner
from models.snapshot import ModelCodec
from streams.adapters.redis_reader import RedisReader, holds_store
from streams.api.problems import Kind, Problem
from streams.core.partition import shard_of
from streams.runtime.everybody import ShardState
from streams.runtime.stored import StoredState, learner_of, state_of

STATE_S: Final = 2.0
"""So long a state is taken as the latest: reading one takes some hundredths of a second."""
LEARNER_S: Final = 10.0
"""So long what learners have is taken as the latest: a snapshot comes every hour."""
_READER_S: Final = 10.0
"""So long a reader is used, which knows for what its store was made."""
_MAX_IDLE: Final = 8
_MAX_STATES: Final = 64


@dataclass(slots=True)
class _Cached:
    state: StoredState | None
    number: int
    generation: str
    looked_s: float


@dataclass(frozen=True, slots=True)
class _Learned:
    """What the learners have, by the numbers that predictions have in a catalog."""

    learner: Learner | None
    catalog: Catalog
    read_s: float


def _are_same(one: Catalog, other: Catalog) -> bool:
    return one is other or (one == other and list(one.predictions) == list(other.predictions))


class NothingYet(Problem):
    """No shard has stored anything that could be shown."""

    def __init__(self) -> None:
        words = "nothing is stored yet: no worker has scored an event"
        super().__init__(Kind.UNAVAILABLE, words, headers={"Retry-After": "10"})


class StoreReads:
    """May be used by several threads; connects at the first use."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "tl",
        codec: ModelCodec | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._codec = codec
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: list[tuple[RedisReader, float]] = []
        self._states: dict[int, _Cached] = {}
        self._loading = threading.Lock()
        self._learned: _Learned | None = None

    @property
    def codec(self) -> ModelCodec | None:
        """Reads models that are stored as pickles."""
        return self._codec

    @contextmanager
    def reader(self) -> Iterator[RedisReader]:
        """A reader for one thread. Raises StoreUnavailable, and `Problem` where nothing is stored yet."""
        reader, made_s = self._take()
        try:
            yield reader
        except CatalogMoved:
            self.forget_states()
            raise
        finally:
            self._give(reader, made_s)

    def forget_states(self) -> None:
        """Read states anew: something was read that is of another catalog than theirs."""
        with self._loading:
            self._states.clear()

    def look_again(self) -> None:
        """States that have changed are read anew by who asks next, whenever they were looked at last."""
        with self._loading:
            for cached in self._states.values():
                cached.looked_s = -math.inf

    def state_of_user(self, reader: RedisReader, user: str) -> StoredState | None:
        """The state of the user's shard; None if it has none yet."""
        return self._state(reader, shard_of(user, reader.info.shards))

    def states(self, reader: RedisReader) -> list[StoredState]:
        """Of all shards that have committed. Raises `Problem` where none has."""
        return [state for _, state in self.shard_states(reader)]

    def shard_states(self, reader: RedisReader) -> list[ShardState]:
        """The same with the numbers of their shards. Raises `Problem` where none has committed."""
        found = [(shard, self._state(reader, shard)) for shard in range(reader.info.shards)]
        states = [ShardState(shard, state) for shard, state in found if state is not None]
        if not states:
            raise NothingYet
        return states

    def with_learner(self, reader: RedisReader, states: Sequence[ShardState]) -> StoredState:
        """One of these states, with all that the learners of the service know; they are looked at every 10 seconds."""
        state = states[0].state
        with self._loading:
            now_s = self._clock()
            known = self._learned
            if known is None or now_s - known.read_s >= LEARNER_S or not _are_same(known.catalog, state.catalog):
                known = self._learned = _Learned(self._read_learner(reader, state), state.catalog, now_s)
        return state if known.learner is None else replace(state, learner=known.learner)

    def _read_learner(self, reader: RedisReader, state: StoredState) -> Learner | None:
        """None where a run learns itself: its own state has it."""
        learners = reader.learners()
        if learners is None:
            return None
        with closing(learners):
            return learner_of(learners, state, self._codec)

    def a_state(self, reader: RedisReader) -> StoredState:
        """That of any shard, for what is the same in all of them. Raises `Problem` where none has committed."""
        for shard in range(reader.info.shards):
            state = self._state(reader, shard)
            if state is not None:
                return state
        raise NothingYet

    def close(self) -> None:
        """Close all readers that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for reader, _ in idle:
            reader.close()

    def _take(self) -> tuple[RedisReader, float]:
        now_s = self._clock()
        with self._lock:
            while self._idle:
                reader, made_s = self._idle.pop()
                if now_s - made_s < _READER_S:
                    return reader, made_s
                reader.close()
        try:
            return RedisReader(self._url, prefix=self._prefix), now_s
        except StoreUnavailable:
            raise
        except StoreIncompatible as error:
            if holds_store(self._url, prefix=self._prefix):
                words = "the store was made by another version of Tideline; use that one, or begin anew"
                raise Problem(Kind.UNAVAILABLE, words, headers={"Retry-After": "60"}) from error
            raise NothingYet from error

    def _give(self, reader: RedisReader, made_s: float) -> None:
        with self._lock:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append((reader, made_s))
                return
        reader.close()

    def _state(self, reader: RedisReader, shard: int) -> StoredState | None:
        with self._loading:
            now_s = self._clock()
            cached = self._states.get(shard)
            # A shard without a state is cheap to look at, and its first commit is known at once.
            if cached is not None and cached.state is not None and now_s - cached.looked_s < STATE_S:
                return cached.state
            info = reader.shard_info(shard)
            if cached is None or (cached.number, cached.generation) != (info.number, info.generation):
                blobs = reader.blobs(shard) if info.number else {}
                state = state_of(blobs, users=info.users, members={}, codec=self._codec) if blobs else None
                cached = _Cached(state, info.number, info.generation, now_s)
            cached.looked_s = now_s
            self._states.pop(shard, None)
            self._states[shard] = cached
            while len(self._states) > _MAX_STATES:
                del self._states[next(iter(self._states))]
            return cached.state
