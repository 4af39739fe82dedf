"""Random numbers that are a function of (seed, user, number of the draw), and of nothing else.

SplitMix64 (Steele, Lea, Flood 2014): the n-th number of a stream is a hash of `key + n * GOLDEN`, so it can be computed
without the numbers before it. Every user has a stream of its own. What a user does therefore depends neither on how
many others there are nor on how time is cut into slices.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_UNIT: Final = 2.0**-53


def _mixed(x: U64) -> U64:
    """The finaliser of SplitMix64, a bijection of 64-bit numbers."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def user_keys(seed: int, users: int) -> U64:
    """[users] the start of every user's stream. `seed` from 0 to 2^63 - 1."""
    start = _mixed(np.array([seed], np.uint64) * _GOLDEN + _MIX_1)
    return _mixed(start + np.arange(1, users + 1, dtype=np.uint64) * _GOLDEN)


def uniform(keys: U64, number: I64) -> F64:
    """The draws with these numbers (0 and up) of the streams with these keys, in the open interval (0, 1)."""
    bits = _mixed(keys + (number.astype(np.uint64) + np.uint64(1)) * _GOLDEN) >> np.uint64(11)
    unit: F64 = (bits.astype(np.float64) + 0.5) * _UNIT
    return unit


def pick(cumulative: F64, draw: F64) -> I64:
    """The index that a draw falls on: [n] of rows [n, choices] of cumulative shares that end at 1, or of one row."""
    index: I64 = (cumulative <= draw[:, None]).sum(axis=1)
    return index
