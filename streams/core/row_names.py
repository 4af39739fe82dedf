"""The columns of a shard's rows by what they mean, so that rows of one catalog can be read by another."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import numpy as np

from models.reasons import TOP
from streams.core.shard import Shard

Key = tuple[Hashable, ...]
VIEWS: Final = ("t", "u", "f", "b")
OF_PREDICTIONS: Final = frozenset({"z", "score", "category", "audience", "reason", "contribution"})
OF_SEGMENTS: Final = frozenset({"entered", "wanted", "sequence", "cause"})
OF_NAMES: Final = frozenset({"count", "total", "latest", "trait"})
OF_MOMENTS: Final = frozenset({"scored", "version", "epoch", "life"})
UNNAMED: Final[Key] = ("unnamed",)
"""The key of a column that has no meaning yet."""
_NOTHING: Final = {"entered": np.nan, "wanted": np.nan, "trait": np.nan, "z": np.nan, "score": np.nan, "category": 255}
"""What stands in a column before anything is known of it; 0 in all others (`models.features.start_row`)."""


def row_keys(shard: Shard) -> dict[str, list[Key]]:
    """View -> the meaning of each of its columns, in their order (`models.layout.Columns`)."""
    d, catalog = shard.definitions, shard.catalog
    halves, value = catalog.features.half_lives_days, catalog.value_property
    names = shard.vocabulary.columns()
    kept = [(p, k) for p, each in catalog.predictions.items() if each.access == "preview" for k in range(TOP)]
    dwelling = [name for name, dwell_s in zip(d.segment_ids, d.segments.dwell_s.tolist(), strict=True) if dwell_s > 0]
    segments, predictions = d.segment_ids, d.prediction_ids

    def of_events(kind: str, *rest: Hashable) -> list[Key]:
        return [UNNAMED if name is None else (kind, name, *rest) for name in names]

    t: list[Key] = [("first",), ("last",), ("scored",), ("sent",), ("withheld",)]
    t += [*(("entered", s) for s in segments), *(("wanted", s) for s in dwelling)]
    t += [("trait", name) for name in shard.vocabulary.traits]
    u: list[Key] = [("version",), ("epoch",), ("life",), *(("sequence", s) for s in segments), *of_events("latest")]
    u += [("reason", *of) for of in kept]
    f: list[Key] = [("sessions",), ("gap",), ("instants",)]
    per_half = [of_events("count", h) for h in halves]
    f += [keys[k] for k in range(len(names)) for keys in per_half] + of_events("total")
    if value is not None:
        f += [("value", value, h) for h in halves] + [("money", value, part) for part in range(3)]
    f += [*(("z", p) for p in predictions), *(("score", p) for p in predictions)]
    f += [("contribution", *of) for of in kept]
    b: list[Key] = [*(("category", p) for p in predictions), *(("audience", p) for p in predictions)]
    b += [("cause", s) for s in segments]
    return {"t": t, "u": u, "f": f, "b": b}


def nothing_in(key: Key) -> float:
    """What a column of this meaning holds of a user of whom nothing is known."""
    return _NOTHING.get(str(key[0]), 0)
