"""The live scores as readers of the store find them: one JSON object per user and prediction (docs/redis.md)."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from models.jit import I32, U64
from streams.core.definitions import CATEGORIES
from streams.core.shard import Shard
from streams.ports import CommitBatch

_WORDS = tuple(word.encode() for word in CATEGORIES)


def take_scores(shard: Shard, batch: CommitBatch, rows: I32, users: list[str], dirty: U64) -> None:
    """Put the scores of users that changed into `batch`.

    `rows` [n] of `users`, with their `dirty` bits: bit 1 + p is set when the score of prediction p moved by a whole
    point, came or went, so that its place in the index by score must follow.
    """
    for p, prediction in enumerate(shard.definitions.prediction_ids):
        _take_prediction(shard, batch, p, prediction, rows, users, (dirty >> np.uint64(1 + p)) & np.uint64(1) != 0)


def _take_prediction(
    shard: Shard, batch: CommitBatch, p: int, prediction: str, rows: I32, users: list[str], moved: np.ndarray
) -> None:
    views, c = shard.users.rows, shard.definitions.layout.columns
    scores = views.f[rows, c.f_score + p]
    inside = ~np.isnan(scores)
    likelihoods = expit(views.f[rows, c.f_z + p].astype(np.float64))
    is_live = shard.state.model.live[p] != 0
    categories = views.b[rows, c.b_category + p]
    batch.scores[prediction] = [
        (users[k], _score_json(score, likelihood if is_live else None, category))
        for k, score, likelihood, category in zip(
            np.flatnonzero(inside).tolist(),
            scores[inside].tolist(),
            likelihoods[inside].tolist(),
            categories[inside].tolist(),
            strict=True,
        )
    ]
    gone = [users[k] for k in np.flatnonzero(moved & ~inside).tolist()]
    batch.scores_removed[prediction] = gone
    batch.index_removed[prediction] = gone
    batch.index[prediction] = [(users[k], round(float(scores[k]), 2)) for k in np.flatnonzero(moved & inside).tolist()]


def _score_json(score: float, likelihood: float | None, category: int) -> bytes:
    shown = b"null" if likelihood is None else b"%.6g" % likelihood
    return b'{"score":%.2f,"likelihood":%s,"category":"%s"}' % (score, shown, _WORDS[category])
