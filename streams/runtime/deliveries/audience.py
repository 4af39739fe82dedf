"""A list elsewhere that is kept equal to a segment, by exact differences.

What is on the list, as far as was told and taken, is kept as a set. A user is sent when what is wanted (in or out) is
not what the last delivery that waits for that user says, or else the set. A full comparison goes over the members of
the segment and over the set; it is made at first, and whenever somebody asks.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final, Protocol

import msgspec
from msgspec.structs import replace

from streams.adapters.redis_deliveries import Endpoint, Progress, Secrets, Step
from streams.adapters.redis_reader import RedisReader
from streams.ports import Crossing
from streams.runtime.deliveries.endpoint_run import EndpointRun, Tools, stored_deliveries
from streams.runtime.deliveries.pace import Delivery
from streams.runtime.wanted_crossings import head_of

_LOG: Final = logging.getLogger(__name__)
SEGMENT_URL: Final = "https://api.segment.io/v1/track"
PAGE: Final = 500


class Members(Protocol):
    """Who is in segments now. For threads."""

    def pages(self, segment: str) -> Iterator[list[str]]:
        """All members, some at a time; one may come twice. Raises StoreError."""

    def are_members(self, segment: str, users: Sequence[str]) -> list[bool]:
        """Of each user whether it is one. Raises StoreError."""


class StoredMembers:
    """`Members` of the store at an address."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix

    def pages(self, segment: str) -> Iterator[list[str]]:
        """See `Members`."""
        with closing(RedisReader(self._url, prefix=self._prefix)) as reader:
            page: list[str] = []
            for user in reader.members(segment):
                page.append(user)
                if len(page) == PAGE:
                    yield page
                    page = []
            yield page

    def are_members(self, segment: str, users: Sequence[str]) -> list[bool]:
        """See `Members`."""
        with closing(RedisReader(self._url, prefix=self._prefix)) as reader:
            return reader.are_members(segment, users)


class AudienceRun(EndpointRun):
    """See `EndpointRun`."""

    def __init__(self, endpoint: Endpoint, tools: Tools, members: Members) -> None:
        super().__init__(endpoint, tools)
        assert endpoint.audience is not None, "others have a run of another kind"
        self._segment = endpoint.audience
        self._members = members
        self._asked = 0

    async def refresh(self) -> None:
        """See `EndpointRun`; a comparison may be wanted."""
        await super().refresh()
        self._asked = await asyncio.to_thread(self._tools.store.asked, self.endpoint.id)

    async def _deliveries(self, crossings: Sequence[Crossing], progress: Progress, now_s: float) -> list[Delivery]:
        heads = [head for crossing in crossings if (head := head_of(crossing.data)) is not None]
        wanted = [(head.subject, head.data.in_segment) for head in heads if head.data.segment_id == self._segment]
        return await self._differences(wanted, progress, now_s)

    async def _differences(
        self, wanted: Sequence[tuple[str, bool]], progress: Progress, now_s: float
    ) -> list[Delivery]:
        """What has to be sent so that it will be as is wanted, in order."""
        known = {user: bool(delivery.lists) for user, delivery in self.pace.latest().items()}
        users = list(dict.fromkeys(user for user, _ in wanted if user not in known))
        flags = await asyncio.to_thread(self._tools.store.are_listed, self.endpoint.id, users)
        known |= dict(zip(users, flags, strict=True))
        found = []
        for user, is_in in wanted:
            if known[user] != is_in:
                known[user] = is_in
                found.append(self._change(user, is_in, progress, now_s))
        return found

    def _change(self, user: str, is_in: bool, progress: Progress, now_s: float) -> Delivery:
        number = progress.number
        progress.number += 1
        id_ = blake2b(f"{self.endpoint.id}:{number}".encode(), digest_size=16).hexdigest()
        body = body_of(self.endpoint, id_, user, is_in=is_in, now_s=now_s)
        return Delivery(id_, user, body, number, now_s, lists=is_in)

    def _headers(self, secrets: Secrets, delivery: Delivery) -> Mapping[str, str]:
        if self.endpoint.form == "webhook":
            return super()._headers(secrets, delivery)
        login = base64.b64encode(f"{secrets.current}:".encode()).decode()
        return {"Authorization": f"Basic {login}", "Content-Type": "application/json", "User-Agent": "Tideline"}

    # --- the comparison ----------------------------------------------------------------------------------------------

    async def _before_reading(self) -> None:
        """A comparison, if one is wanted; transitions wait in the log meanwhile."""
        asked = self._asked
        if asked <= self._progress.compared:
            return
        differing = self._progress.differing  # these are put right; who is given up meanwhile may not be
        pages = self._members.pages(self._segment)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            await self._want([(user, True) for user in page])
        cursor = 0
        while True:
            listed, cursor = await asyncio.to_thread(self._tools.store.listed_page, self.endpoint.id, cursor, PAGE)
            flags = await asyncio.to_thread(self._members.are_members, self._segment, listed)
            await self._want([(user, False) for user, is_in in zip(listed, flags, strict=True) if not is_in])
            if not cursor:
                break
        async with self._storing:
            left = self._progress.differing - differing
            await self._store(Step(replace(self._progress, compared=asked, differing=left)))
        _LOG.info("audience %s: compared", self.endpoint.id)

    async def _want(self, wanted: Sequence[tuple[str, bool]]) -> None:
        left = list(wanted)
        while left:
            await self._await_room()
            part, left = left[: self.pace.room], left[self.pace.room :]
            async with self._storing:
                progress = replace(self._progress)
                found = await self._differences(part, progress, self._tools.wall())
                if found:
                    await self._store(Step(progress, put=stored_deliveries(found)))
                    self.pace.add(found)
            if found:
                self._changed.set()


def body_of(endpoint: Endpoint, id_: str, user: str, *, is_in: bool, now_s: float) -> bytes:
    """One change of the list, as it is sent."""
    stamp = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    way = "Entered" if is_in else "Exited"
    if endpoint.form == "segment":
        key = str(endpoint.audience)
        told: dict[str, Any] = {
            "type": "track",
            "userId": user,
            "event": f"Audience {way}",
            "messageId": id_,
            "timestamp": stamp,
            "properties": {"audience_key": key, "audience_name": endpoint.name or key, key: is_in},
        }
        return msgspec.json.encode(told)
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": id_,
            "source": "tideline",
            "type": f"tideline.audience.{way.lower()}.v1",
            "subject": user,
            "time": stamp,
            "datacontenttype": "application/json",
            "data": {"user_id": user, "audience_id": endpoint.id, "segment_id": endpoint.audience, "in_segment": is_in},
        }
    )
