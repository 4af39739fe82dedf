"""What topics and the store hold after a run of workers, read by other clients than the workers', for an audit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from config.settings import Settings, TopicKind
from streams.adapters.kafka_arguments import kafka_python, kafka_python_arguments
from streams.adapters.kafka_topics import EXAMPLES_PARTITIONS
from streams.core.state import COUNTERS


class Logged(NamedTuple):
    """A record of a topic."""

    offset: int
    time_s: float
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Head(msgspec.Struct, array_like=True):
    """What a learner says of one prediction (the part that is compared)."""

    format: int
    features: int
    seen: dict[int, int]
    learned: int
    goals: int
    refused: int
    missed: int


@dataclass(frozen=True, slots=True)
class ShardImage:
    """What the store holds of one shard."""

    number: int
    generation: str
    offset: int
    members: dict[str, set[str]]
    scores: dict[str, dict[str, Any]]
    users: set[str]
    accepted: list[int]
    """Hashes of the message ids that were accepted, in order."""
    counters: dict[str, int]


@dataclass(frozen=True, slots=True)
class StoreImage:
    """What a store holds at one moment; nobody may write meanwhile."""

    catalog: str
    """Its digest."""
    shards: list[ShardImage]
    learned: dict[str, Head]
    """prediction -> its learner."""
    learned_until: list[int]
    """Of each partition of the examples: what is learned ends before this offset."""

    @classmethod
    def read(cls, client: Any) -> StoreImage:
        about = _texts(client.hgetall("tl:meta"))
        shards = [_shard(client, n, about["predictions"], about["segments"]) for n in range(int(about["shards"]))]
        learned, until = {}, []
        for partition in range(EXAMPLES_PARTITIONS):
            position = client.hget(f"tl:learn:{{{partition}}}:meta", "position")
            until.append(0 if position is None else msgspec.msgpack.decode(position)[0])
            for name, data in client.hgetall(f"tl:learn:{{{partition}}}:state").items():
                kind, *rest = name.decode().split(":")
                if kind == "learner" and rest[1:] == ["head"]:
                    learned[rest[0]] = msgspec.msgpack.decode(data, type=Head)
        return cls(about["catalog"], shards, learned, until)


def _texts(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode(errors="replace") for name, value in fields.items()}


def _shard(client: Any, number: int, predictions: str, segments: str) -> ShardImage:
    base = f"tl:{{{number}}}:"
    meta = client.hgetall(base + "meta")
    state = client.hget(base + "state", "shard")
    counted = msgspec.msgpack.decode(state)["si"] if state else None
    names = sorted(
        (name.decode() for name in client.smembers(base + "appended") if name.startswith(b"dedupe:")),
        key=lambda name: int(name.split(":")[1]),
    )
    hashes = b"".join(client.get(base + name) for name in names)
    return ShardImage(
        number=int(meta.get(b"commit", 0)),
        generation=meta[b"generation"].decode(),
        offset=msgspec.msgpack.decode(meta[b"position"])[0] if b"position" in meta else 0,
        members={name: {u.decode() for u in client.smembers(f"{base}members:{name}")} for name in segments.split()},
        scores={name: _scores(client.hgetall(f"{base}scores:{name}")) for name in predictions.split()},
        users={user.decode() for user in client.hkeys(base + "rows")},
        accepted=[int.from_bytes(hashes[at : at + 8], "little") for at in range(0, len(hashes), 8)],
        counters={name: counted[at] if counted else 0 for name, at in COUNTERS.items()},
    )


def _scores(fields: dict[bytes, bytes]) -> dict[str, Any]:
    return {user.decode(): json.loads(data) for user, data in fields.items()}


def read_topic(settings: Settings, kind: TopicKind) -> list[list[Logged]]:
    """Every record of a topic, by partition."""
    kafka = kafka_python()
    topic = settings.topic(kind)
    consumer = kafka.KafkaConsumer(**kafka_python_arguments(settings), group_id=None, auto_offset_reset="earliest")
    try:
        places = [kafka.TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        found: list[list[Logged]] = [[] for _ in places]
        while any(consumer.position(place) < end for place, end in ends.items()):
            for place, records in consumer.poll(timeout_ms=1_000).items():
                found[place.partition] += [_logged(record) for record in records]
        return found
    finally:
        consumer.close()


def _logged(record: Any) -> Logged:
    headers = tuple((name, value) for name, value in record.headers or ())
    return Logged(record.offset, record.timestamp / 1000.0, record.key, record.value or b"", headers)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything, by partition."""

    events: Sequence[Sequence[Logged]]
    transitions: Sequence[Sequence[Logged]]
    examples: Sequence[Sequence[Logged]]
    models: Sequence[Logged]
    dead_letters: Sequence[Logged]
    store: StoreImage

    def until_stored(self) -> Evidence:
        """Without the events and examples that are still to be worked."""
        events = [records[: shard.offset] for records, shard in zip(self.events, self.store.shards, strict=True)]
        examples = [records[:end] for records, end in zip(self.examples, self.store.learned_until, strict=True)]
        return replace(self, events=events, examples=examples)

    @classmethod
    def read(cls, settings: Settings, client: Any) -> Evidence:
        """After the end of all workers."""
        return cls(
            events=read_topic(settings, "events"),
            transitions=read_topic(settings, "segment-events"),
            examples=read_topic(settings, "examples"),
            models=read_topic(settings, "models")[0],
            dead_letters=read_topic(settings, "dead-letters")[0],
            store=StoreImage.read(client),
        )
