"""A change of membership as the CloudEvent that goes out (docs/events.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

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


def transition_id(generation: str, shard: int, user: str, segment: str, sequence: int) -> str:
    """The id of a transition: 128 bits of BLAKE2b over what makes it unique, in hexadecimal."""
    parts = (generation, str(shard), user, segment, str(sequence))
    framed = b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)
    return blake2b(framed, digest_size=16).hexdigest()


def rfc3339(time_s: float) -> str:
    """A time as text, UTC, to the microsecond (to the second when it is whole)."""
    text = datetime.fromtimestamp(time_s, UTC).isoformat()
    return text.replace("+00:00", "Z")


def _number(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(value, digits)


def _category(code: int) -> str | None:
    return CATEGORIES[code] if code < 3 else None


def strongest(contributions: F64, high: NDArray[np.bool_], names: Sequence[str]) -> list[list[dict[str, Any]]]:
    """The five strongest contributions of each row (shape [n, features]), strongest first.

    `high` [n, features]: whether the user's feature lies above its mean; with the name it gives the words
    (`models.reasons.describe`).
    """
    order = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :REASONS]
    picked = np.take_along_axis(contributions, order, axis=1)
    above = np.take_along_axis(high, order, axis=1)
    return [
        [
            {"feature": names[j], "contribution": round(v, 4), "level": "high" if up else "low"}
            for j, v, up in zip(js, vs, ups, strict=True)
            if v != 0.0
        ]
        for js, vs, ups in zip(order.tolist(), picked.tolist(), above.tolist(), strict=True)
    ]


class TransitionWriter:
    """Writes the loop's transitions as CloudEvents 1.0 in JSON (structured mode)."""

    def __init__(self, definitions: Definitions, generation: str, shard: int) -> None:
        self.generation = generation
        self._d = definitions
        self._shard = shard
        self._source = f"tideline/{definitions.catalog.name}/{shard}"

    def write(
        self, whole: Sequence[int], real: Sequence[float], user: str, caused_by: str | None, reasons: list[dict[str, Any]]
    ) -> bytes:
        """One transition; `whole` and `real` are rows of the out buffer."""
        g, sequence = whole[O_SEGMENT], whole[O_SEQUENCE]
        segment = self._d.segment_ids[g]
        entering = sequence % 2 == 1
        only = int(self._d.segments.only[g])
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": transition_id(self.generation, self._shard, user, segment, sequence),
            "source": self._source,
            "type": ENTERED_TYPE if entering else EXITED_TYPE,
            "subject": user,
            "time": rfc3339(real[O_TIME]),
            "datacontenttype": "application/json",
            "sequence": f"{sequence:010d}",
            "partitionkey": user,
        }
        if caused_by is not None:
            event["causationid"] = caused_by
        count = (sequence + 1) // 2
        event["data"] = {
            "user_id": user,
            "segment_id": segment,
            "segment_name": self._d.segment_names[g],
            "in_segment": entering,
            "prediction_id": self._d.prediction_ids[only] if only >= 0 else None,
            "model_version": whole[O_VERSION],
            "score": _number(real[O_SCORE], 2),
            "previous_score": _number(real[O_PREVIOUS_SCORE], 2),
            "likelihood": _number(real[O_LIKELIHOOD], 6),
            "category": _category(whole[O_CATEGORY]),
            "previous_category": _category(whole[O_PREVIOUS_CATEGORY]),
            "origin": ORIGINS[whole[O_ORIGIN]],
            "caused_by_goal": bool(whole[O_GOAL]),
            "entered_at": rfc3339(real[O_ENTERED]),
            "entry_count": count,
            "is_reentry": count > 1,
            "reasons": reasons,
        }
        return msgspec.json.encode(event)


def contributions(x: NDArray[np.float32], weights: F64, means: F64) -> F64:
    """How far each feature moves the logit from that of a user with average features; shape of `x`."""
    return (x.astype(np.float64) - means) * weights
