"""Dead letters, and putting them back on the log: each once, as it was or corrected, and what came of it."""

from __future__ import annotations

import hashlib
import math
import re
from base64 import b64decode
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool

from config.catalog import Catalog
from config.errors import BrokerError, BrokerUnavailable, NotStored
from config.notes import is_note
from streams.adapters.redis_reader import RedisReader, StreamEntry
from streams.adapters.redis_redriven import STUCK_S, Redriven
from streams.api.problems import Kind, Problem
from streams.api.redriven_outcome import Outcomes
from streams.api.services import Services
from streams.core.decode import SegmentDecoder
from streams.core.events import BadEvent, DeadReason, Event
from streams.core.partition import shard_of
from streams.runtime.hints import DeadLetter

SEARCHED: Final = 5_000
"""So many dead letters are looked through at once."""
_ID: Final = re.compile(r"(\d{1,6})-(\d{1,20}-\d{1,20})")
_PLACE: Final = re.compile(r"(\d{1,6})-(\d{1,20})")
_ID_DIGITS: Final = 16
"""So many of a record's digest are in the message id that it is given: 64 bits."""
_LETTERS: Final = msgspec.json.Decoder(DeadLetter)
_FORGET_S: Final = 600.0
"""So often, at most, marks are looked through for those whose letters are gone."""


class Letter(NamedTuple):
    """One record that could not be used. `id` is that of the shard and the store's of the entry: of this store alone.

    A store that is made anew from the log, or set back, cuts batches in other places and gives other ids. What has to
    hold beyond that goes by `place` and `digest`, which the log fixes.
    """

    id: str
    shard: int
    said: DeadLetter

    @property
    def place(self) -> str:
        """Partition and offset in the log, as `3-1700`."""
        return f"{self.shard}-{self.said.position}"

    @property
    def bytes_kept(self) -> bytes:
        """Of the record, as far as it is kept; none of a deleted user."""
        said = self.said
        return b64decode(said.raw_base64) if said.raw_base64 is not None else (said.raw or "").encode()

    @property
    def digest(self) -> str:
        """Of the record: another log may have another one in this place. The reason may change with the catalog."""
        return _digest(f"{self.said.source} {self.place} ".encode() + self.bytes_kept)


class Letters:
    """The dead letters of a service. Methods that are not async are for threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._forget_at_s = -math.inf

    def find(self, letter_id: str) -> Letter:
        """Raises NotStored for one that is not there (any more), StoreError."""
        with self._services.stored.reader() as reader:
            return _find(reader, letter_id)

    def page(self, reason: str | None, after: str | None, limit: int) -> tuple[list[Letter], str | None]:
        """The next ones behind an id, newest first in each shard, and the id to go on with; None at the end.

        Raises `Problem` for an id that is none, StoreError.
        """
        found: list[Letter] = []
        with self._services.stored.reader() as reader:
            shard, entry = (0, None) if after is None else _parts(after)
            looked = 0
            while shard < reader.info.shards:
                page = reader.dead_letters_before(shard, entry, min(100, SEARCHED))
                for each in page:
                    letter = _letter(each)
                    entry, looked = each.entry_id, looked + 1
                    if reason in (None, letter.said.reason):
                        found.append(letter)
                    if len(found) == limit or looked == SEARCHED:
                        return found, letter.id
                if not page:
                    shard, entry = shard + 1, None
        return found, None

    def bytes_of(self, letter: Letter) -> bytes | None:
        """The record to be sent again as it was; None where it is not kept, or not all of it."""
        said = letter.said
        if said.truncated or said.reason == DeadReason.DELETED_USER:
            return None
        return letter.bytes_kept or None

    def marks(self, letters: Sequence[Letter]) -> list[Redriven | None]:
        """Of each letter, what was done about it; None where nothing was. Raises StoreError."""
        found = self._services.redriven.find([letter.place for letter in letters])
        return [
            mark if mark is not None and mark.letter == letter.digest else None
            for mark, letter in zip(found, letters, strict=True)
        ]

    async def redrive(self, letter_id: str, corrected: str | None, key_id: str) -> Redriven:
        """Put a letter's record on the log, as it was or `corrected`; of one that is there, the mark of that.

        Raises NotStored, `Problem` (it cannot be used, or was put back as something else, or is being put back),
        StoreError, BrokerUnavailable.
        """
        letter, user, record, mark = await run_in_threadpool(self._prepared, letter_id, corrected, key_id)
        before = await run_in_threadpool(self._services.redriven.begin, letter.place, mark)
        if before is not None:
            return _same(before, mark, self._services.wall())
        redriven = self._services.redriven
        try:
            places = await self._services.log.append([(user, record)])
        except BrokerUnavailable:  # a part may have been taken: the same record may be asked for again, at once
            stuck = msgspec.structs.replace(mark, at_s=mark.at_s - STUCK_S)
            await run_in_threadpool(redriven.finish, letter.place, stuck)
            raise
        except BrokerError as error:
            await run_in_threadpool(redriven.give_up, letter.place)
            raise Problem(Kind.LOG_REFUSES, "the log of events does not take this; its operator has to act") from error
        return await run_in_threadpool(self._finish, letter, mark, places.get(mark.partition))

    def _prepared(self, letter_id: str, corrected: str | None, key_id: str) -> tuple[Letter, str, bytes, Redriven]:
        with self._services.stored.reader() as reader:
            letter = _find(reader, letter_id)
            if reader.info.input is not None:
                words = "it is of a file: mend the file, and run it again"
                raise Problem(Kind.CANNOT_REDRIVE, words)
            record = self.bytes_of(letter) if corrected is None else corrected.encode("utf-8", "surrogatepass")
            if record is None:
                raise Problem(Kind.CANNOT_REDRIVE, "its bytes are not kept, or not all of them: send it corrected")
            event = _usable(record, self._catalog(), is_corrected=corrected is not None)
            message_id = event.message_id or f"redriven-{letter.place}-{letter.digest[:_ID_DIGITS]}"
            record = record if event.message_id else _with_id(record, message_id)
            partition = shard_of(event.user, reader.info.shards)
        mark = Redriven(letter.digest, _digest(record), message_id, partition, self._services.wall(), key_id)
        return letter, event.user, record, mark

    def _catalog(self) -> Catalog:
        with self._services.stored.reader() as reader:
            return self._services.stored.a_state(reader).catalog

    def _finish(self, letter: Letter, mark: Redriven, offset: int | None) -> Redriven:
        done = msgspec.structs.replace(mark, offset=offset, done=True)
        self._services.redriven.finish(letter.place, done)
        self._forget_old()
        return done

    def _forget_old(self) -> None:
        """Marks of places before the oldest dead letter of their shard go: a bound has taken theirs from the store.

        Where a shard has none all stay: a store that is made anew comes by these places once more.
        """
        now_s = self._services.clock()
        if now_s < self._forget_at_s:
            return
        self._forget_at_s = now_s + _FORGET_S
        with self._services.stored.reader() as reader:
            oldest = [_oldest(reader, shard) for shard in range(reader.info.shards)]
        self._services.redriven.forget([each for each in self._services.redriven.all_places() if _is_old(each, oldest)])

    def outcomes(self, marks: Sequence[Redriven]) -> list[tuple[str, str | None]]:
        """What came of each, and why it was refused again (see `Outcomes`). Raises StoreError."""
        if not marks:
            return []
        with self._services.stored.reader() as reader:
            kept = self._services.stored.a_state(reader).catalog.limits.dead_letters
            outcomes = Outcomes(reader, kept, self._services.wall())
            return [outcomes.of(mark) for mark in marks]


def _same(before: Redriven, mark: Redriven, now_s: float) -> Redriven:
    """Who asks twice for the same is told what came of the first time. Raises `Problem` for anything else."""
    if before.record != mark.record:
        raise Problem(Kind.CANNOT_REDRIVE, "it was put back on the log already, as another record")
    if not before.done and now_s - before.at_s < STUCK_S:
        raise Problem(
            Kind.CANNOT_REDRIVE, "it is being put back on the log at this moment", headers={"Retry-After": "5"}
        )
    return before


def _usable(record: bytes, catalog: Catalog, *, is_corrected: bool) -> Event:
    """Raises `Problem` for a record that shards would refuse again, or that nobody may write in this way."""
    event = SegmentDecoder(catalog).decode(record, 0, None, 0)
    if isinstance(event, BadEvent):
        words = f"it would be refused again: {event.detail}"
        raise Problem(Kind.INVALID_EVENT, words, reason=event.reason.value)
    if event.deletes:
        raise Problem(Kind.CANNOT_REDRIVE, "it deletes a user: ask for that by DELETE /v1/users/{user_id}")
    if is_corrected and event.name is not None and is_note(event.name):
        raise Problem(Kind.CANNOT_REDRIVE, f"{event.name!r} is written by campaigns alone")
    return event


def _with_id(record: bytes, message_id: str) -> bytes:
    """By its message id the shard knows a record that came twice."""
    fields = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
    return msgspec.json.encode(fields | {"messageId": msgspec.Raw(msgspec.json.encode(message_id))})


def _find(reader: RedisReader, letter_id: str) -> Letter:
    if _ID.fullmatch(letter_id) is not None:
        shard, entry = _parts(letter_id)
        found = reader.dead_letter(shard, entry) if shard < reader.info.shards else None
        if found is not None:
            return _letter(found)
    raise NotStored(f"there is no dead letter {letter_id[:100]!r} (any more)")


def _oldest(reader: RedisReader, shard: int) -> int:
    """Offset of the oldest dead letter that is kept; before all where there is none."""
    found = reader.dead_letters_from(shard, "0-0", 1)
    return _LETTERS.decode(found[0].data).position if found else -1


def _is_old(place: str, oldest: Sequence[int]) -> bool:
    """Whether no dead letter of that place can be there; nor of what is no place. `oldest`: of each shard."""
    match = _PLACE.fullmatch(place)
    return match is None or int(match[1]) >= len(oldest) or int(match[2]) < oldest[int(match[1])]


def _parts(letter_id: str) -> tuple[int, str]:
    """Raises `Problem` for what is no id."""
    match = _ID.fullmatch(letter_id)
    if match is None or not all(int(each) < 1 << 64 for each in match[2].split("-")):
        raise Problem(Kind.INVALID_CURSOR, "this is no place in the dead letters")
    return int(match[1]), match[2]


def _letter(entry: StreamEntry) -> Letter:
    return Letter(f"{entry.shard}-{entry.entry_id}", entry.shard, _LETTERS.decode(entry.data))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
