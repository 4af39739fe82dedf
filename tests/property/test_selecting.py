"""A filter over stored rows selects those of whom the core's own program is true, and who is in such a segment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog, Filter
from models.snapshot import Status
from streams.core.filters import STACK, holds
from streams.core.shard import Shard
from streams.runtime.about import about_blobs
from streams.runtime.selecting import Selector, holds_each, predictions_used
from streams.runtime.stored import StoredState, state_of
from streams.runtime.stored_rows import Said, StoredRows
from streams.runtime.uncompiled import uncompiled
from tests.conftest import examples
from tests.live_after import live_after
from tests.property.engine import Driver
from tests.property.strategies import inputs, scenarios
from tests.property.test_filters import _any_filter, _said, _waits_s, catalog_of
from tests.reference.reference_shard import Input

pytestmark = pytest.mark.timeout(600)


def cases(count: int) -> settings:
    return settings(
        max_examples=examples(count),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def stored_rows(shard: Shard) -> StoredRows:
    """Everybody's rows, as they are stored."""
    known = [row for row, user in enumerate(shard.users.ids) if user]
    return StoredRows.of(shard.definitions.layout, shard.users.row_bytes(known))


@cases(60)
@given(
    st.lists(_any_filter, min_size=3, max_size=6),
    inputs(users=4, min_events=8),
    st.lists(_waits_s, min_size=1, max_size=4),
    st.data(),
)
def test_the_program_over_arrays_is_the_program_over_one_user(
    filters: list[dict[str, Any]], log: list[Input], waits_s: list[float], data: st.DataObject
) -> None:
    driver = Driver(catalog_of(filters), 10**9)
    driver.take(log)
    shard = driver.engine.shard
    users = stored_rows(shard)
    said = [data.draw(_said()) for _ in range(len(users))]
    score, likelihood = (np.array([each[name] for each in said]) for name in ("score", "likelihood"))
    category, member = (np.array([each[name] for each in said]) for name in ("category", "member"))
    nobody = np.zeros(score.shape, np.bool_)
    one, s = uncompiled(holds), shard.state
    for wait_s in waits_s:
        time_s = users.rows.t[:, :3].max(axis=1) + wait_s
        for which in range(len(filters)):
            known = Said(score, likelihood, category, nobody, nobody)
            found = holds_each(s.programs, which, users, s.c, time_s, known, member != 0)
            for i, row in enumerate(users.numbers.tolist()):
                asked = score[i], likelihood[i], category[i], member[i], np.zeros(2), np.zeros(STACK, np.uint8)
                assert found[i] == one(s.programs, which, s.rows, s.c, s.history, row, time_s[i], *asked), (which, row)


def without_memory(catalog: Catalog) -> Catalog:
    """The same, but that memberships follow from what is true now alone."""
    predictions = {k: p.model_copy(update={"hysteresis": 0.0}) for k, p in catalog.predictions.items()}
    updates = {"min_dwell_s": 0.0, "entry": "now"}
    segments = {k: s.model_copy(update=updates) for k, s in catalog.segments.items()}
    return catalog.model_copy(update={"predictions": predictions, "segments": segments})


def state_and_rows(driver: Driver) -> tuple[StoredState, dict[str, bytes]]:
    stored = driver.stored()
    with live_after(driver.live_after):
        blobs = {**stored.blobs, **about_blobs(driver.catalog)}
        return state_of(blobs, users=len(stored.rows), members={}), stored.rows


def can_have_members(state: StoredState, tree: Filter) -> bool:
    """Whether all predictions that the filter uses are live."""
    assert state.snapshot is not None
    ids = state.definitions.prediction_ids
    return all(
        state.catalog.predictions[name].access == "live"
        and state.snapshot.predictions[ids.index(name)].status != Status.WARMING
        for name in predictions_used(state, tree)
    )


@cases(80)
@given(scenarios(min_events=8))
def test_a_selection_is_who_is_in_a_segment_with_its_filter(scenario: tuple[Catalog, list[Input], int]) -> None:
    catalog, log, goes_live_after = scenario
    driver = Driver(without_memory(catalog), goes_live_after, store=True)
    driver.take(log)
    state, rows = state_and_rows(driver)
    if not rows or state.snapshot is None:
        return
    users = StoredRows.of(state.definitions.layout, list(rows.values()))
    said = Said.of(state, users)
    names = list(rows)
    for id_, segment in driver.catalog.segments.items():
        if can_have_members(state, segment.filter):
            found = Selector.of(state, segment.filter).chosen(users, said)
            chosen = {names[i] for i in np.flatnonzero(found)}
            assert chosen == driver.stored().members.get(id_, set()), id_
