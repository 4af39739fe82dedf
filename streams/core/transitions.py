"""A change of membership as the CloudEvent that goes out (docs/events.md).

Written as bytes from parts that are made once per segment: in a replay transitions come by the hundred thousand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.jit import F64
from streams.core.definitions import CATEGORIES, Definitions
from streams.core.state import (
    O_CATEGORY,
    O_ENTERED,
    O_GOAL,
    O_LIKELIHOOD,
    O_ORIGIN,
    O_PREVIOUS_CATEGORY,
    O_PREVIOUS_SCORE,
    O_SCORE,
    O_SEGMENT,
    O_SEQUENCE,
    O_TIME,
    O_VERSION,
    ORIGINS,
)

ENTERED_TYPE = "tideline.segment.entered.v1"
EXITED_TYPE = "tideline.segment.exited.v1"
REASONS = 5

_LEVEL = (b"low", b"high")
_TRUTH = (b"false", b"true")
_CATEGORY = tuple(msgspec.json.encode(word) for word in CATEGORIES)
_ORIGIN = tuple(msgspec.json.encode(word) for word in ORIGINS)
_TEMPLATE = (
    b'{"specversion":"1.0","id":"%s",%s,"subject":%s,"time":"%s","datacontenttype":"application/json",'
    b'"sequence":"%010d","partitionkey":%s%s,"data":{"user_id":%s,%s,"model_version":%d,"score":%s,'
    b'"previous_score":%s,"likelihood":%s,"category":%s,"previous_category":%s,"origin":%s,"caused_by_goal":%s,'
    b'"entered_at":"%s","entry_count":%d,"is_reentry":%s,"reasons":%s}}'
)


def _frame(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


def transition_id(generation: str, shard: int, user: str, segment: str, sequence: int) -> str:
    """The id of a transition: 128 bits of BLAKE2b over what makes it unique, each part after its length."""
    head = _frame(generation) + _frame(str(shard)) + _frame(segment)
    return blake2b(head + _frame(user) + _frame(str(sequence)), digest_size=16).hexdigest()


@lru_cache(maxsize=4096)
def rfc3339(time_s: float) -> str:
    """A time as text, UTC, to the microsecond (to the second when it is whole)."""
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")


def _score(value: float) -> bytes:
    return b"null" if math.isnan(value) else b"%.2f" % value


def _category(code: int) -> bytes:
    return _CATEGORY[code] if code < len(_CATEGORY) else b"null"


def strongest(contributions: F64, high: NDArray[np.bool_], names: Sequence[str]) -> list[bytes]:
    """The five strongest contributions of each row (shape [n, features]), strongest first, as a JSON array.

    `high` [n, features]: whether the user's feature lies above its mean, from which its words follow
    (`models.reasons.describe`).
    """
    order = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :REASONS]
    picked = np.take_along_axis(contributions, order, axis=1).tolist()
    above = np.take_along_axis(high, order, axis=1).tolist()
    heads = [b'{"feature":%s,"level":"' % msgspec.json.encode(name) for name in names]
    rows = zip(order.tolist(), picked, above, strict=True)
    return [b"[%s]" % b",".join(_reasons(heads, *row)) for row in rows]


def _reasons(heads: Sequence[bytes], order: list[int], picked: list[float], above: list[bool]) -> Iterator[bytes]:
    for j, contribution, up in zip(order, picked, above, strict=True):
        if contribution != 0.0:
            yield b'%s%s","contribution":%.4f}' % (heads[j], _LEVEL[up], contribution)


class TransitionWriter:
    """Writes the loop's transitions as CloudEvents 1.0 in JSON (structured mode)."""

    def __init__(self, definitions: Definitions, generation: str, shard: int) -> None:
        # A source is a URI reference, and a name may be any text.
        source = msgspec.json.encode(f"tideline/{quote(definitions.catalog.name, safe='')}/{shard}")
        kinds = (EXITED_TYPE.encode(), ENTERED_TYPE.encode())
        self._heads = [b'"source":%s,"type":"%s"' % (source, kind) for kind in kinds]
        self._segments = [self._segment_part(definitions, g) for g in range(len(definitions.segment_ids))]
        hashed = [_frame(generation) + _frame(str(shard)) + _frame(name) for name in definitions.segment_ids]
        self._hashes = [blake2b(head, digest_size=16) for head in hashed]

    @staticmethod
    def _segment_part(d: Definitions, g: int) -> tuple[bytes, bytes]:
        """What each exit from and entry into segment `g` says of the segment."""
        only = int(d.segments.only[g])
        part = {"segment_id": d.segment_ids[g], "segment_name": d.segment_names[g]}
        tail = {"prediction_id": d.prediction_ids[only] if only >= 0 else None}
        head, end = msgspec.json.encode(part)[1:-1], msgspec.json.encode(tail)[1:-1]
        return (head + b',"in_segment":false,' + end, head + b',"in_segment":true,' + end)

    def write(
        self, whole: Sequence[int], real: Sequence[float], user: str, caused_by: str | None, reasons: bytes
    ) -> bytes:
        """One transition; `whole` and `real` are rows of the out buffer, `reasons` a JSON array."""
        g, sequence = whole[O_SEGMENT], whole[O_SEQUENCE]
        entering = sequence & 1
        digest = self._hashes[g].copy()
        digest.update(_frame(user) + _frame(str(sequence)))
        name = msgspec.json.encode(user)
        chance = real[O_LIKELIHOOD]
        count = (sequence + 1) // 2
        return _TEMPLATE % (
            digest.hexdigest().encode(),
            self._heads[entering],
            name,
            rfc3339(real[O_TIME]).encode(),
            sequence,
            name,
            b"" if caused_by is None else b',"causationid":' + msgspec.json.encode(caused_by),
            name,
            self._segments[g][entering],
            whole[O_VERSION],
            _score(real[O_SCORE]),
            _score(real[O_PREVIOUS_SCORE]),
            b"null" if math.isnan(chance) else b"%.6g" % chance,
            _category(whole[O_CATEGORY]),
            _category(whole[O_PREVIOUS_CATEGORY]),
            _ORIGIN[whole[O_ORIGIN]],
            _TRUTH[whole[O_GOAL]],
            rfc3339(real[O_ENTERED]).encode(),
            count,
            _TRUTH[count > 1],
            reasons,
        )


def contributions(x: NDArray[np.float32], weights: F64, means: F64) -> F64:
    """How far each feature moves the logit from that of a user with average features; shape of `x`."""
    return (x.astype(np.float64) - means) * weights
