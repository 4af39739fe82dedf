"""The live scores as readers of the store find them: one JSON object per user and prediction (docs/redis.md)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from models.jit import F64, I32, I64, U8, U64, const, jit
from models.layout import EPOCH
from streams.core.definitions import CATEGORIES
from streams.core.json_text import put, put_fixed, put_share
from streams.core.shard import Shard
from streams.ports import CommitBatch

_TEXTS = (b'{"score":', b',"likelihood":', *(b',"category":"%s"}' % word.encode() for word in CATEGORIES))
_TEXT: U8 = np.frombuffer(b"".join(_TEXTS), np.uint8)
_STARTS: I64 = np.cumsum([0, *(len(text) for text in _TEXTS)])
_FIRST_CATEGORY = 2
_TWO_DECIMALS = const(2)
_ROW_BYTES = 96  # more than one object


def take_scores(shard: Shard, batch: CommitBatch, rows: I32, users: list[str], dirty: U64) -> None:
    """Put the scores of users that changed into `batch`.

    `rows` [n] of `users`, with their `dirty` bits: bit 1 + p is set when the score of prediction p moved by a whole
    point, came or went, so that its place in the index by score must follow.
    """
    for p, prediction in enumerate(shard.definitions.prediction_ids):
        _take_prediction(shard, batch, p, prediction, rows, users, (dirty >> np.uint64(1 + p)) & np.uint64(1) != 0)


def _take_prediction(
    shard: Shard, batch: CommitBatch, p: int, prediction: str, rows: I32, users: list[str], moved: npt.NDArray[np.bool_]
) -> None:
    views, c = shard.users.rows, shard.definitions.layout.columns
    scores = views.f[rows, c.f_score + p].astype(np.float64)
    inside = ~np.isnan(scores)
    likelihoods = expit(views.f[rows, c.f_z + p].astype(np.float64))
    # Until a user's turn after going live all else that is said is the heuristic's: no likelihood stands beside it.
    served = views.u[rows, EPOCH] >= shard.went_live[p].epoch if p in shard.went_live else False
    likelihoods = np.where(served, likelihoods, np.nan)
    categories = views.b[rows, c.b_category + p]
    texts = _as_json(scores[inside], likelihoods[inside], categories[inside])
    batch.scores[prediction] = list(zip(_pick(users, inside), texts, strict=True))
    gone = _pick(users, moved & ~inside)
    batch.scores_removed[prediction] = gone
    batch.index_removed[prediction] = gone
    ranked = moved & inside
    # Whole points, because only they move it: so what is stored does not depend on how the input was cut.
    batch.index[prediction] = list(zip(_pick(users, ranked), np.floor(scores[ranked]).tolist(), strict=True))


def _pick(users: list[str], chosen: npt.NDArray[np.bool_]) -> list[str]:
    return [users[k] for k in np.flatnonzero(chosen).tolist()]


def _as_json(score: F64, likelihood: F64, category: U8) -> list[bytes]:
    buffer: U8 = np.empty(len(score) * _ROW_BYTES, np.uint8)
    ends: I64 = np.zeros(len(score) + 1, np.int64)
    _write(score, likelihood, category, _TEXT, _STARTS, buffer, ends)
    data = buffer[: ends[-1]].tobytes()
    return [data[start:end] for start, end in pairwise(ends.tolist())]


@jit
def _write(score: F64, likelihood: F64, category: U8, text: U8, starts: I64, buffer: U8, ends: I64) -> None:
    """One object behind the other; `ends` [n + 1] of each, from place 1 on."""
    at = 0
    for n in range(score.shape[0]):
        at = put(buffer, at, text, starts[0], starts[1])
        at = put_fixed(buffer, at, score[n], _TWO_DECIMALS)
        at = put(buffer, at, text, starts[1], starts[2])
        at = put_share(buffer, at, likelihood[n])
        word = _FIRST_CATEGORY + category[n]
        at = put(buffer, at, text, starts[word], starts[word + 1])
        ends[n + 1] = at
