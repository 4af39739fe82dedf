"""LightGBM as a peer: gradient-boosted trees, trained again every 7 days on all labels known by then.

It is what people would use instead, so it gets what it needs: the same features and weights, all matured examples
since the start, parameters that do well on the CDNOW data. LightGBM is optional.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from config.errors import ModelUnknown
from models.jit import F64, I64
from streams.runtime.evaluation.points import Points

__all__ = ["PARAMETERS", "TREES", "lightgbm_likelihoods", "load_lightgbm"]

TREES: Final = 100

PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 31,
    # The rest is LightGBM's default. Same data and parameters, same trees, whatever the number of threads:
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbosity": -1,
}
"""Chosen on CDNOW among 100 to 200 trees, rates of .05 and .1, 15 and 31 leaves of at least 20, 200 or 1,000
examples: the best but for noise. Twice the trees or twice the rate lose .003 to .004 of AUC on either kind."""

_VALUES_PER_THREAD: Final = 500_000


def load_lightgbm() -> Any:
    """The package. Raises ModelUnknown, saying how to install it, when it is not there."""
    try:
        return importlib.import_module("lightgbm")
    except ImportError as error:
        raise ModelUnknown(
            f"lightgbm cannot be used here ({error}): install it, from a checkout with "
            "`.venv/bin/pip install -e '.[peers]'`, or leave it out of --compare"
        ) from error


def min_leaf_examples(examples: int) -> int:
    """Smallest leaf: LightGBM's 20 for little data, up to 200, since the points of one user are much alike."""
    return min(200, max(20, examples // 500))


def threads(values: int) -> int:
    """Threads for a training on so many numbers: all cores, but one where handing out the work costs more than it."""
    return min(os.cpu_count() or 1, max(1, values // _VALUES_PER_THREAD))


def lightgbm_likelihoods(points: Points, judged: I64, progress: Callable[[float], None]) -> F64:
    """Likelihood of each judged row float64[len(judged)]; `judged` holds rows of `points` by time.

    Raises ModelUnknown when LightGBM is not installed.
    """
    lightgbm = load_lightgbm()
    result = np.empty(len(judged))
    times_s = points.training_times_s
    cuts = np.append(np.searchsorted(points.time_s[judged], times_s), len(judged))
    for time_s, start, stop in zip(times_s, cuts[:-1], cuts[1:], strict=True):
        if start == stop:
            continue
        known = points.known_at(time_s)
        parameters = PARAMETERS | {
            "num_threads": threads(known * points.x.shape[1]),
            "min_data_in_leaf": min_leaf_examples(known),
        }
        data = lightgbm.Dataset(
            np.asarray(points.x[:known]), points.y[:known], weight=points.weight[:known], params=parameters
        )
        booster = lightgbm.train(parameters, data, num_boost_round=TREES)
        result[start:stop] = booster.predict(np.asarray(points.x[judged[start:stop]]))
        progress(stop / len(judged))
    return result
