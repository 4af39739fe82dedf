"""The features of a user as a list with a name for each column."""

from __future__ import annotations

import math
from typing import Any

from config.catalog import Catalog, EventLimit
from streams.core.events import Event, Scalar
from tests.reference.conditions import same
from tests.reference.rows import DAY_S, Row, f32, faded

OTHER = "*"
"""The bucket of every event name without columns of its own."""


def signed_log(value: float) -> float:
    """sign(v) log1p(|v|)."""
    return math.copysign(math.log1p(abs(value)), value)


def trait_text(value: Scalar) -> str:
    """A trait's value as the text that a column is named after."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}"


class Columns:
    """Which columns there are; slots for names and trait values that are still to be found are None until then."""

    def __init__(self, catalog: Catalog) -> None:
        self.half_lives = tuple(catalog.features.half_lives_days)
        self.has_value = catalog.value_property is not None
        events = catalog.features.events
        slots = events.limit if isinstance(events, EventLimit) else 0
        self.names: list[str | None] = [*catalog.named_events(), *([None] * slots), OTHER]
        self.begun = {*catalog.named_events()}
        self.traits: dict[str, dict[str, Any]] = {
            name: feature.model_dump(by_alias=True) for name, feature in catalog.trait_features.items()
        }
        self.found_values: dict[str, list[str | None]] = {
            name: [None] * feature["limit"] for name, feature in self.traits.items() if "limit" in feature
        }

    def reserve(self, event: Event) -> None:
        """New names and trait values of a record get free slots, whether or not the event is accepted."""
        for name, value in (event.traits or {}).items():
            _fill(self.found_values.get(name, []), trait_text(value))
        if event.name is not None:
            _fill(self.names, event.name)

    def meet(self, event: Event) -> str | None:
        """The tracked name that an accepted event counts for, None for an identify; with it the name begins."""
        self.reserve(event)
        if event.name is None:
            return None
        name = event.name if event.name in self.names else OTHER
        self.begun.add(name)
        return name

    def labels(self) -> list[str | None]:
        """The name of every column in order; None for those of a slot without a name."""
        labels: list[str | None] = []
        for name in self.names:
            per_name = [f"count:{name}:{h:g}d" for h in self.half_lives] + [f"total:{name}", f"since:{name}"]
            labels += per_name if name is not None else [None] * len(per_name)
        if self.has_value:
            labels += [f"value:{h:g}d" for h in self.half_lives] + ["value:last", "value:mean"]
        labels += ["sessions", "age", "gap:mean", "gap:last", "recency", "recency/gap"]
        for trait, feature in self.traits.items():
            labels += self._trait_labels(trait, feature)
        return labels

    def values(self, row: Row, at_s: float) -> list[float]:
        """All features of the user at a time, as 32-bit floats."""
        x: list[float] = []
        for name in self.names:
            x += (
                [0.0] * (len(self.half_lives) + 2)
                if name not in self.begun or name is None
                else self._of_name(row, name, at_s)
            )
        if self.has_value:
            x += self._of_value(row, at_s)
        x += _of_times(row, at_s)
        for trait, feature in self.traits.items():
            x += self._of_trait(row.traits.get(trait), trait, feature)
        return [f32(value) for value in x]

    def _of_name(self, row: Row, name: str, at_s: float) -> list[float]:
        counts = row.counts.get(name, [0.0] * len(self.half_lives))
        elapsed_s = at_s - row.last_t
        x = [math.log1p(c * faded(elapsed_s, h)) for c, h in zip(counts, self.half_lives, strict=True)]
        x.append(math.log1p(row.totals.get(name, 0.0)))
        if name in row.latest:
            x.append(math.log1p((at_s - row.latest[name]) / DAY_S))
        else:
            x.append(math.log1p((at_s - row.first_t) / DAY_S + 30.0))
        return x

    def _of_value(self, row: Row, at_s: float) -> list[float]:
        elapsed_s = at_s - row.last_t
        x = [signed_log(v * faded(elapsed_s, h)) for v, h in zip(row.value_decayed, self.half_lives, strict=True)]
        x.append(signed_log(row.value_last))
        x.append(signed_log(row.value_sum / row.value_n) if row.value_n else 0.0)
        return x

    def _trait_labels(self, trait: str, feature: dict[str, Any]) -> list[str | None]:
        if "numeric" in feature:
            return [f"trait:{trait}"]
        if "values" in feature:
            return [f"trait:{trait}={trait_text(value)}" for value in feature["values"]]
        return [None if text is None else f"trait:{trait}={text}" for text in self.found_values[trait]]

    def _of_trait(self, found: Scalar | None, trait: str, feature: dict[str, Any]) -> list[float]:
        if "numeric" in feature:
            return [0.0 if found is None or isinstance(found, str) else float(found)]
        if "values" in feature:
            return [float(found is not None and same(found, value)) for value in feature["values"]]
        texts = self.found_values[trait]
        return [float(found is not None and text is not None and trait_text(found) == text) for text in texts]


def _fill(slots: list[Any], name: str) -> None:
    if name not in slots and None in slots:
        slots[slots.index(None)] = name


def _of_times(row: Row, at_s: float) -> list[float]:
    recency = (at_s - row.last_t) / DAY_S
    mean_gap = row.mean_gap_s() / DAY_S
    age = (at_s - row.first_t) / DAY_S
    return [
        math.log1p(row.sessions),
        math.log1p(age),
        math.log1p(mean_gap),
        math.log1p(row.gap_last_s / DAY_S),
        math.log1p(recency),
        math.log1p(recency / (mean_gap + 1.0)),
    ]
