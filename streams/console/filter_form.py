"""Filters as forms have them: a text in YAML or JSON, and what the builder offers to choose from. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from config.catalog import (
    Catalog,
    CategoryFilter,
    Filter,
    LikelihoodFilter,
    NumericTrait,
    Prediction,
    ScoreFilter,
    TraitValues,
    walk,
)
from config.errors import CatalogError
from config.errors import Problem as Wrong
from config.yaml_text import build, compose
from streams.api.definitions_view import invalid
from streams.console.segment_words import segment_name
from streams.console.texts import Texts
from streams.core.vocabulary import Vocabulary

_NAMED_VALUES: Final = 100
"""Values of a trait that are offered at most."""
_MOST_EXACT: Final = 2**53
_CATEGORIES: Final = ("low", "medium", "high")


def data_of(text: str) -> Any:
    """The plain data of a text. Raises `Problem` (invalid-definition) for what is no YAML, and no JSON."""
    if not text.strip():
        raise invalid([Wrong(None, "filter", "nothing", "a filter")])
    try:
        data, problems = build(compose(text, "filter"))
    except CatalogError as error:
        raise invalid(error.problems) from error
    if problems:
        raise invalid(problems)
    return data


def is_for_builder(data: Any) -> bool:
    """Whether scripts, which count in floats, can hold every number of a filter; else it stays a text."""
    if isinstance(data, dict):
        return all(is_for_builder(each) for each in data.values())
    if isinstance(data, list):
        return all(is_for_builder(each) for each in data)
    return not isinstance(data, int) or abs(data) <= _MOST_EXACT


def asked_of(tree: Filter) -> list[str]:
    """The predictions that a filter names itself, each once."""
    asking = [node for node in walk(tree) if isinstance(node, ScoreFilter | LikelihoodFilter | CategoryFilter)]
    return list(dict.fromkeys(node.prediction for node in asking))


def offered(
    texts: Texts, catalog: Catalog, vocabulary: Vocabulary | None, without: str | None = None
) -> dict[str, Any]:
    """What the builder's lists hold, as JSON. `without`: the segment that is edited, which cannot rest on itself."""
    live = {id_: p for id_, p in catalog.predictions.items() if p.access == "live" and not p.archived}
    return {
        "predictions": [_prediction(texts, id_, prediction) for id_, prediction in live.items()],
        "events": known_events(catalog, vocabulary),
        "history": list(catalog.history),
        "traits": {name: _trait(catalog, vocabulary, name) for name in catalog.named_traits()},
        "segments": dict(_segments(texts, catalog, live, without)),
    }


def _prediction(texts: Texts, id_: str, prediction: Prediction) -> dict[str, Any]:
    kind = "churn" if prediction.kind == "churn" else "event"
    names = {category: texts.categories[f"{kind}.{category}"] for category in _CATEGORIES}
    return {"id": id_, "name": prediction.name, "categories": names}


def known_events(catalog: Catalog, vocabulary: Vocabulary | None) -> list[str]:
    """Names that something is kept of: those of the catalog, and those that workers have found."""
    found = dict.fromkeys(catalog.history)
    if vocabulary is not None:
        found |= dict.fromkeys(name for name in vocabulary.columns()[:-1] if name is not None)
    return sorted(found)


def _trait(catalog: Catalog, vocabulary: Vocabulary | None, name: str) -> dict[str, Any]:
    """Of which type its values are as far as that is known, and which there are."""
    feature = catalog.trait_features.get(name)
    values: Sequence[Any] = feature.values if isinstance(feature, TraitValues) else ()
    if not values and vocabulary is not None:
        codes: Mapping[str, Any] = vocabulary.save()["codes"]
        values = sorted(codes.get(name, ()))[:_NAMED_VALUES]
    is_number = isinstance(feature, NumericTrait) or (bool(values) and all(_is_number(value) for value in values))
    return {"type": "number" if is_number else "text", "values": list(values)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _segments(
    texts: Texts, catalog: Catalog, live: Mapping[str, Prediction], without: str | None
) -> Iterator[tuple[str, str]]:
    for id_, segment in catalog.segments.items():
        if not segment.archived and id_ != without:
            yield id_, segment.name
    for id_ in live:
        for category in reversed(_CATEGORIES):
            yield f"{id_}.{category}", segment_name(texts, catalog, f"{id_}.{category}", id_)
