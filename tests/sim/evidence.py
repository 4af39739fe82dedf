"""Reading what the logs and the store hold, written from the documents alone: no code of the product is used here.

docs/input.md (records), docs/events.md (transitions), docs/redis.md (what is stored, and a user's shard), and the
docstrings of models/chunk_message.py and models/snapshot.py for the two messages between services. Of the parts of a
shard's state, whose layout is the product's own: streams/core/state.py.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

_WORD = 0xFFFF_FFFF_FFFF_FFFF
_MESSAGE_SEED = 0x7469_6465_6C69_6E65
KIND_EVENT, KIND_SILENT, KIND_CROSSING = 0, 1, 2
TOUCH_NONE, TOUCH_SENT, TOUCH_WITHHELD = 0, 1, 2
NOTES = "Tideline Message"
"""How the names of all notes begin (docs/core.md)."""
SENT, WITHHELD = f"{NOTES} Sent", f"{NOTES} Withheld"
BINS, LOWEST, HIGHEST = 1024, -12.0, 12.0
"""Of the distribution of rank values; its ends also hold what lies outside."""
WARMING = 0
"""The status of a prediction that is ranked by the heuristic."""

Counts = npt.NDArray[np.int64]
Age = tuple[float, int]
"""Of a model: when its learning began, and its version."""


def shard_of(user: str, shards: int) -> int:
    """The partition of a user: Kafka's murmur2 (docs/redis.md)."""
    data, mask = user.encode(), 0xFFFFFFFF
    whole = len(data) // 4 * 4
    h = 0x9747B28C ^ len(data)
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * 0x5BD1E995 & mask
        k = (k ^ k >> 24) * 0x5BD1E995 & mask
        h = (h * 0x5BD1E995 & mask) ^ k
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * 0x5BD1E995 & mask
    h = (h ^ h >> 13) * 0x5BD1E995 & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % shards


def message_hash(message_id: str) -> int:
    """By which an event with this id is known again."""
    return xxh3_64_intdigest(message_id.encode(), seed=_MESSAGE_SEED)


def place_hash(source: str, offset: int) -> int:
    """By which an event without an id is known again: splitmix64 of where it stands."""
    z = ((message_hash(source) ^ offset) + 0x9E37_79B9_7F4A_7C15) & _WORD
    z = ((z ^ z >> 30) * 0xBF58_476D_1CE4_E5B9) & _WORD
    z = ((z ^ z >> 27) * 0x94D0_49BB_1331_11EB) & _WORD
    return z ^ z >> 31


def user_hash(user: str) -> int:
    """By which an example names its user; the key is empty here."""
    return int.from_bytes(blake2b(user.encode(), digest_size=8, person=b"examples").digest(), "little")


@dataclass(frozen=True, slots=True)
class Told:
    """A record of the events as a reader of the log understands it."""

    user: str
    message_id: str | None
    time_s: float
    name: str | None
    """None for traits."""
    price: float
    """0 for none."""
    deletes: bool = False

    @property
    def is_note(self) -> bool:
        """Whether a campaign says it, and not the user."""
        return self.name is not None and self.name.startswith(NOTES)


@lru_cache(maxsize=4_096)
def read_event(value: bytes) -> Told | None:
    """None if it cannot be used."""
    try:
        body = json.loads(value.decode())
    except ValueError:
        return None
    if not isinstance(body, dict) or body.get("type") not in ("track", "identify", "delete") or not body.get("userId"):
        return None
    try:
        time_s = datetime.fromisoformat(body["timestamp"]).timestamp()
    except (KeyError, ValueError):
        return None
    price = (body.get("properties") or {}).get("price") or 0.0
    return Told(body["userId"], body.get("messageId"), time_s, body.get("event"), price, body["type"] == "delete")


@dataclass(frozen=True, slots=True)
class Gone:
    """A user who was there and was deleted by the record at `offset`; events up to `until_s` are refused."""

    offset: int
    user: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Noted:
    """A note of a campaign that counts, at `offset`, with the time by which the shard goes."""

    offset: int
    user: str
    name: str
    time_s: float


@dataclass(slots=True)
class Expected:
    """What must become of the records of one partition."""

    accepted: list[int]
    """Hashes, in the order of the log."""
    duplicates: int
    """Also deletions that are no later than one that was done."""
    dead: dict[int, str]
    """Offset -> the reason, "" for any."""
    deletions: list[tuple[int, str]] = field(default_factory=list)
    """Offset and user of those that are accepted, also of users who were not there."""
    gone: list[Gone] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    """Who is there."""
    notes: list[Noted] = field(default_factory=list)
    """Of those that are accepted."""
    passed_over: int = 0
    """Notes about nobody, or of an earlier life."""


class Sorting:
    """Sorts the records of a partition, as they come, into accepted, duplicate and refused ones, and notes."""

    def __init__(self, source: str, partition: int, shards: int, most_users: int) -> None:
        self._source, self._partition, self._shards, self._most_users = source, partition, shards, most_users
        self.found = Expected([], 0, {})
        self._known: set[int] = set()
        self._latest_s: dict[str, float] = {}
        self._deleted: dict[str, tuple[float, float]] = {}
        """Of users, when they were deleted and up to when their events are refused."""

    def take(self, offset: int, value: bytes, time_s: float) -> bool:
        """The next record, of `time_s` by which the shard goes; whether it is accepted as an event or deletion."""
        found, told = self.found, read_event(value)
        if told is None:
            found.dead[offset] = ""
            return False
        if (reason := self._refusal(told, time_s)) is not None:
            found.dead[offset] = reason
            return False
        if told.is_note:
            self._take_note(offset, told, time_s)
            return False
        if (told.deletes and time_s <= self._deleted_at(told.user)[0]) or not self._is_new(offset, told):
            found.duplicates += 1
            return False
        if told.deletes:
            self._delete(told.user, offset, time_s)
        else:
            found.users.add(told.user)
            self._latest_s[told.user] = max(time_s, self._latest_s.get(told.user, -math.inf))
        return True

    def _refusal(self, told: Told, time_s: float) -> str | None:
        """Why a record that can be read is a dead letter, None if it is none."""
        is_there = told.user in self.found.users
        if not is_there and shard_of(told.user, self._shards) != self._partition:
            return "wrong_partition"
        if told.deletes or told.is_note:
            return None
        if time_s <= self._deleted_at(told.user)[1]:
            return "deleted_user"
        return "too_many_users" if not is_there and len(self.found.users) >= self._most_users else None

    def _deleted_at(self, user: str) -> tuple[float, float]:
        """When a user was deleted, and up to when events are refused."""
        return self._deleted.get(user, (-math.inf, -math.inf))

    def _is_new(self, offset: int, told: Told) -> bool:
        """Whether its id was not accepted before; it is now."""
        hashed = place_hash(self._source, offset) if told.message_id is None else message_hash(told.message_id)
        if hashed in self._known:
            return False
        self._known.add(hashed)
        self.found.accepted.append(hashed)
        return True

    def _take_note(self, offset: int, told: Told, time_s: float) -> None:
        """A note makes no user, and is known again by its id as an event is."""
        found = self.found
        if told.user not in found.users or time_s <= self._deleted_at(told.user)[1]:
            found.passed_over += 1
        elif self._is_new(offset, told):
            found.notes.append(Noted(offset, told.user, told.name or "", time_s))
        else:
            found.duplicates += 1

    def _delete(self, user: str, offset: int, time_s: float) -> None:
        found = self.found
        found.deletions.append((offset, user))
        until_s = max(self._deleted_at(user)[1], time_s, self._latest_s.pop(user, -math.inf))
        self._deleted[user] = time_s, until_s
        if user in found.users:
            found.users.remove(user)
            found.gone.append(Gone(offset, user, until_s))


def position_of(data: bytes | None) -> int:
    """The offset in a stored position."""
    return 0 if data is None else int(msgspec.msgpack.decode(data)[0])


def log_time_of(data: bytes) -> float:
    """The wall clock of which the clock of a shard at this position is the image; 0 before its first event."""
    return float(msgspec.msgpack.decode(data)[1])


def read_clock(state: bytes) -> float:
    """A shard's clock in its blob `shard`; NaN before the first event."""
    return float(struct.unpack_from("<d", msgspec.msgpack.decode(state)["sf"])[0])


def read_frozen(state: bytes, predictions: Sequence[str]) -> dict[str, float]:
    """Of a shard's blob `shard`: the predictions that were scored for good, and as of when."""
    found = zip(predictions, msgspec.msgpack.decode(state)["frozen"], strict=True)
    return {name: at_s for name, at_s in found if not math.isnan(at_s)}


def read_population(data: bytes | None, predictions: int) -> Counts:
    """[predictions, BINS] users by rank value, from the blob `population`; nobody where nothing was ever stored."""
    if data is None:
        return np.zeros((predictions, BINS), np.int64)
    return np.frombuffer(data, "<i8", predictions * BINS).reshape(predictions, BINS).astype(np.int64)


def histogram(ranks: npt.NDArray[np.float64]) -> Counts:
    """[BINS] of rank values."""
    places = np.floor((ranks - LOWEST) / (HIGHEST - LOWEST) * BINS)
    return np.bincount(np.clip(places, 0, BINS - 1).astype(np.int64), minlength=BINS).astype(np.int64)


def transition_id(generation: str, shard: int, user: str, segment: str, sequence: int) -> str:
    """The id that a transition must have: each part of the hash follows its length, four bytes, big-endian."""
    digest = blake2b(digest_size=16)
    for part in (generation, str(shard), segment, user, str(sequence)):
        data = part.encode()
        digest.update(struct.pack(">I", len(data)) + data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A message of labelled examples."""

    prediction: str
    shard: int
    number: int
    previous: int
    examples: tuple[tuple[int, float, int, int, bool], ...]
    """(hash of the user, time, kind, label, whether it can be learned)."""
    touches: bytes
    """Of the examples: what campaigns did to the user within the window."""
    counts: bytes
    """The distribution of its shard at that hour, BINS numbers of 32 bits."""
    of_model: bool
    """Whether that is of what the model says, not of the heuristic."""
    birth: str
    """Of the store that its shard had then: the generation of the shard's first commit there."""

    @property
    def handed_out_s(self) -> float:
        """The whole hour of the shard's clock at which it was made: its number tells it."""
        return (self.number >> 16) * 3_600.0


@lru_cache(maxsize=4_096)
def read_chunk(data: bytes) -> Chunk:
    """The columns follow each other: x, y, time, user, kind, weight and what else there is."""
    _, _, *fields = msgspec.msgpack.decode(data)
    prediction, shard, number, previous, n, features, columns, counts, of_model, _, birth = fields
    at = 4 * n * features
    y = struct.unpack_from(f"<{n}B", columns, at)
    times = struct.unpack_from(f"<{n}d", columns, at + n)
    users = struct.unpack_from(f"<{n}Q", columns, at + 9 * n)
    kinds = struct.unpack_from(f"<{n}B", columns, at + 17 * n)
    weights = struct.unpack_from(f"<{n}f", columns, at + 18 * n)
    rows = zip(users, times, kinds, y, [weight > 0 for weight in weights], strict=True)
    touches = columns[at + 35 * n : at + 36 * n]  # the last one
    return Chunk(prediction, shard, number, previous, tuple(rows), touches, counts, of_model, birth)


def read_births(marks: bytes) -> dict[int, list[str]]:
    """Shard -> the births whose chunks a learner says that it has learned, the latest one last."""
    return dict(msgspec.msgpack.decode(marks)["births"])


def learned_chunks(log: Iterable[bytes], blobs: Mapping[str, bytes]) -> Iterator[tuple[int, Chunk]]:
    """(offset, chunk) of those in a partition that its learner, which holds `blobs`, has to have learned.

    Of each shard the chunks of one birth, until the first one of the next; of numbers that have not come yet.
    """
    births = read_births(blobs["marks"]) if "marks" in blobs else {}
    seen: dict[tuple[str, int], int] = {}
    for offset, chunk in enumerate(map(read_chunk, log)):
        follows = births.get(chunk.shard, [])
        if chunk.birth not in follows[:2]:
            continue
        if chunk.birth != follows[0]:
            del follows[0]
        if chunk.number > seen.get((chunk.prediction, chunk.shard), 0):
            seen[chunk.prediction, chunk.shard] = chunk.number
            yield offset, chunk


@dataclass(frozen=True, slots=True)
class Model:
    """The model of one prediction, as a message or a shard has it."""

    version: int
    status: int
    weights: bytes
    bias: float
    begun_s: float
    """When the log took the first examples that its learner knows, or the last ones that it has passed over."""

    @property
    def age(self) -> Age:
        """Of two models the one with the larger one is newer."""
        return self.begun_s, self.version


def read_begun(blobs: Mapping[str, bytes]) -> float:
    """What a learner says of that in all its models."""
    return float(struct.unpack("<d", blobs["begun"])[0]) if "begun" in blobs else math.nan


def read_models(data: bytes) -> list[Model]:
    """Of each prediction that a snapshot holds."""
    _, _, _, predictions, *_ = msgspec.msgpack.decode(data)
    return [Model(p[7], p[0], p[1], p[2], p[8] if len(p) > 8 else 0.0) for p in predictions]


def read_distribution(data: bytes) -> Counts:
    """[BINS]: what a message to the models topic says of all users of its prediction."""
    wire: Any = msgspec.msgpack.decode(data)
    return np.frombuffer(wire[4], "<i8").astype(np.int64)


@dataclass(frozen=True, slots=True)
class Learned:
    """What the stored state of a learner says of one prediction."""

    seen: dict[int, int]
    learned: int
    goals: int
    refused: int
    missed: int


def read_learned(data: bytes) -> Learned:
    """From the blob `learner:PREDICTION:head`."""
    _, _, seen, learned, goals, refused, missed, *_ = msgspec.msgpack.decode(data)
    return Learned(seen, learned, goals, refused, missed)


def read_judged(data: bytes) -> Counter[tuple[int, int]]:
    """(touch, kind) -> how many examples a learner has judged, of one week as the blob of its quality holds it.

    Nine rows of 4,172 sums, three kinds for each touch, of which those that are not zero are stored with their places.
    Sum 4,165 counts what was served, the last one what was not.
    """
    _, places, values = msgspec.msgpack.decode(zlib.decompress(data))
    found: Counter[tuple[int, int]] = Counter()
    for place, value in zip(np.frombuffer(places, "<u2").tolist(), np.frombuffer(values, "<f8").tolist(), strict=True):
        row, column = divmod(place, 4_172)
        if column in (4_165, 4_171):
            found[divmod(row, 3)] += int(value)
    return found
