"""A preview is scored once for everybody and stays so: what rows hold of it does not change any more (docs/core.md).

Its columns stay where they are, with everything that is done with columns: they are stored, carried into other
catalogs by their names, and gone with a user who is deleted. Beside the score a row keeps the reasons, because the
features that they came from go on changing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b

import numpy as np

from models.features import features_at
from models.jit import F32, F64, U32, jit, wide
from models.layout import FIRST_T
from models.reasons import TOP, Reason
from models.snapshot import PredictionSnapshot
from streams.core.moment import record_score, score_one
from streams.core.shard import Shard
from streams.core.state import SECOND_STEP, State


def feature_code(name: str) -> int:
    """What stands for a feature in a row, whatever column it has under another catalog; never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "little") or 1


def freeze(shard: Shard, predictions: Collection[str]) -> None:
    """Everybody is scored by the model in force as of the shard's clock, and that stays.

    To be called between two batches, of predictions that the model serves. All rows have to be saved then. Raises
    RuntimeError when a batch is not done, or a prediction still warms up.
    """
    if shard.waiting:
        raise RuntimeError("freeze: the batch before is not done")
    codes: U32 = np.array([feature_code(name) for name in shard.vocabulary.feature_names()], np.uint32)
    for p, name in enumerate(shard.definitions.prediction_ids):
        if name not in predictions:
            continue
        if not shard.serves(p):
            raise RuntimeError(f"freeze: {name} warms up")
        means, rows_n = shard.snapshot.predictions[p].means, len(shard.users)
        if not shard.definitions.predictions.external[p]:
            _freeze_rows(shard.sealed.state, p, 0, rows_n, shard.clock_s, means, codes)
        else:
            for i in range(rows_n):
                shard.ask_model(p, i, shard.clock_s)
                _freeze_rows(shard.sealed.state, p, i, i + 1, shard.clock_s, means, codes)
        shard.note_frozen(p, shard.clock_s)
        shard.went_live_is_new = True


@jit
def _freeze_rows(s: State, p: int, first: int, end: int, time_s: float, means: F64, codes: U32) -> None:
    for i in range(first, end):
        if s.rows.t[i, FIRST_T] == 0.0:
            continue
        x = s.scratch.x[SECOND_STEP]
        features_at(s.rows, s.c, s.features, i, time_s, x)
        score_one(s, i, p, SECOND_STEP, time_s, wide(s.rows.b[i, s.c.b_category + p]))
        record_score(s, i, p, SECOND_STEP)
        _keep_reasons(s, i, p, means, codes)


@jit
def _keep_reasons(s: State, i: int, p: int, means: F64, codes: U32) -> None:
    """The strongest contributions, as `models.reasons` has them; none outside, or for a model without weights."""
    at = s.predictions.reason[p]
    for k in range(TOP):
        s.rows.u[i, s.c.u_reason + at + k] = 0
        s.rows.f[i, s.c.f_reason + at + k] = 0.0
    if not s.scratch.audience[SECOND_STEP, p] or s.predictions.external[p]:
        return
    x, weights = s.scratch.x[SECOND_STEP], s.model.weights
    last_size, last = np.inf, -1
    for k in range(TOP):
        best, best_size = -1, 0.0
        for j in range(s.c.features):
            size = abs(weights[p, j] * (np.float64(x[j]) - means[j]))
            is_behind = size < last_size or (size == last_size and j > last)
            if is_behind and size > best_size:
                best, best_size = j, size
        if best < 0:
            return
        s.rows.u[i, s.c.u_reason + at + k] = codes[best]
        s.rows.f[i, s.c.f_reason + at + k] = weights[p, best] * (np.float64(x[best]) - means[best])
        last_size, last = best_size, best


def kept_reasons(
    codes: U32, contributions: F32, snapshot: PredictionSnapshot, names: Sequence[str]
) -> tuple[Reason, ...]:
    """The reasons that a row keeps of a prediction, from its [TOP] columns; without features that are gone by now.

    `snapshot`: the model by which it was scored; `names` of its features.
    """
    place = {feature_code(name): j for j, name in enumerate(names)}
    found: list[Reason] = []
    for code, contribution in zip(codes.tolist(), contributions.astype(np.float64).tolist(), strict=True):
        if code in place:
            j = place[code]
            is_high = contribution * float(snapshot.weights[j]) > 0.0
            found.append(Reason(names[j], contribution, "high" if is_high else "low"))
    return tuple(found)
