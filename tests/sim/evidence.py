"""Reading what the logs and the store hold, written from the documents alone: no code of the product is used here.

docs/input.md (records), docs/events.md (transitions), docs/redis.md (what is stored, and a user's shard), and the
docstrings of models/chunk_message.py and models/snapshot.py for the two messages between services.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

_WORD = 0xFFFF_FFFF_FFFF_FFFF
_MESSAGE_SEED = 0x7469_6465_6C69_6E65
KIND_CROSSING = 2


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


@dataclass(frozen=True, slots=True)
class Told:
    """A record of the events as a reader of the log understands it."""

    user: str
    message_id: str | None


def read_event(value: bytes) -> Told | None:
    """None if it cannot be used."""
    try:
        body = json.loads(value.decode())
    except ValueError:
        return None
    if not isinstance(body, dict) or body.get("type") not in ("track", "identify") or not body.get("userId"):
        return None
    try:
        datetime.fromisoformat(body["timestamp"])
    except (KeyError, ValueError):
        return None
    return Told(body["userId"], body.get("messageId"))


@dataclass(slots=True)
class Expected:
    """What must become of the records of one partition."""

    accepted: list[int]
    """Hashes, in the order of the log."""
    duplicates: int
    dead: dict[int, str]
    """Offset -> the reason, "" for any."""
    offset_of: dict[str, int]
    """What a transition names as its cause -> the offset."""


def expect(values: list[bytes], source: str, partition: int, shards: int, most_users: int) -> Expected:
    """Sort the records of a partition into accepted, duplicate and refused ones."""
    found = Expected([], 0, {}, {})
    known: set[int] = set()
    users: set[str] = set()
    for offset, value in enumerate(values):
        told = read_event(value)
        if told is None:
            found.dead[offset] = ""
            continue
        if told.user not in users and shard_of(told.user, shards) != partition:
            found.dead[offset] = "wrong_partition"
            continue
        if told.user not in users and len(users) >= most_users:
            found.dead[offset] = "too_many_users"
            continue
        by_place = told.message_id is None
        hashed = place_hash(source, offset) if told.message_id is None else message_hash(told.message_id)
        if hashed in known:
            found.duplicates += 1
            continue
        known.add(hashed)
        users.add(told.user)
        found.accepted.append(hashed)
        found.offset_of[f"position:{offset}" if by_place else str(told.message_id)] = offset
    return found


def position_of(data: bytes | None) -> int:
    """The offset in a stored position."""
    return 0 if data is None else int(msgspec.msgpack.decode(data)[0])


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


def read_chunk(data: bytes) -> Chunk:
    """The columns follow each other: x, y, time, user, kind, weight and what else there is."""
    _, _, prediction, shard, number, previous, n, features, columns, _, _ = msgspec.msgpack.decode(data)
    at = 4 * n * features
    y = struct.unpack_from(f"<{n}B", columns, at)
    times = struct.unpack_from(f"<{n}d", columns, at + n)
    users = struct.unpack_from(f"<{n}Q", columns, at + 9 * n)
    kinds = struct.unpack_from(f"<{n}B", columns, at + 17 * n)
    weights = struct.unpack_from(f"<{n}f", columns, at + 18 * n)
    rows = zip(users, times, kinds, y, [weight > 0 for weight in weights], strict=True)
    return Chunk(prediction, shard, number, previous, tuple(rows))


def read_snapshot_version(data: bytes) -> int:
    """The version of a message to the models topic."""
    wire: Any = msgspec.msgpack.decode(data)
    return int(wire["version"] if isinstance(wire, dict) else wire[1])


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
