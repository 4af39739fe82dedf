"""The catalog as the reference reads it: dictionaries, with churn's lookback and category segments written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from config.catalog import Catalog
from tests.reference.conditions import atom_event, goal_atoms, plain

CATEGORIES = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class PredictionRule:
    """One prediction."""

    id: str
    goal: dict[str, Any]
    window_s: float
    audience: dict[str, Any] | None
    edges: tuple[float, float]
    hysteresis: float
    percentile: bool
    published: bool
    """Access live: may be used by segments."""
    negative: bool
    """The heuristic runs the other way."""
    memory_examples: int

    def events(self) -> list[str]:
        """The distinct event names of the goal."""
        return list(dict.fromkeys(atom_event(atom) for atom in goal_atoms(self.goal)))


@dataclass(frozen=True, slots=True)
class SegmentRule:
    """One segment; `uses` are the predictions it depends on, through other segments too.

    `crossings`: nobody enters because a prediction went live.
    """

    id: str
    filter: dict[str, Any]
    min_dwell_s: float
    uses: tuple[str, ...]
    crossings: bool = False


def prediction_rules(catalog: Catalog) -> list[PredictionRule]:
    """Every prediction in the order of the file."""
    rules = []
    for id_, prediction in catalog.predictions.items():
        goal = plain(prediction.goal)
        atoms = goal_atoms(goal)
        audience = None if prediction.audience is None else plain(prediction.audience)
        if prediction.kind == "churn":
            lookback = {"max": prediction.lookback_s}
            names = dict.fromkeys(atom_event(atom) for atom in atoms)
            active: dict[str, Any] = {"any": [{"event": name, "since": lookback} for name in names]}
            audience = active if audience is None else {"all": [audience, active]}
        rules.append(
            PredictionRule(
                id=id_,
                goal=goal,
                window_s=prediction.window_s,
                audience=audience,
                edges=(prediction.categories.medium, prediction.categories.high),
                hysteresis=prediction.hysteresis,
                percentile=prediction.scale == "percentile",
                published=prediction.access == "live",
                negative=all("did_not" in atom for atom in atoms),
                memory_examples=prediction.memory_examples,
            )
        )
    return rules


def segment_rules(catalog: Catalog) -> list[SegmentRule]:
    """Every segment in the order of evaluation: those of categories, then the catalog's, each after what it names."""
    rules: dict[str, SegmentRule] = {}
    for id_, prediction in catalog.predictions.items():
        if prediction.access == "live":
            for category in CATEGORIES:
                definition = {"prediction": id_, "category": [category]}
                rules[f"{id_}.{category}"] = SegmentRule(f"{id_}.{category}", definition, 0.0, (id_,))
    waiting = dict(catalog.segments)
    while waiting:
        for id_, segment in waiting.items():
            definition = plain(segment.filter)
            needed = [leaf["segment"] for leaf in leaves(definition) if "segment" in leaf]
            if all(name in rules for name in needed):
                uses = dict.fromkeys(leaf["prediction"] for leaf in leaves(definition) if "prediction" in leaf)
                for name in needed:
                    uses |= dict.fromkeys(rules[name].uses)
                rules[id_] = SegmentRule(
                    id_, definition, segment.min_dwell_s, tuple(uses), segment.entry == "crossings"
                )
                del waiting[id_]
                break
        else:
            raise ValueError(f"segments that name each other or nothing: {list(waiting)}")
    return list(rules.values())


def leaves(filter_: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every condition of a filter tree."""
    for key in ("all", "any"):
        if key in filter_:
            for inner in filter_[key]:
                yield from leaves(inner)
            return
    if "not" in filter_:
        yield from leaves(filter_["not"])
    else:
        yield filter_
