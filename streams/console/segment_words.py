"""What people read for the id of a segment."""

from __future__ import annotations

from config.catalog import Catalog
from streams.console.texts import Texts


def segment_name(texts: Texts, catalog: Catalog, id_: str, name: str) -> str:
    """As its author called it; that of a prediction's category in the language of the visitor."""
    prediction, dot, category = id_.partition(".")
    known = catalog.predictions.get(prediction)
    if not dot or known is None:
        return name
    kind = "churn" if known.kind == "churn" else "event"
    return texts.segment_of_category.format(prediction=known.name, category=texts.categories[f"{kind}.{category}"])
