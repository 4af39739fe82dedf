"""How far the likelihoods of a prediction's audience have moved: the population stability index (PSI).

Of the audience the distribution F is known, users per bin of the logit (`models.snapshot`). The bins become 20 buckets,
each of about a twentieth of the users of the earlier distribution; a bin is in the bucket in which the middle of its
users lies. With b and n the shares of users in a bucket before and now,

    PSI = sum over the buckets of (n - b) ln(n / b)

where every share is mixed with one part in a thousand of the even one, so that an empty bucket is a finite term. It is
0 for equal shares and never below; .1 is customarily little, .25 much. By chance alone it is about 19 (1/B + 1/N) for B
users before and N now.

What it is compared with is kept with the learner: the first distribution of the last earlier day (UTC, by the time of
the log) that had one, and the first one with which the prediction was live.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
import numpy as np

from models.jit import F64, I64
from models.snapshot import BINS

BUCKETS: Final = 20
EVEN_PART: Final = 1e-3
DRIFT_PREFIX: Final = "drift:"
_DAY_S: Final = 86_400.0

Since = Literal["day", "live"]


def psi(before: I64, now: I64) -> float | None:
    """Of users per bin [bins], the same bins twice; None where there was or is nobody."""
    if not (before.sum() and now.sum()):
        return None
    bucket = _buckets(before)
    then, since = _shares(before, bucket), _shares(now, bucket)
    return float(((since - then) * np.log(since / then)).sum())


def _buckets(counts: I64) -> I64:
    """The bucket of each bin [bins]."""
    middle = np.cumsum(counts) - 0.5 * counts
    found: I64 = np.minimum((BUCKETS * middle / counts.sum()).astype(np.int64), BUCKETS - 1)
    return found


def _shares(counts: I64, bucket: I64) -> F64:
    """[BUCKETS], never 0."""
    shares: F64 = np.bincount(bucket, weights=counts, minlength=BUCKETS) / counts.sum()
    return (1.0 - EVEN_PART) * shares + EVEN_PART / BUCKETS


class _Kept(msgspec.Struct, array_like=True):
    """Of one prediction; distributions as int64, little-endian, [BINS]."""

    live: bytes
    day: int
    """Of `today`, since 1970."""
    today: bytes
    earlier: bytes = b""
    """The first distribution of the last day before; none yet."""


class Baselines:
    """What the distributions of predictions are compared with. `blobs`: of the learner, as stored."""

    def __init__(self, blobs: Mapping[str, bytes]) -> None:
        self._kept = {
            name.removeprefix(DRIFT_PREFIX): msgspec.msgpack.decode(data, type=_Kept)
            for name, data in blobs.items()
            if name.startswith(DRIFT_PREFIX) and data
        }

    def follow(self, prediction: str, counts: I64, at_s: float) -> dict[str, bytes]:
        """A live one has this distribution at `at_s` (since 1970). What is to be stored of that: mostly nothing."""
        if not counts.sum():
            return {}
        day, kept = int(at_s // _DAY_S), self._kept.get(prediction)
        if kept is not None and day <= kept.day:
            return {}
        data = counts.astype("<i8").tobytes()
        kept = _Kept(data, day, data) if kept is None else _Kept(kept.live, day, data, kept.today)
        self._kept[prediction] = kept
        return {DRIFT_PREFIX + prediction: msgspec.msgpack.encode(kept)}

    def forget(self, prediction: str) -> dict[str, bytes]:
        """It asks something else from now on, or has learned anew. What is to be stored of that."""
        return {} if self._kept.pop(prediction, None) is None else {DRIFT_PREFIX + prediction: b""}

    def drift(self, prediction: str, counts: I64) -> dict[Since, float]:
        """How far a distribution is from each of the earlier ones that there are."""
        kept, found = self._kept.get(prediction), dict[Since, float]()
        if kept is None:
            return found
        since: tuple[tuple[Since, bytes], ...] = (("live", kept.live), ("day", kept.earlier))
        for name, data in since:
            value = psi(np.frombuffer(data, "<i8", BINS), counts) if data else None
            if value is not None:
                found[name] = value
        return found
