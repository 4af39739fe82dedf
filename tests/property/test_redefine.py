"""A shard goes on under another catalog: what both know stays, what is new is as if it had always been there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog, walk
from models.pipeline import CompiledLogistic
from streams.core.row_names import OF_MOMENTS, OF_PREDICTIONS, OF_SEGMENTS, UNNAMED, row_keys
from streams.core.shard import Shard
from tests.conftest import examples
from tests.property.engine import Driver
from tests.property.strategies import START_S, catalogs, inputs, scenarios, tight_catalogs
from tests.property.test_core import same_bits
from tests.property.test_core_regressions import T0, catalog, event
from tests.reference.reference_shard import Advance, Input

pytestmark = pytest.mark.timeout(900)
slow = settings(
    max_examples=examples(25),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
YEARS_S = 3 * 365 * 86_400.0


def without(catalog: Catalog, prediction: str) -> Catalog:
    """The catalog without a prediction, and without the segments that need it."""
    gone = {f"{prediction}.{category}" for category in ("low", "medium", "high")}
    segments = dict(catalog.segments)
    while True:
        using = [
            name
            for name, segment in segments.items()
            if any(
                getattr(node, "prediction", None) == prediction or getattr(node, "segment", None) in gone
                for node in walk(segment.filter)
            )
        ]
        if not using:
            break
        gone |= set(using)
        segments = {name: segment for name, segment in segments.items() if name not in using}
    left = {name: one for name, one in catalog.predictions.items() if name != prediction}
    return catalog.model_copy(update={"predictions": left, "segments": segments})


def taken(catalog: Catalog, items: list[Input], live_after: int) -> Driver:
    driver = Driver(catalog, live_after)
    driver.take(items)
    return driver


@slow
@given(st.one_of(scenarios(), st.tuples(tight_catalogs(), inputs(), st.integers(1, 12))), st.data())
def test_the_same_catalog_again_changes_nothing(case: tuple[Catalog, list[Input], int], data: st.DataObject) -> None:
    catalog, items, live_after = case
    whole = taken(catalog, items, live_after)
    cut = data.draw(st.integers(0, len(items)))
    driver = taken(catalog, items[:cut], live_after)
    driver.redefine(catalog)
    driver.take(items[cut:])
    same_bits(driver.outcome, whole.outcome)
    assert driver.engine.shard.counters() == whole.engine.shard.counters()


@slow
@given(st.data())
def test_a_prediction_that_learned_from_the_past_is_one_that_was_always_there(data: st.DataObject) -> None:
    catalog = data.draw(catalogs().filter(lambda one: len(one.predictions) > 1))
    items, live_after = data.draw(inputs(calm=True)), data.draw(st.integers(1, 12))
    added = data.draw(st.sampled_from(sorted(catalog.predictions)))
    cut = data.draw(st.integers(0, len(items)))
    always, driver = (taken(one, items[:cut], live_after) for one in (catalog, without(catalog, added)))
    published = len(driver.outcome.transitions)
    driver.redefine(catalog, taken(catalog, items[:cut], live_after).engine)
    assert columns(driver.engine.shard, added) == columns(always.engine.shard, added)
    assert len(driver.outcome.transitions) == published
    for one in (always, driver):
        one.take(items[cut:])
    p = list(catalog.predictions).index(added)
    found, wanted = (one.engine.learner.predictions[p] for one in (driver, always))
    assert found.learned == wanted.learned
    if isinstance(wanted.model, CompiledLogistic) and isinstance(found.model, CompiledLogistic):
        assert found.model.to_bytes() == wanted.model.to_bytes()


def columns(shard: Shard, prediction: str) -> dict[tuple[Any, ...], bytes]:
    """What the rows hold of one prediction, and what they count of everybody, by user."""
    kept: dict[tuple[Any, ...], bytes] = {}
    for view, keys in row_keys(shard).items():
        array = getattr(shard.users.rows, view)
        for column, key in enumerate(keys):
            of_another = key[0] in OF_PREDICTIONS and key[1] != prediction
            if key != UNNAMED and not of_another and key[0] not in OF_SEGMENTS and key[0] not in OF_MOMENTS:
                for row, user in ((row, user) for row, user in enumerate(shard.users.ids) if user):  # "" is nobody's
                    kept[user, *key] = array[row, column].tobytes()
    return kept


@slow
@given(st.data())
def test_a_new_segment_has_the_members_that_it_would_always_have_had(data: st.DataObject) -> None:
    catalog = data.draw(catalogs().filter(lambda one: any(_of_facts(one, name) for name in one.segments)))
    items, live_after = data.draw(inputs()), data.draw(st.integers(1, 12))
    added = data.draw(st.sampled_from([name for name in catalog.segments if _of_facts(catalog, name)]))
    fewer = {name: one for name, one in catalog.segments.items() if name != added}
    assume(not any(getattr(node, "segment", None) == added for one in fewer.values() for node in walk(one.filter)))
    before = catalog.model_copy(update={"segments": fewer})
    cut = data.draw(st.integers(0, len(items)))
    always, driver = (taken(one, items[:cut], live_after) for one in (catalog, before))
    past = None if _tracks(before) == _tracks(catalog) else taken(catalog, items[:cut], live_after).engine
    driver.redefine(catalog, past)
    assert members(driver.engine.shard, added) == members(always.engine.shard, added), "at once"
    later = [*items[cut:], Advance(START_S + YEARS_S)]
    for one in (always, driver):
        one.take(later)
    assert members(driver.engine.shard, added) == members(always.engine.shard, added)
    origins = {t["data"]["origin"] for t in driver.outcome.decoded() if t["data"]["segment_id"] == added}
    assert origins <= {"live", "decay", "backfill"}


def members(shard: Shard, segment: str) -> set[str]:
    column = shard.definitions.layout.columns.u_sequence + shard.definitions.segment_ids.index(segment)
    return {user for row, user in enumerate(shard.users.ids) if user and shard.users.rows.u[row, column] % 2}


def _of_facts(catalog: Catalog, name: str) -> bool:
    """Whether a segment depends on nothing but what was counted and when."""
    segment = catalog.segments[name]
    of_others = any(hasattr(node, "prediction") or hasattr(node, "segment") for node in walk(segment.filter))
    return not of_others and segment.min_dwell_s == 0 and segment.entry == "now"


def _tracks(catalog: Catalog) -> tuple[Any, ...]:
    return catalog.named_events(), catalog.named_traits(), catalog.history


@slow
@given(st.data())
def test_nobody_is_left_in_what_is_archived_and_all_come_back(data: st.DataObject) -> None:
    catalog = data.draw(catalogs().filter(lambda one: bool(one.segments)))
    items, live_after = data.draw(inputs()), data.draw(st.integers(1, 12))
    name = data.draw(st.sampled_from(sorted(catalog.segments)))
    prediction = data.draw(st.sampled_from(sorted(catalog.predictions)))
    driver = taken(catalog, items, live_after)
    engine = driver.engine
    was_in = members(engine.shard, name)
    before = len(driver.outcome.transitions)
    driver.redefine(archived(catalog, name, prediction))
    assert members(engine.shard, name) == set(), "at once"
    driver.take([Advance(engine.shard.clock_s + 40 * 86_400.0)] if items else [])
    assert members(engine.shard, name) == set()
    rows, columns_ = engine.shard.users.rows, engine.shard.definitions.layout.columns
    p = list(catalog.predictions).index(prediction)
    assert not rows.b[: len(engine.shard.users), columns_.b_audience + p].any()
    left = [t["data"] for t in driver.outcome.decoded()[before:] if t["data"]["segment_id"] == name]
    assert {t["user_id"] for t in left} == was_in
    assert all(not t["in_segment"] for t in left)
    driver.redefine(catalog)
    if _of_facts(catalog, name):
        driver.take([Advance(engine.shard.clock_s + YEARS_S)] if items else [])
        always = taken(catalog, [*items, Advance(engine.shard.clock_s)] if items else [], live_after)
        assert members(engine.shard, name) == members(always.engine.shard, name)


def archived(catalog: Catalog, segment: str, prediction: str) -> Catalog:
    segments, predictions = dict(catalog.segments), dict(catalog.predictions)
    segments[segment] = segments[segment].model_copy(update={"archived": True})
    predictions[prediction] = predictions[prediction].model_copy(update={"archived": True})
    return catalog.model_copy(update={"segments": segments, "predictions": predictions})


def test_places_of_buckets_that_nobody_needs_are_given_again() -> None:
    with_history = catalog().model_copy(update={"history": ("Order", "View")})
    without = with_history.model_copy(update={"history": ("View",)})
    driver = taken(with_history, [event(f"u{n}", T0 + n, n + 1, "Order") for n in range(40)], 1)
    slots = driver.engine.shard.users.slots
    for n in range(3):
        driver.redefine(without)
        driver.redefine(with_history)
        driver.take([event(f"u{k}", T0 + 60.0 * n + 60.0 + k, 1_000 * n + k + 100, "Order") for k in range(40)])
        history = driver.engine.shard.users.history
        assert driver.engine.shard.users.slots == slots
        assert history.hours.sum() == 40, "nothing is left of what was counted before"
