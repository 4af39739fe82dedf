"""What was said of a user at the moments whose outcome is still waited for: likelihoods over the latest windows.

A shard keeps every such moment with what was served at it, to learn from it when its window has closed. So a user's
latest likelihoods are in the store already, as far back as the longest window of any prediction goes, and nothing is
written for them. The form of what is read is that of `streams.core.pending_log`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np

from models.jit import F32
from models.labels import CROSSING, EMPTIED, EVENT, SILENT
from models.layout import NO_CATEGORY
from streams.adapters.redis_reader import RedisReader
from streams.core.definitions import CATEGORIES
from streams.core.partition import shard_of
from streams.core.pending_log import PREFIX
from streams.core.saving import SHARD_BLOB
from streams.runtime.stored import StoredState
from streams.runtime.stored_rows import number_of

Moment = Literal["event", "silent", "crossing"]
_MOMENTS: Final[dict[int, Moment]] = {int(EVENT): "event", int(SILENT): "silent", int(CROSSING): "crossing"}


@dataclass(frozen=True, slots=True)
class Said:
    """What was said at one moment. `time_s`: seconds since 1970 UTC."""

    time_s: float
    moment: Moment
    likelihood: float | None
    """None where no likelihood was served yet, or outside of the audience."""
    score: float | None
    category: str | None


@dataclass(frozen=True, slots=True)
class PastLikelihoods:
    """What is kept of one user and prediction."""

    said: list[Said]
    """Oldest first."""
    is_sampled: bool
    """Whether so many moments wait in the shard that it keeps a share of them."""


class _Waiting(msgspec.Struct):
    """What a shard says of its moments that wait."""

    log: list[tuple[int, int, int]]
    """Number, bytes, end of each part that is in the store."""
    rates: list[float]
    """The share that is kept of each kind."""


class _Examples(msgspec.Struct):
    """The columns that are looked at, as bytes; see `models.labels.Pending`."""

    row: bytes
    time_s: bytes
    kind: bytes
    served: bytes
    category: bytes


class _Frame(msgspec.Struct):
    thinned: list[tuple[float, float, float]]
    """What happened before to those that were saved; of interest here: EMPTIED, and the number of a deleted user."""
    replaced: _Examples
    new: _Examples


_WAITING: Final = msgspec.msgpack.Decoder(_Waiting)
_FRAME: Final = msgspec.msgpack.Decoder(_Frame)


def past_likelihoods(
    reader: RedisReader,
    state: StoredState,
    user: str,
    prediction: int,
    served_from_s: float | None,
    check: Callable[[], None],
) -> PastLikelihoods | None:
    """What was said of a user by prediction number `prediction`; None for one whom nobody has seen.

    `served_from_s`: since when it serves likelihoods; None while it warms up. `check` is called between parts of some
    megabytes, and raises where it takes too long. Raises StoreUnavailable.
    """
    shard = shard_of(user, reader.info.shards)
    row, small = reader.row(user), reader.blob(shard, SHARD_BLOB)
    if row is None or small is None:
        return None
    waiting = _WAITING.decode(small)
    place, predictions = number_of(row), len(state.definitions.prediction_ids)
    found: dict[float, Said] = {}
    for frame in _frames(reader, shard, waiting, check):
        if any(kind == EMPTIED and place == gone for kind, gone, _ in frame.thinned):
            found.clear()  # of a deleted user, whose number this one has got
        for examples in (frame.replaced, frame.new):
            for said in _of_user(examples, place, prediction, predictions, served_from_s):
                # A crossing at an event is a moment of its own to be judged, and says the same.
                if said.moment != "crossing" or said.time_s not in found:
                    found[said.time_s] = said
    frozen_s = state.frozen_s[prediction]
    until_s = math.inf if frozen_s is None else frozen_s  # later moments are those of other predictions
    said_in_order = sorted((said for said in found.values() if said.time_s <= until_s), key=lambda said: said.time_s)
    return PastLikelihoods(said_in_order, is_sampled=min(waiting.rates) < 1.0)


def _frames(reader: RedisReader, shard: int, waiting: _Waiting, check: Callable[[], None]) -> Iterator[_Frame]:
    for number, _, _ in waiting.log:
        check()
        part = memoryview(reader.appended(shard, f"{PREFIX}{number}") or b"")  # it may be gone since
        while part:
            size = int.from_bytes(part[:4], "big")
            yield _FRAME.decode(part[4 : 4 + size])
            part = part[4 + size :]


def _of_user(
    examples: _Examples, place: int, prediction: int, predictions: int, served_from_s: float | None
) -> Iterator[Said]:
    at = np.flatnonzero(np.frombuffer(examples.row, np.int32) == place)
    if not len(at):
        return
    times, kinds = np.frombuffer(examples.time_s), np.frombuffer(examples.kind, np.uint8)
    served: F32 = np.frombuffer(examples.served, np.float32).reshape(len(times), 3, -1)
    if served.shape[2] != predictions:
        return  # of another catalog, which the shard has left since its state was read
    categories = np.frombuffer(examples.category, np.uint8).reshape(len(times), predictions)
    for n in at.tolist():
        logit, _, score = served[n, :, prediction].astype(np.float64).tolist()
        is_served = served_from_s is not None and times[n] >= served_from_s and not np.isnan(logit)
        category = int(categories[n, prediction])
        yield Said(
            float(times[n]),
            _MOMENTS[int(kinds[n])],
            float(1.0 / (1.0 + np.exp(-logit))) if is_served else None,
            None if np.isnan(score) else score,
            None if category == NO_CATEGORY else CATEGORIES[category],
        )
