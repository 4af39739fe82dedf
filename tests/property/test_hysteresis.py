"""Score ranges of segments: whoever is in one stays in it as long as the score stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from config.catalog import Catalog
from config.loader import loads
from streams.core.filters import holds
from streams.core.shard import Shard
from tests.property.strategies import to_yaml


def catalog_of(tree: dict[str, Any]) -> Catalog:
    prediction = {"name": "Orders", "goal": {"did": "Order"}, "window": "1d"}
    return loads(
        to_yaml(
            {
                "version": 1,
                "name": "small",
                "features": {"events": ["Order"]},
                "predictions": {"a": prediction, "b": prediction},
                "segments": {"s": {"name": "S", "filter": tree}},
            }
        )
    )


def is_wanted(shard: Shard, scores: list[float], *, is_in: bool) -> bool:
    """Whether the last filter of the catalog holds for a user with these scores who is or is not in the segment."""
    s = shard.sealed
    k = shard.state.scratch
    program = len(shard.state.programs.start) - 2
    none = np.full(2, np.nan)
    category = np.full(2, 255, np.int64)
    widen = k.widen[1] if is_in else k.widen[0]
    return bool(
        holds(
            s["programs"], program, s["rows"], s["c"], s["history"], 0, 0.0,
            np.array(scores), none, category, k.member, widen, k.stack,
        )
    )  # fmt: skip


def ranges() -> st.SearchStrategy[dict[str, Any]]:
    edge = st.integers(11, 44).map(lambda half: 2 * half)  # no range can never be left, above or below a `not`
    bounds = st.one_of(
        edge.map(lambda low: {"min": low}),
        edge.map(lambda high: {"max": high}),
        edge.map(lambda low: {"min": low, "max": 100}),
        edge.map(lambda high: {"min": 0, "max": high}),
        st.tuples(st.integers(11, 30), st.integers(45, 89)).map(lambda two: {"min": two[0], "max": two[1]}),
    )
    return st.builds(lambda p, score: {"prediction": p, "score": score}, st.sampled_from("ab"), bounds)


trees = st.recursive(
    ranges(),
    lambda inner: st.one_of(
        inner.map(lambda one: {"not": one}),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"all": some}),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"any": some}),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(trees, st.lists(st.floats(0, 100), min_size=2, max_size=2))
def test_who_comes_in_stays_in_while_the_scores_stay(tree: dict[str, Any], scores: list[float]) -> None:
    shard = Shard(catalog_of(tree))
    if is_wanted(shard, scores, is_in=False):
        assert is_wanted(shard, scores, is_in=True)


def test_a_range_below_not_is_left_past_its_edge_too() -> None:
    shard = Shard(catalog_of({"not": {"prediction": "a", "score": {"min": 50}}}))
    said = [[is_wanted(shard, [score, 0.0], is_in=is_in) for is_in in (False, True)] for score in (48.0, 52.0, 56.0)]
    assert said == [[True, True], [False, True], [False, False]]
