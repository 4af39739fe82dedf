"""The 64-bit hash by which an event is recognised when it comes a second time.

Of its message id if it has one. Otherwise of where it stands (file digest and row, topic partition and offset),
never of its content: real data has identical rows that are separate facts.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

_MESSAGE_SEED: Final = 0x7469_6465_6C69_6E65  # message ids and places are hashed with different salts
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15
_MIX_1: Final = 0xBF58_476D_1CE4_E5B9
_MIX_2: Final = 0x94D0_49BB_1331_11EB


def id_hash(message_id: str) -> int:
    """The hash of a message id: XXH3, unsigned 64 bit."""
    return xxh3_64_intdigest(message_id.encode(), seed=_MESSAGE_SEED)


def place_hash(source_hash: int, index: int) -> int:
    """The hash of record `index` of a source, unsigned 64 bit: splitmix64's finaliser (Steele et al. 2014) of both."""
    z = ((source_hash ^ index) + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)


def place_hashes(source_hashes: npt.NDArray[np.uint64], indexes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """`place_hash` of whole arrays (equal shapes)."""
    z = (source_hashes ^ indexes) + np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
    return z ^ (z >> np.uint64(31))
