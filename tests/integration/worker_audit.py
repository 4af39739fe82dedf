"""The auditor of a run of workers: what must hold at its end, judged by the topics and the store alone.

A shard whose store was set back has a second generation, and maybe more: a worker that knew the shard before takes
one of its own. What the first one said after that point does not stand any more; what stands is what the store held at
the set-back, and all that the generations after it say, which go on with each other's sequences.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NoReturn

from models.chunk_message import ChunkMessage
from models.examples import KIND_CROSSING
from models.snapshot import Snapshot
from streams.core.message_hash import id_hash
from streams.core.partition import shard_of
from tests.integration.worker_evidence import Evidence, Head, Logged, ShardImage, StoreImage

CATEGORIES = ("low", "medium", "high")


class Violation(AssertionError):
    """Something that must hold does not."""


@dataclass(slots=True)
class Figures:
    """What the audit has counted."""

    events: int = 0
    accepted: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    transitions: int = 0
    repeated: int = 0
    """Transitions that stand in the topic once more."""
    set_back: int = 0
    """Shards with a second generation."""
    chunks: int = 0
    repeated_chunks: int = 0
    examples: int = 0
    models: int = 0
    live: list[str] = field(default_factory=list)
    """Predictions with members."""


@dataclass(frozen=True, slots=True)
class SetBack:
    """What happened to a store that was set back in time, once."""

    image: StoreImage
    """What it held then."""
    generations: Sequence[Sequence[str]]
    """Of each shard, in their order, over the whole run."""


def audit(evidence: Evidence, set_back: SetBack | None = None) -> Figures:
    """Raises Violation."""
    return _Audit(evidence, set_back).run()


@dataclass(frozen=True, slots=True)
class _Told:
    """A transition, once."""

    generation: str
    user: str
    segment: str
    sequence: int


class _Audit:
    def __init__(self, evidence: Evidence, set_back: SetBack | None) -> None:
        self.evidence = evidence
        self.set_back = set_back
        self.figures = Figures()
        self.shards = len(evidence.store.shards)

    def run(self) -> Figures:
        for shard, image in enumerate(self.evidence.store.shards):
            self._check_records(shard, image)
            self._check_transitions(shard, image)
            self._check_scores(shard, image)
        self._check_dead_letters()
        self._check_learners()
        self._check_models()
        return self.figures

    # --- events ------------------------------------------------------------------------------------------------------

    def _check_records(self, shard: int, image: ShardImage) -> None:
        """Every record was accepted, known as a duplicate, or refused."""
        records = self.evidence.events[shard]
        judged = [judge(record.value, shard, self.shards) for record in records]
        good = [(message, user) for message, user in judged if message is not None]
        first = dict.fromkeys(message for message, _ in good)
        duplicates = len(good) - len(first)
        if image.accepted != [id_hash(message) for message in first]:
            fail(f"shard {shard}: {len(image.accepted)} messages were accepted, not {len(first)} in the topic's order")
        counted = image.counters["events"], image.counters["duplicates"]
        if counted != (len(first), duplicates):
            fail(f"shard {shard}: it counted {counted} events and duplicates, not {(len(first), duplicates)}")
        if image.offset != len(records):
            fail(f"shard {shard}: it stands at {image.offset} of {len(records)}")
        if image.users != {user for _, user in good}:
            fail(f"shard {shard}: {len(image.users)} users are stored")
        self.figures.events += len(records)
        self.figures.accepted += len(first)
        self.figures.duplicates += duplicates

    def _check_dead_letters(self) -> None:
        """Those in the topic are of exactly the records that cannot be used."""
        found: dict[tuple[int, int], bytes] = {}
        for record in self.evidence.dead_letters:
            letter = json.loads(record.value)
            place = int(letter["source"].rpartition("-")[2]), int(letter["position"])
            if found.setdefault(place, record.value) != record.value:
                fail(f"the dead letter of {place} has two payloads")
            sent = self.evidence.events[place[0]][place[1]].value
            if letter.get("raw", "").encode() != sent and b64decode(letter.get("raw_base64", "")) != sent:
                fail(f"the dead letter of {place} holds other bytes than were sent: {letter}")
        wanted = {
            (shard, record.offset)
            for shard, records in enumerate(self.evidence.events)
            for record in records
            if judge(record.value, shard, self.shards)[0] is None
        }
        if found.keys() != wanted:
            fail(f"dead letters are missing: {wanted - found.keys()}; nobody expected {found.keys() - wanted}")
        self.figures.dead_letters = len(wanted)

    # --- transitions -------------------------------------------------------------------------------------------------

    def _check_transitions(self, shard: int, image: ShardImage) -> None:
        generations, before = [image.generation], None
        if self.set_back is not None and self.set_back.image.shards[shard].generation != image.generation:
            generations, before = list(self.set_back.generations[shard]), self.set_back.image.shards[shard]
            if generations[0] != before.generation or image.generation not in generations:
                fail(f"shard {shard}: {before.generation} and {image.generation} were seen as {generations}")
            self.figures.set_back += 1
        told = self._read_transitions(shard, generations)
        if before is not None:
            lost = [each for each in told if each.generation == generations[0]]
            self._check_sequences(shard, lost, {})
            told = [each for each in told if each.generation != generations[0]]
            self._check_going_on(shard, lost, told, before)
        else:
            self._check_sequences(shard, told, {})
        members = {} if before is None else {segment: set(users) for segment, users in before.members.items()}
        for each in told:
            users = members.setdefault(each.segment, set())
            (users.add if each.sequence % 2 else users.discard)(each.user)
        if without_empty(members) != without_empty(image.members):
            fail(f"shard {shard}: transitions fold to {sizes(members)}, the store holds {sizes(image.members)}")

    def _read_transitions(self, shard: int, generations: Sequence[str]) -> list[_Told]:
        """Each once, in the order of the topic."""
        told: list[_Told] = []
        payloads: dict[str, Logged] = {}
        for record in self.evidence.transitions[shard]:
            headers = {name: value.decode() for name, value in record.headers}
            known = payloads.setdefault(headers["ce_id"], record)
            if (known.key, known.value, known.headers) != (record.key, record.value, record.headers):
                fail(f"the id {headers['ce_id']} has two payloads: {known} and {record}")
            if known is not record:
                self.figures.repeated += 1
                continue
            told.append(self._read_transition(shard, headers, json.loads(record.value), generations))
        self.figures.transitions += len(told)
        return told

    def _read_transition(
        self, shard: int, headers: dict[str, str], data: dict[str, Any], generations: Sequence[str]
    ) -> _Told:
        user, segment, sequence = data["user_id"], data["segment_id"], int(headers["ce_sequence"])
        where = f"shard {shard}: {user} in {segment}, {sequence}"
        if headers["ce_source"].rpartition("/")[2] != str(shard) or shard_of(user, self.shards) != shard:
            fail(f"{where} comes from {headers['ce_source']}")
        if data["in_segment"] != bool(sequence % 2) or ("entered" in headers["ce_type"]) != data["in_segment"]:
            fail(f"{where} goes the wrong way")
        ids = {transition_id(generation, shard, user, segment, sequence): generation for generation in generations}
        if headers["ce_id"] not in ids:
            fail(f"{where} has an id of none of the generations {generations}")
        return _Told(ids[headers["ce_id"]], user, segment, sequence)

    def _check_sequences(self, shard: int, told: Sequence[_Told], last: dict[tuple[str, str], int]) -> None:
        """Per user and segment no gap behind `last`, which is kept up to date."""
        for each in told:
            place = each.user, each.segment
            if each.sequence != last.get(place, 0) + 1:
                fail(f"shard {shard}: {place}: {each.sequence} follows {last.get(place, 0)}")
            last[place] = each.sequence

    def _check_going_on(self, shard: int, lost: Sequence[_Told], told: Sequence[_Told], before: ShardImage) -> None:
        """After a set-back no gap either: it goes on behind what stood, which the first generation had reached."""
        reached = {(each.user, each.segment): each.sequence for each in lost}
        start: dict[tuple[str, str], int] = {}
        for each in told:
            place = each.user, each.segment
            if place in start:
                continue
            was_in = each.user in before.members[each.segment]
            if bool(each.sequence % 2) == was_in or each.sequence > reached.get(place, 0) + 1:
                fail(f"shard {shard}: after the set-back {each}; reached {reached.get(place, 0)}, member: {was_in}")
            start[place] = each.sequence - 1
        self._check_sequences(shard, told, start)

    def _check_scores(self, shard: int, image: ShardImage) -> None:
        """Whoever has a likelihood is in the segment of his category alone, and members have a score."""
        for prediction, scores in image.scores.items():
            segments = {category: image.members[f"{prediction}.{category}"] for category in CATEGORIES}
            if not any(segments.values()):
                continue
            self.figures.live.append(f"{prediction}@{shard}")
            for user, score in scores.items():
                inside = [category for category, users in segments.items() if user in users]
                if score["likelihood"] is not None and inside not in ([], [score["category"]]):
                    fail(f"shard {shard}: {user} of {prediction} has {score} and is in {inside}")
            if not set().union(*segments.values()) <= scores.keys():
                fail(f"shard {shard}: members of {prediction} have no score")

    # --- learning ----------------------------------------------------------------------------------------------------

    def _check_learners(self) -> None:
        """Learned is what the topic of examples holds: every chunk and every example once, none left out."""
        names = sorted(self.evidence.store.shards[0].scores)
        indexes = {name: p for p, name in enumerate(names)}
        expected = {name: Head(0, 0, {}, 0, 0, 0, 0) for name in names}
        examples: set[tuple[str, int, int, float, int]] = set()
        for partition in self.evidence.examples:
            for record in partition:
                message = ChunkMessage.from_bytes(record.value, indexes)
                assert message is not None
                self._learn(message, expected, examples)
        for name, head in expected.items():
            found = self.evidence.store.learned.get(name, Head(0, 0, {}, 0, 0, 0, 0))
            if (found.seen, found.learned, found.goals, found.missed) != (head.seen, head.learned, head.goals, 0):
                fail(f"{name}: the learner says {found}, the topic of examples holds {head}")
        self.figures.examples = len(examples)

    def _learn(
        self, message: ChunkMessage, expected: dict[str, Head], examples: set[tuple[str, int, int, float, int]]
    ) -> None:
        name, chunk = message.prediction_id, message.chunk
        head = expected[name]
        last = head.seen.get(chunk.shard, 0)
        if chunk.number <= last:
            self.figures.repeated_chunks += 1
            return
        if chunk.previous > last:
            fail(f"{name}: chunk {chunk.number} of shard {chunk.shard} follows {last}, not {chunk.previous}")
        head.seen[chunk.shard] = chunk.number
        self.figures.chunks += 1
        columns = (chunk.user, chunk.time_s, chunk.kind, chunk.y)
        for user, time_s, kind, label in zip(*(column.tolist() for column in columns), strict=True):
            if kind == KIND_CROSSING:
                continue
            example = name, chunk.shard, user, time_s, kind
            if example in examples:
                fail(f"learned twice: {example}")
            examples.add(example)
            head.learned += 1
            head.goals += label

    def _check_models(self) -> None:
        """A version of a model is one model."""
        features = {name: head.features for name, head in self.evidence.store.learned.items()}
        versions: dict[tuple[bytes | None, int], bytes] = {}
        for record in self.evidence.models:
            assert record.key is not None
            name = record.key.decode().rpartition(":")[2]
            version = Snapshot.from_bytes(record.value, features[name]).version
            if versions.setdefault((record.key, version), record.value) != record.value:
                fail(f"version {version} of {name} has two payloads")
        self.figures.models = len(versions)


def judge(value: bytes, shard: int, shards: int) -> tuple[str | None, str]:
    """Message id and user of a record; the id is None for one that cannot be used."""
    try:
        body = json.loads(value)
    except ValueError:
        return None, ""
    if not isinstance(body, dict) or body.get("type") not in ("track", "identify"):
        return None, ""
    user = body.get("userId")
    if not user or body["timestamp"] > "2100" or shard_of(user, shards) != shard:
        return None, ""
    return body["messageId"], user


def transition_id(generation: str, shard: int, user: str, segment: str, sequence: int) -> str:
    """As docs/events.md says: of what makes a crossing unique."""
    parts = [text.encode() for text in (generation, str(shard), segment, user, str(sequence))]
    return blake2b(b"".join(len(part).to_bytes(4, "big") + part for part in parts), digest_size=16).hexdigest()


def without_empty(members: dict[str, set[str]]) -> dict[str, set[str]]:
    """Segments that have members."""
    return {segment: users for segment, users in members.items() if users}


def sizes(members: dict[str, set[str]]) -> dict[str, int]:
    """For messages."""
    return {segment: len(users) for segment, users in members.items()}


def fail(what: str) -> NoReturn:
    raise Violation(what)
