"""How large a segment is and was: counted back from its size now by the transitions that the log still has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from typing import Final

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from config.errors import NoLog
from streams.api.auth import Authenticator, access
from streams.api.document import problems
from streams.api.few_at_once import LOG_WAIT_S
from streams.api.kept_sizes import DaySize, SizesView
from streams.api.keys import Role
from streams.api.read_predictions import require
from streams.api.services import Services
from streams.api.taking_up import TakingUp
from streams.api.user_search import LOOK_S, LOOKED_AT
from streams.ports import Crossing
from streams.runtime.crossings_tail import Tail
from streams.runtime.wanted_crossings import head_of

__all__ = ["Days", "SizesView", "add_sizes", "get_sizes"]

_MAX_DAYS: Final = 400
_GIVEN_UP: Final = "it is archived, and has made room for others"
_NO_LOG: Final = "there is no log of transitions here, or it holds nothing (any more); a replay writes them into a file"


@dataclass(slots=True)
class Days:
    """Changes of one segment by day, and from when on they are all there."""

    entered: Counter[date] = field(default_factory=Counter)
    exited: Counter[date] = field(default_factory=Counter)
    firsts: dict[int, date] = field(default_factory=dict)
    """Of each partition, the day of the first transition that was read."""

    def take(self, page: list[Crossing], segment: str) -> None:
        for crossing in page:
            change = head_of(crossing.data)
            if change is None:
                continue
            day = change.time.astimezone(UTC).date()
            self.firsts.setdefault(crossing.partition, day)
            if change.data.segment_id == segment:
                (self.entered if change.data.in_segment else self.exited)[day] += 1

    def complete_from(self, tail: Tail) -> date | None:
        """The first day of which surely nothing is missing; None where that cannot be told."""
        cut = [part for part, start in enumerate(tail.starts) if start]
        if not all(part in self.firsts for part in cut):
            return None  # a partition whose transitions have all gone: nobody knows when the last one was
        if cut:
            return max(self.firsts[part] for part in cut) + timedelta(days=1)
        return min(self.firsts.values(), default=None)

    def sizes(self, now: int, first: date) -> list[DaySize]:
        """Counted back from the size now."""
        last = max([*self.entered, *self.exited, *self.firsts.values(), first])
        first = max(first, last - timedelta(days=_MAX_DAYS - 1))
        found, members, day = list[DaySize](), now, last
        while day >= first:
            entered, exited = self.entered[day], self.exited[day]
            found.append(DaySize(day=day.isoformat(), entered=entered, exited=exited, members=members))
            members -= entered - exited
            day -= timedelta(days=1)
        return found[::-1]


def add_sizes(app: FastAPI, services: Services, taking_up: TakingUp, authenticator: Authenticator) -> None:
    """Add the route."""

    @app.get(
        "/v1/segments/{segment_id}/sizes",
        tags=["segments"],
        operation_id="getSizes",
        summary="How large a segment is, and was on the last days",
        responses=problems(404, 422),
        **access(authenticator, Role.READ),
    )
    async def sizes(segment_id: str) -> SizesView:
        if not await taking_up.is_kept(segment_id):
            return SizesView(segment_id=segment_id, members=0, days=[], complete_from=None, reason=_GIVEN_UP)
        return await get_sizes(services, segment_id)


async def get_sizes(services: Services, segment_id: str) -> SizesView:
    """Of one segment, as it was at most ten seconds ago.

    Raises NotStored, StoreError, BrokerError, and `Problem` where many ask such things.
    """
    members = await run_in_threadpool(_members, services, segment_id)
    kept = services.sizes.get(segment_id, services.clock())
    if kept is not None:
        return kept
    async with services.log_passes.turn(LOG_WAIT_S):
        kept = services.sizes.get(segment_id, services.clock())  # of somebody who has asked while this one waited
        if kept is None:
            kept = await _counted_back(services, segment_id, members)
            services.sizes.put(segment_id, kept, services.clock())
        return kept


async def _counted_back(services: Services, segment_id: str, members: int) -> SizesView:
    view = SizesView(segment_id=segment_id, members=members, days=[], complete_from=None, reason=_NO_LOG)
    try:
        feed = await services.transitions.open()
    except NoLog:
        return view
    try:
        tail, days = Tail.of(await feed.kept(), LOOKED_AT), Days()
        async for page in tail.pages(feed, LOOK_S):
            await run_in_threadpool(days.take, page, segment_id)
    finally:
        await feed.close()
    first = days.complete_from(tail)
    if first is None:
        return view
    shown = days.sizes(members, first)
    return view.model_copy(update={"days": shown, "complete_from": first.isoformat(), "reason": None})


def _members(services: Services, segment: str) -> int:
    with services.stored.reader() as reader:
        require("segment", segment, services.stored.a_state(reader).definitions.segment_ids)
        return reader.member_count(segment)
