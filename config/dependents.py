"""What rests on what in a catalog: which segments nobody could enter any more without a prediction or a segment."""

from __future__ import annotations

from collections.abc import Iterator

from config.base import Kind
from config.catalog import Catalog, CategoryFilter, Filter, LikelihoodFilter, ScoreFilter, SegmentFilter, walk

__all__ = ["dependents", "references"]


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
    uses = {name: set(references(segment.filter)) for name, segment in catalog.segments.items() if not segment.archived}
    resting: set[tuple[Kind, str]] = {(kind, id_)}
    while True:
        more: set[tuple[Kind, str]] = {
            ("segment", name) for name, used in uses.items() if used & resting and ("segment", name) not in resting
        }
        if not more:
            return [name for name in uses if ("segment", name) in resting and (kind, id_) != ("segment", name)]
        resting |= more
