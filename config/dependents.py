"""What rests on what in a catalog: which segments nobody could enter any more without a prediction or a segment."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from config.base import Kind
from config.catalog import Catalog, CategoryFilter, Filter, LikelihoodFilter, ScoreFilter, SegmentFilter, walk

__all__ = ["dependents", "references", "resting", "resumable"]


def references(filter_: Filter) -> Iterator[tuple[Kind, str]]:
    """What a filter names: predictions (also as PREDICTION.high) and segments, in the order of the text."""
    for node in walk(filter_):
        if isinstance(node, ScoreFilter | LikelihoodFilter | CategoryFilter):
            yield "prediction", node.prediction
        elif isinstance(node, SegmentFilter):
            prediction, dot, _ = node.segment.partition(".")
            yield ("prediction", prediction) if dot else ("segment", node.segment)


def dependents(catalog: Catalog, kind: Kind, id_: str) -> list[str]:
    """Ids of the segments that rest on a definition, also through each other, without archived ones."""
    return _resting(catalog, kind, id_, [name for name, each in catalog.segments.items() if not each.archived])


def resting(catalog: Catalog, kind: Kind, id_: str) -> list[str]:
    """The same with archived ones, which rest on it again when they are restored."""
    return _resting(catalog, kind, id_, list(catalog.segments))


def resumable(catalog: Catalog, id_: str) -> list[str]:
    """Ids of the paused segments that rest on prediction `id_` and on nothing else that cannot be used."""
    paused = {name for name, each in catalog.segments.items() if each.paused}
    while True:
        waiting = {
            name for name in paused if not all(_is_usable(catalog, used, paused) for used in _used(catalog, name))
        }
        if not waiting:
            there = [name for name, each in catalog.segments.items() if name in paused or not each.archived]
            return [name for name in _resting(catalog, "prediction", id_, there) if name in paused]
        paused -= waiting


def _is_usable(catalog: Catalog, used: tuple[Kind, str], paused: Collection[str]) -> bool:
    kind, id_ = used
    if kind == "segment":
        return id_ in paused or (id_ in catalog.segments and not catalog.segments[id_].archived)
    found = catalog.predictions.get(id_)
    return found is not None and found.access == "live" and not found.archived


def _used(catalog: Catalog, segment: str) -> set[tuple[Kind, str]]:
    return set(references(catalog.segments[segment].filter))


def _resting(catalog: Catalog, kind: Kind, id_: str, among: Collection[str]) -> list[str]:
    uses = {name: _used(catalog, name) for name in among}
    resting: set[tuple[Kind, str]] = {(kind, id_)}
    while True:
        more: set[tuple[Kind, str]] = {
            ("segment", name) for name, used in uses.items() if used & resting and ("segment", name) not in resting
        }
        if not more:
            return [name for name in uses if ("segment", name) in resting and (kind, id_) != ("segment", name)]
        resting |= more
