"""Messages: all that stand were sent, chunks of examples follow each other, and a learner has learned each once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from tests.sim.books import EXAMPLES, Commit, Held
from tests.sim.evidence import KIND_CROSSING, learned_chunks, read_births, read_chunk, read_learned


def message_problems(commits: Sequence[Commit], stored: Held, sent: Collection[tuple[str, bytes]]) -> Iterator[str]:
    """Of one place. `sent`: (topic, data) of all that their topics hold."""
    numbers: dict[str, int] = {}
    for commit in commits:
        for topic, key, data in commit.messages:
            if (topic, data) not in sent:
                yield f"a message to {topic} of commit {commit.number} was never sent"
            if topic == EXAMPLES:
                chunk = read_chunk(data)
                if chunk.previous != numbers.get(key, 0) or chunk.number <= chunk.previous:
                    yield f"chunk {chunk.number} of {key} follows {numbers.get(key, 0)}"
                numbers[key] = chunk.number
    for topic, _, data in stored.messages:
        if (topic, data) not in sent:
            yield f"a message to {topic} is in the outbox and was never sent"


def birth_problems(log: Sequence[bytes], stored: Held, born: Mapping[int, str]) -> Iterator[str]:
    """A learner has come to the stores that shards have now. `born`: shard -> the birth of its store."""
    followed = read_births(stored.blobs["marks"]) if "marks" in stored.blobs else {}
    for shard, birth in {(chunk.shard, chunk.birth) for chunk in map(read_chunk, log)}:
        if birth == born[shard] and followed.get(shard, [""])[-1] != birth:
            yield f"shard {shard} was born as {birth}, and the learner follows {followed.get(shard)}"


def learned_problems(log: Sequence[bytes], stored: Held) -> Iterator[str]:
    """Learned was what the log of examples holds, every chunk and every example of the stores that count once."""
    seen: dict[tuple[str, int], int] = {}
    learned: dict[str, list[int]] = {}
    examples: set[tuple[str, int, int, float, int]] = set()
    for _, chunk in learned_chunks(log, stored.blobs):
        last = seen.get((chunk.prediction, chunk.shard), 0)
        if chunk.previous > last:
            yield f"chunk {chunk.number} of {chunk.prediction}, shard {chunk.shard}, follows {last}"
        seen[chunk.prediction, chunk.shard] = chunk.number
        count = learned.setdefault(chunk.prediction, [0, 0, 0])
        for user, time_s, kind, label, usable in chunk.examples:
            if not usable:
                count[2] += 1
            elif kind != KIND_CROSSING:
                example = chunk.prediction, chunk.shard, user, time_s, kind
                if example in examples:
                    yield f"learned twice: {example}"
                examples.add(example)
                count[0] += 1
                count[1] += label
    for prediction, count in learned.items():
        state = read_learned(stored.blobs[f"learner:{prediction}:head"])
        shards = {shard: number for (name, shard), number in seen.items() if name == prediction}
        if [state.learned, state.goals, state.refused, state.missed] != [*count, 0] or state.seen != shards:
            yield f"{prediction}: the learner says {state}, the log of examples holds {count} of {shards}"
