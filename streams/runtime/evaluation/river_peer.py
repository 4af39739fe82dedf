"""The plain river recipe as a peer: the pipeline that Tideline's default model is made of, without its memory.

`StandardScaler() | LogisticRegression(FTRLProximal(alpha=.05, beta=1, l1=0, l2=0))` learns every example once, in
the order in which the labels become known, and a point is answered with what was learned up to the last whole hour,
as Tideline does. It runs compiled (`models/pipeline.py`), which equals river to 1e-9 and is a hundred times faster.
What it does not do: forget, or weight anything but what the examples carry.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from models.jit import F64, I64
from models.pipeline import CompiledLogistic, LogisticParams
from streams.runtime.evaluation.points import Points

__all__ = ["river_likelihoods"]


def river_likelihoods(points: Points, judged: I64, progress: Callable[[float], None]) -> F64:
    """Likelihood of each judged row float64[len(judged)]; `judged` holds rows of `points` by time."""
    model = CompiledLogistic(points.x.shape[1], LogisticParams(memory_examples=None))
    result = np.empty(len(judged))
    known = np.searchsorted(points.matured_s, points.time_s[judged], side="right")
    cuts = np.append(np.flatnonzero(np.diff(known, prepend=-1)), len(judged))
    learned = 0
    for start, stop in pairwise(cuts.tolist()):
        until = int(known[start])
        rows = slice(learned, until)
        model.learn_many_in_order(np.asarray(points.x[rows]), points.y[rows], points.weight[rows])
        learned = until
        weights, bias = model.fold()
        logit = points.x[judged[start:stop]].astype(np.float64) @ weights + bias
        # A logit beyond 36 is a likelihood of 0 or 1 in doubles anyway; without the clip exp() would overflow.
        result[start:stop] = 1.0 / (1.0 + np.exp(-np.clip(logit, -36.0, 36.0)))
        progress(stop / len(judged))
    return result
