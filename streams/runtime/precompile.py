"""Compile the hot loop ahead of time: `python -m streams.runtime.precompile` fills the cache that later starts read.

It runs a few events through a lock-step pair, which takes a minute on a fresh machine and two seconds afterwards.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Protocol

import numba

from config.loader import loads
from models.snapshot import Status
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.core import kernel
from streams.core.events import Event
from streams.core.frozen import freeze
from streams.ports import Identity
from streams.runtime.lockstep import LockStep

_CATALOG = """
version: 1
name: compile
predictions:
  orders: {name: Orders, goal: {did: Order}, window: 1h}
  shown: {name: Orders to look at, goal: {did: Order}, window: 1h, access: preview}
"""
_START_S = 1_704_067_200.0
_POLL_S = 0.05
WORDS = "Compiling the engine (at the first start and after an update, about a minute; then it is kept)"


class Steps(Protocol):
    """Is told of something that takes a while."""

    def step(self, words: str) -> AbstractContextManager[None]: ...


def is_compiled() -> bool:
    """Whether the cache holds the hot loop, of these very sources.

    The loop is compiled after everything that it calls, so what is left without it takes seconds.
    """
    cache = str(numba.config.CACHE_DIR)  # type: ignore[attr-defined]  # set by models.jit, empty where nothing can be kept
    name = f"{kernel.__name__.rpartition('.')[2]}.{kernel.run.__name__}"
    return bool(cache) and any(Path(cache).glob(f"*/{name}-*.nbc"))


def get_ready(watcher: Steps) -> None:
    """Compile what is not in the cache yet, and say so; says nothing and does nothing when it is."""
    if not is_compiled():
        with watcher.step(WORDS):
            if not _precompile_apart(threading.Event()):
                precompile()


def get_ready_for_others(watcher: Steps, stopping: threading.Event) -> None:
    """The same for processes that this one will start: only what can be kept; given up at once when `stopping` is set.

    What was not compiled here, the first of them that needs it compiles, and says what is wrong if it cannot.
    """
    if not is_compiled() and not stopping.is_set():
        with watcher.step(WORDS):
            _precompile_apart(stopping)


def _precompile_apart(stopping: threading.Event) -> bool:
    """Compile in a process of its own, because the compiler keeps 200 MB; whether the cache has it now.

    However this ends, so does that process. Numba puts whole files into its cache, so half a run leaves no half file.
    """
    if not numba.config.CACHE_DIR:  # type: ignore[attr-defined]  # nothing can be kept, so it would be in vain
        return False
    # In a session of its own: Ctrl-C in a terminal is for us.
    with subprocess.Popen([sys.executable, "-c", _program()], start_new_session=True) as process:  # noqa: S603  fixed
        try:
            while process.poll() is None and not stopping.wait(_POLL_S):
                pass
        finally:
            process.kill()  # does nothing to one that has ended
    return is_compiled()


def _program() -> str:
    root = str(Path(__file__).resolve().parents[2])
    return f"import sys; sys.path.insert(0, {root!r}); from {__name__} import precompile; precompile()"


def precompile() -> None:
    """Make every compiled function of shard and learner run once."""
    catalog = loads(_CATALOG)
    engine = LockStep(catalog)
    time_s = _START_S
    for n in range(3):
        time_s = _START_S + 90_000.0 * n
        engine.take([Event("user", "Order", time_s, nan, n + 1, None, None, n, time_s)])
    engine.take([Event("user", None, time_s, nan, 9, None, None, 9, time_s, deletes=True)])
    engine.take([Event("user", "Order", time_s + 1.0, nan, 10, None, None, 10, time_s + 1.0)])
    shard = engine.shard
    model = shard.state.model
    names = shard.vocabulary.feature_names()
    shard.writer.write(shard.out, 0, (), (), model.weights, model.weights, names)
    learned = engine.learner.snapshot(shard.hour, shard.counts())
    first = tuple(replace(one, status=Status.BUILDING) for one in learned.predictions)
    shard.apply(replace(learned, predictions=first))  # what going live runs
    freeze(shard, ("shown",))
    store = MemoryStore(MemoryServer())
    store.prepare(1, Identity(catalog="compile"))
    claim = store.claim(0, new_generation="0")
    store.commit(claim, engine.effects(1, b""), None)
    loaded = store.load(store.claim(0, new_generation="0"))
    LockStep.load(catalog, loaded, generation="0", shard=0, codec=None)


if __name__ == "__main__":
    precompile()
