"""How the service does: what it has worked, how fast, its shards, and what it could not use."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from starlette.responses import JSONResponse, Response

from config.errors import BrokerError
from streams.adapters.redis_reader import RedisReader, ShardInfo
from streams.api.app import Parts
from streams.api.keys import Role
from streams.api.views import time_text
from streams.console.deliveries import Deliveries
from streams.console.pages import TEXTS
from streams.console.refused import RefusedPages
from streams.console.routing import PageRoute
from streams.console.visit import Visit
from streams.runtime.everybody import ShardState
from streams.runtime.refusals import refused_records
from streams.runtime.stored import StoredState, together, with_kept_letters

_LOG: Final = logging.getLogger(__name__)
_EXAMPLES: Final = 3
_SHOWN: Final = 300
"""So many characters of a refused record are shown."""
_COUNTERS: Final = ("events", "duplicates", "late_events", "moved_back", "looks", "category_changes", "deleted_users")


class ShardRow(NamedTuple):
    """Where one shard stands."""

    shard: int
    users: int
    commits: int
    owner: int
    """Grows whenever a worker takes the shard over."""
    clock: str | None
    behind_s: float | None
    """Seconds since its latest event."""
    events: int
    waiting: int | None
    """Records of the log that are still to be worked; None where nobody tells."""
    pending: int
    """Examples that wait for their label."""


class Example(NamedTuple):
    """One record that could not be used."""

    place: str
    record: str


class RefusedRow(NamedTuple):
    """One reason."""

    reason: str
    words: tuple[str, str]
    """What is wrong, and what to do."""
    how_many: int
    examples: list[Example]


class SystemPages:
    """The page, and its figures, which a script asks for again and again."""

    def __init__(self, parts: Parts) -> None:
        self._stored = parts.services.stored
        self._deliveries = Deliveries(parts)
        self._refused = RefusedPages(parts)
        self._lags = parts.lags
        self._wall = parts.services.wall
        self._clock = parts.services.clock

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened."""
        yield PageRoute("/system", "GET", Role.READ, self.show)
        yield PageRoute("/system/figures", "GET", Role.READ, self.figures)
        yield from self._deliveries.routes()
        yield from self._refused.routes()

    def show(self, visit: Visit) -> Response:
        """The page. Raises `Problem` where nothing is stored yet, StoreError."""
        with self._stored.reader() as reader:
            shards = self._stored.shard_states(reader)
            state = together([each for _, each in shards])
            waiting = self._waiting()
            rows = _shards(reader.shard_infos(), shards, waiting, self._wall())
            refused = _refused(visit, reader, with_kept_letters(state, reader))
        return visit.render(
            "system.html",
            state=state,
            clock=_time(state.clock_s),
            behind=self._behind(visit, state),
            rows=rows,
            waiting=sum(waiting.values()) if waiting else None,
            refused=refused,
            targets=self._deliveries.targets(),
            counters=[(name, state.counters[_NAMES[name]]) for name in _COUNTERS if _NAMES[name] in state.counters],
        )

    def figures(self, visit: Visit) -> Response:
        """What moves: events so far, at which moment, and how far the latest one is back. Raises as `show`."""
        with self._stored.reader() as reader:
            state = together(self._stored.states(reader))
        waiting = self._waiting()
        return JSONResponse(
            {
                "events": state.counters["events"],
                "at_s": self._clock(),
                "behind": self._behind(visit, state),
                "clock": _time(state.clock_s),
                "waiting": visit.format.number(sum(waiting.values()) if waiting else None),
                "pending": visit.format.number(state.pending_examples),
            }
        )

    def _waiting(self) -> dict[int, int]:
        """Records of the log that are still to be worked, by partition; none where nobody can tell."""
        try:
            return {number: each.lag for number, each in self._lags.now().items()}
        except BrokerError as error:
            _LOG.warning("how far workers are is not known: %s", error)
            return {}

    def _behind(self, visit: Visit, state: StoredState) -> str:
        """How far the latest event is behind the wall clock, in words."""
        t, f = TEXTS[visit.language], visit.format
        if math.isnan(state.clock_s):
            return f.number(None)
        behind_s = self._wall() - state.clock_s
        return t.up_to_date if behind_s < 60.0 else t.behind.format(period=f.duration(behind_s))


_NAMES: Final = {name: "crossings" if name == "category_changes" else name for name in _COUNTERS}
"""What the core calls the counters."""


def _time(seconds: float) -> str | None:
    return None if math.isnan(seconds) else time_text(seconds)


def _shards(infos: list[ShardInfo], states: list[ShardState], waiting: dict[int, int], now_s: float) -> list[ShardRow]:
    known = dict(states)
    found = []
    for info in infos:
        state = known.get(info.shard)
        clock = None if state is None else _time(state.clock_s)
        events = 0 if state is None else state.counters["events"]
        behind_s = None if state is None or clock is None else max(0.0, now_s - state.clock_s)
        pending = 0 if state is None else state.pending_examples
        found.append(
            ShardRow(
                info.shard, info.users, info.number, info.epoch, clock, behind_s, events,
                waiting.get(info.shard), pending,
            )
        )  # fmt: skip
    return found


def _refused(visit: Visit, reader: RedisReader, state: StoredState) -> list[RefusedRow]:
    t = TEXTS[visit.language]
    return [
        RefusedRow(
            reason=each.reason,
            words=t.refusals.get(each.reason, (each.reason, "")),
            how_many=each.count,
            examples=[Example(letter.place, letter.start(_SHOWN)) for letter in each.examples],
        )
        for each in refused_records(reader, state.totals, state.catalog, _EXAMPLES)
    ]
