"""The state that the examples of `docs/redis.md` show."""

from __future__ import annotations

from streams.core.partition import shard_of
from streams.ports import CommitBatch, Identity, Store

SHARDS = 4
IDENTITY = Identity(
    catalog="c0ffee",
    input="d1ce",
    predictions=("orders_7d", "churn_90d"),
    segments=("orders_7d.high", "churn_90d.high", "buyers"),
)
SCORES = {
    "ann": ("orders_7d", 91.5, 0.3127, "high"),
    "bob": ("orders_7d", 77.0, 0.2011, "high"),
    "cleo": ("orders_7d", 12.0, 0.0104, "low"),
    "dan": ("orders_7d", 74.5, 0.1990, "medium"),
    "eve": ("churn_90d", 80.0, None, "high"),
}


def transition(number: int, user: str) -> bytes:
    kind = "tideline.segment.entered.v1"
    return b'{"specversion":"1.0","id":"b%d","type":"%b","subject":"%b"}' % (number, kind.encode(), user.encode())


def score_json(score: float, likelihood: float | None, category: str) -> bytes:
    shown = "null" if likelihood is None else f"{likelihood:.4f}"
    return f'{{"score":{score},"likelihood":{shown},"category":"{category}"}}'.encode()


def fill(store: Store) -> None:
    """Two commits of shard 2, one of every other."""
    store.prepare(SHARDS, IDENTITY)
    for shard in range(SHARDS):
        claim = store.claim(shard, new_generation="made-by-example")
        batch = CommitBatch(number=1, position=b"1")
        for user, (prediction, score, likelihood, category) in SCORES.items():
            if shard_of(user, SHARDS) == shard:
                batch.rows.append((user, b"row"))
                batch.scores.setdefault(prediction, []).append((user, score_json(score, likelihood, category)))
                batch.index.setdefault(prediction, []).append((user, float(int(score))))
                if category == "high":
                    batch.members_added.setdefault(f"{prediction}.high", []).append(user)
        if shard == 1:
            batch.members_added["buyers"] = ["dan"]
            batch.dead_letters = [b'{"reason":"missing_user","position":17}']
        if shard == 2:
            batch.outbox = [transition(1, "ann")]
            batch.deleted = [("9f86d081884c7d659a2feaa0c55ad015", bytes(20))]
            batch.remembered = [("ann", b'{"products":["p1"]}')]
        store.commit(claim, batch, None)
        if shard == 2:
            store.commit(claim, CommitBatch(number=2, position=b"2", outbox=[transition(2, "bob")]), None)
