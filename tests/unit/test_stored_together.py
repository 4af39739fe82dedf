"""Shards that know other definitions for a while are shown as one service."""

from __future__ import annotations

import pytest

from config.errors import CatalogMoved
from models.snapshot import Status
from streams.api.read_predictions import Standings
from streams.core.users import BUCKETS
from streams.runtime.lookup import membership_since
from streams.runtime.stored import models_of, together
from streams.runtime.stored_rows import StoredRows
from tests.unit.stored_states import state_of


@pytest.mark.parametrize("first", ["ab", "ba", "abc", "cab", "b", "c"])
@pytest.mark.parametrize("second", ["ab", "ba", "abc", "bca", "a"])
def test_each_prediction_is_that_of_the_shards_that_know_it(first: str, second: str) -> None:
    states = [state_of(first, 3), state_of(second, 40)]
    whole = together(states)
    assert (whole.users, whole.counters) == (43, {"events": 43})
    for p, id_ in enumerate(first):
        at = "abc".index(id_)
        users = 43 if id_ in second else 3
        assert whole.population.counts[p].nonzero()[0].tolist() == [at]
        assert (whole.population.counts[p, at], whole.population.categories[p, at]) == (users, users)
        assert whole.user_days[p] == sum(100.0 * each.users + at for each in states if id_ in each.catalog.predictions)
        assert Standings(states).view(id_).audience == (43 if id_ in second else 0), "it is still being taken up"
    assert (states[0].users, states[0].population.counts.sum()) == (3, 3 * len(first)), "the shards stay as they are"


def test_the_newest_model_is_found_by_the_name_of_its_prediction() -> None:
    states = [state_of("ab", 3, {"a": 5, "b": 1}), state_of("cba", 40, {"a": 4, "b": 2, "c": 9})]
    found = together(states).snapshot
    assert found is not None
    assert [model.version for model in found.predictions] == [5, 2]
    assert found.counts[:, 0].tolist() == [3, 40]
    found = together(states[::-1]).snapshot
    assert found is not None
    assert [model.version for model in found.predictions] == [9, 2, 5]
    assert found.counts[:, 0].tolist() == [40, 40, 3]
    assert [model.version for model, _ in models_of(states, "c")] == [9]


def test_a_prediction_without_a_model_is_warming_up() -> None:
    found = together([state_of("ac", 3), state_of("a", 40, {"a": 4})]).snapshot
    assert found is not None
    assert [(model.status, model.version) for model in found.predictions] == [(Status.LIVE, 4), (Status.WARMING, 0)]


def test_a_model_of_other_columns_is_not_taken() -> None:
    states = [state_of("a", 3, {"a": 1}), state_of("a", 40, {"a": 7}, history=", D")]
    assert states[0].definitions.layout.columns.features != states[1].definitions.layout.columns.features
    found = together(states).snapshot
    assert found is not None
    assert [model.version for model in found.predictions] == [1]


def test_a_row_of_another_catalog_is_not_read_as_one_of_this() -> None:
    """Its columns would be taken for others: while definitions change, who reads may know the ones before."""
    short, long = (state_of(ids, 1).definitions.layout for ids in ("ab", "abc"))
    width, buckets = 8 + long.row_bytes, BUCKETS.itemsize
    rows = [bytes(width), bytes(width + buckets), bytes(width + 3 * buckets)]
    assert len(StoredRows.of(long, rows)) == 3
    for row in rows:
        with pytest.raises(CatalogMoved, match="definitions are changing"):
            StoredRows.of(short, [row])
        with pytest.raises(CatalogMoved):
            membership_since(state_of("ab", 1), row, "a.high")
    with pytest.raises(CatalogMoved):
        StoredRows.of(long, [bytes(8 + short.row_bytes)])
