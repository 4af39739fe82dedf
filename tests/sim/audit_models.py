"""Models and distributions: the latest model is in force everywhere, and is ranked among the users there are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from tests.sim.evidence import (
    BINS,
    WARMING,
    Age,
    Chunk,
    Counts,
    Model,
    histogram,
    learned_chunks,
    read_begun,
    read_distribution,
    read_models,
    read_population,
)
from tests.sim.rules import Memory, Rules


class Stored(Protocol):
    """What is read here of what a store holds."""

    @property
    def blobs(self) -> Mapping[str, bytes]: ...

    @property
    def scores(self) -> Mapping[str, Mapping[str, bytes]]: ...


def shard_problems(
    rules: Rules,
    stored: Stored,
    memory: Memory,
    latest: Mapping[str, bytes],
    chunks: Mapping[str, Chunk],
    frozen: Collection[str],
) -> Iterator[str]:
    """Of one shard. `latest`: each prediction's last message to the models topic; `chunks`: the last that stand.

    What is `frozen` takes no model, and tells the learner nothing.
    """
    names = list(rules.windows_s)
    in_force = read_models(stored.blobs["snapshot"]) if "snapshot" in stored.blobs else []
    for p, name in enumerate(names):
        if name not in frozen and (message := (rules.given or latest).get(name)) is not None:
            (wanted,) = read_models(message)
            if not in_force or not _is_same(in_force[p], wanted, is_rewritten=bool(frozen)):
                yield f"{name}: model {wanted.version} is not in force, but {in_force[p].version if in_force else 0}"
    population = read_population(stored.blobs.get("population"), len(names))
    for p, name in enumerate(names):
        serves = bool(in_force) and in_force[p].status != WARMING
        if int(population[p].sum()) != len(stored.scores.get(name, ())):
            yield f"{name}: {population[p].sum()} users are counted, {len(stored.scores.get(name, ()))} have a score"
        if not np.array_equal(population[p], histogram(memory.ranks[name])):
            yield f"{name}: the distribution is not that of the users"
        told = chunks.get(name)
        is_latest = memory.is_settled and name not in frozen and told is not None and told.of_model == serves
        if is_latest and told is not None and not np.array_equal(_counts(told), population[p]):
            yield f"{name}: the learner was told another distribution than that of the users"


def _is_same(found: Model, wanted: Model, *, is_rewritten: bool) -> bool:
    """A shard that was rewritten may have columns of found names in another order than the learner."""
    if not is_rewritten:
        return found == wanted
    ours, theirs = (np.sort(np.frombuffer(one.weights)) for one in (found, wanted))
    return replace(found, weights=wanted.weights) == wanted and np.array_equal(ours, theirs)


def topic_problems(last: Mapping[str, Age], published: Mapping[str, Mapping[Age, bytes]]) -> Iterator[str]:
    """The newest model of each key stands last in the topic: that is the one that Kafka keeps.

    `last`: key -> which one stands there; `published`: key -> age -> message.
    """
    for key, models in published.items():
        if last[key] != max(models):
            yield f"{key}: model {last[key]} stands behind the newest one, {max(models)}"


def learner_problems(
    log: Sequence[bytes], stored: Stored, published: Mapping[str, Mapping[Age, bytes]]
) -> Iterator[str]:
    """Of one partition of the examples. `published`: prediction -> age -> message."""
    begun_s = read_begun(stored.blobs)
    told: dict[str, dict[int, Chunk]] = {}
    for offset, chunk in learned_chunks(log, stored.blobs):
        of_shards = told.setdefault(chunk.prediction, {})
        of_shards[chunk.shard] = chunk
        message = published.get(chunk.prediction, {}).get((begun_s, offset + 1))
        if message is not None and not np.array_equal(read_distribution(message), _sum(of_shards, message)):
            yield f"{chunk.prediction}: model {offset + 1} has a distribution that is not the sum of the shards'"
    for name, of_shards in told.items():
        for shard, chunk in of_shards.items():
            data = stored.blobs.get(f"counts:{name}:{shard}", b"")
            if data != (b"1" if chunk.of_model else b"0") + _counts(chunk).tobytes():
                yield f"{name}: the learner has another distribution than shard {shard} has told"


def _sum(of_shards: Mapping[int, Chunk], message: bytes) -> Counts:
    """Of the shards that rank by the same: the model that is in the message, or the heuristic before it."""
    (model,) = read_models(message)
    some = [_counts(chunk) for chunk in of_shards.values() if chunk.of_model == (model.status != WARMING)]
    return np.sum(some, axis=0) if some else np.zeros(BINS, np.int64)


def _counts(chunk: Chunk) -> Counts:
    return np.frombuffer(chunk.counts, "<i4").astype(np.int64)
