"""What predictions expect, kept once a day, so that today can be compared with a week ago.

No shard keeps a sum of likelihoods, and none has to: the API counts all users for the console anyway, and writes down
what it found once a day. Where no API runs nothing is kept, and that is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from config.errors import TidelineError
from streams.adapters.redis_daily import Day, RedisDaily
from streams.api.everyone import Everyone, Tables
from streams.api.problems import Problem
from streams.api.read_predictions import PredictionReads
from streams.api.stored import NothingYet, StoreReads
from streams.api.views import time_text
from streams.core.questions import question_of

_LOG: Final = logging.getLogger(__name__)
LOOK_S: Final = 600.0
"""So often is looked whether a line of today is missing."""
AGAIN_S: Final = 3_600.0
"""So long a line that a pass over everybody did not give is left alone: there is nobody whom the prediction is about,
or there are more users than a pass may look at."""
_DAY_S: Final = 86_400.0
_WEEK_S: Final = 7 * _DAY_S
_NEAR_S: Final = _DAY_S / 2
"""A line is of a week ago where it is no further from that: lines are a day apart."""


class DayView(BaseModel):
    """What a prediction expected on one day."""

    at: str | None = Field(description="When it was counted.", examples=["2026-05-28T00:04:10Z"])
    expected: float = Field(description="Sum of the likelihoods: so many were expected to do it within the window.")
    audience: int
    categories: dict[str, int] = Field(examples=[{"low": 800, "medium": 150, "high": 50}])


class Comparison(NamedTuple):
    """What today can be compared with."""

    week_ago: Day | None
    from_s: float | None
    """When there will be something, where there is nothing: seconds since 1970 UTC."""


class Daily:
    """Keeps the lines, and finds what to compare with. Methods that are not async are for threads."""

    def __init__(self, store: RedisDaily, stored: StoreReads, reads: PredictionReads, everyone: Everyone) -> None:
        self._store = store
        self._stored = stored
        self._reads = reads
        self._everyone = everyone
        self._again_s: dict[str, float] = {}
        """Of predictions without a line, when a pass is worth it again."""

    def start(self) -> asyncio.Task[None]:
        """Run in this event loop. An end that nobody wanted is told at once, with where it came from."""
        task = asyncio.create_task(self.run())
        task.add_done_callback(_tell_end)
        return task

    async def run(self) -> None:
        """Look again and again, until it is cancelled. What cannot be kept now is tried again later."""
        while True:
            try:
                await run_in_threadpool(self.keep)
            except NothingYet:
                _LOG.info("what predictions expect is not written down yet: no worker has scored an event")
            except (TidelineError, Problem) as error:
                _LOG.warning("what predictions expect was not written down: %s", error)
            await asyncio.sleep(LOOK_S)

    def keep(self) -> int:
        """Write down today's lines that are missing; how many. Raises StoreError, `Problem`.

        What a pass over everybody did not give is asked for again after `AGAIN_S`.
        """
        now_s = self._everyone.wall()
        day = _day(now_s)
        with self._stored.reader() as reader:
            standings = self._reads.standings([state for _, state in self._stored.shard_states(reader)])
            live = [id_ for id_ in standings.ids if standings.status(id_).startswith("live")]
            missing = [id_ for id_ in self._store.missing(live, day) if self._again_s.get(id_, now_s) <= now_s]
            if not missing:
                return 0  # no pass over everybody for what is known
            self._again_s |= dict.fromkeys(missing, now_s + AGAIN_S)  # a pass that fails counts as well
            tables = self._everyone.tables(reader)
        lines = {id_: line for id_ in missing if (line := line_of(tables, id_, day)) is not None}
        for id_, line in lines.items():
            self._store.put(id_, line)
            del self._again_s[id_]
        return len(lines)

    def now_s(self) -> float:
        """Seconds since 1970 UTC."""
        return self._everyone.wall()

    def days(self, prediction_id: str) -> list[Day]:
        """All lines of what it asks now, the oldest first. Raises StoreError, `Problem`."""
        with self._stored.reader() as reader:
            catalog = self._stored.a_state(reader).catalog
        if prediction_id not in catalog.predictions:
            return []
        question = question_of(catalog, prediction_id)
        return [line for line in self._store.days(prediction_id) if line.question == question]

    def comparable_s(self, comparison: Comparison) -> float:
        """When there will be something to compare with at the latest, if lines are kept from now on."""
        return self.now_s() + _WEEK_S if comparison.from_s is None else comparison.from_s

    def comparison(self, prediction_id: str) -> Comparison:
        """What there is to compare with now. Raises as `days`."""
        return compared(self.days(prediction_id), self._everyone.wall())


def compared(days: Sequence[Day], now_s: float) -> Comparison:
    """The line that is nearest to a week ago, within half a day. Pure."""
    near = [line for line in days if abs(now_s - _WEEK_S - line.at_s) <= _NEAR_S]
    if near:
        return Comparison(min(near, key=lambda line: abs(now_s - _WEEK_S - line.at_s)), None)
    # Half a day before a line is a week old it is near enough.
    coming = [line.at_s + _WEEK_S - _NEAR_S for line in days if line.at_s + _WEEK_S - _NEAR_S > now_s]
    return Comparison(None, min(coming, default=None))


def line_of(tables: Tables, prediction_id: str, day: str) -> Day | None:
    """Today's line; None of a prediction that shards do not know, or that says no likelihoods yet. Pure."""
    table = tables.tables.get(prediction_id)
    if table is None:
        return None
    everybody = table.sums(table.within(0.0, 100.0))
    if not everybody.with_likelihood:
        return None
    low, medium, high = (each.users for each in table.by_category())
    question = question_of(tables.states[0].state.catalog, prediction_id)
    return Day(day, tables.as_of_s, question, everybody.expected, everybody.users, (low, medium, high))


def day_view(line: Day) -> DayView:
    """As it is answered."""
    low, medium, high = line.categories
    return DayView(
        at=time_text(line.at_s),
        expected=line.expected,
        audience=line.audience,
        categories={"low": low, "medium": medium, "high": high},
    )


def _tell_end(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _LOG.error("what predictions expect is not written down any more; this is a bug", exc_info=error)


def _day(now_s: float) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=now_s)).date().isoformat()
