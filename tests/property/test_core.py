"""The core against the reference: same transitions, examples, scores and memberships on any catalog and log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from config.catalog import Catalog
from models.layout import FIRST_T
from streams.core.ledger import cluster_id
from streams.runtime.lockstep import LockStep
from tests.conftest import examples
from tests.property.engine import Driver, Outcome, seconds, shard_hashes
from tests.property.strategies import batches, cuts, inputs, scenarios, tight_catalogs
from tests.reference.memberships import fold
from tests.reference.reference_shard import Input, RunResult, run

pytestmark = pytest.mark.timeout(900)
CATEGORIES = ("low", "medium", "high")
KINDS = ("event", "silent", "crossing")
TOUCHES = (None, "sent", "withheld")
COLUMNS = ("x", "y", "time_s", "user", "kind", "weight", "likelihood", "heuristic", "score", "category", "touch")
slow = settings(
    max_examples=examples(60),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def drive(catalog: Catalog, items: list[Input], live_after: int) -> Outcome:
    driver = Driver(catalog, live_after)
    driver.take(items)
    return driver.outcome


def close(found: float | None, wanted: float | None, tolerance: float) -> bool:
    if found is None or wanted is None or math.isnan(found):
        return wanted is None and (found is None or math.isnan(found))
    return math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)


def check_transition(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    data = found["data"]
    assert (data["user_id"], data["segment_id"]) == (wanted["user"], wanted["segment"])
    assert data["in_segment"] == wanted["in_segment"]
    assert int(found["sequence"]) == wanted["sequence"]
    assert seconds(found["time"]) == pytest.approx(wanted["time_s"], abs=1e-5)
    for key in (
        "origin",
        "model_version",
        "category",
        "previous_category",
        "caused_by_goal",
        "entry_count",
        "is_reentry",
    ):
        assert data[key] == wanted[key], key
    assert data["prediction_id"] == wanted["prediction"]
    assert close(data["score"], wanted["score"], 0.006)
    assert close(data["previous_score"], wanted["previous_score"], 0.006)
    assert close(data["likelihood"], wanted["likelihood"], 2e-5)
    assert seconds(data["entered_at"]) == pytest.approx(wanted["entered_at"], abs=1e-5)


def check_examples(catalog: Catalog, outcome: Outcome, reference: RunResult) -> None:
    names = outcome.engine.shard.vocabulary.feature_names() if outcome.engine else []
    for p, prediction in enumerate(catalog.predictions):
        wanted = [e for e in reference.examples if e["prediction"] == prediction]
        rows = [(chunk, n) for chunk in outcome.chunks if chunk.prediction == p for n in range(len(chunk))]
        assert len(rows) == len(wanted), prediction
        for (chunk, n), example in zip(rows, wanted, strict=True):
            assert KINDS[chunk.kind[n]] == example["kind"]
            assert chunk.time_s[n] == example["time_s"]
            assert int(chunk.user[n]) == cluster_id(b"", example["user"])
            assert chunk.y[n] == example["label"]
            assert chunk.weight[n] == example["weight"]
            named = dict(zip(names, chunk.x[n].tolist(), strict=True))
            for feature, value in example["features"].items():
                assert close(named[feature], value, 1e-6), feature
            assert close(float(chunk.likelihood[n]), example["likelihood"], 1e-5)
            assert close(float(chunk.heuristic[n]), example["heuristic"], 1e-5)
            assert close(float(chunk.score[n]), example["score"], 1e-3)
            assert TOUCHES[chunk.touch[n]] == example["touch"]
            category = CATEGORIES[chunk.category[n]] if chunk.category[n] < 3 else None
            assert category == example["category"]


def check_users(catalog: Catalog, outcome: Outcome, reference: RunResult) -> None:
    assert outcome.engine is not None
    shard = outcome.engine.shard
    c = shard.definitions.layout.columns
    rows = shard.users.rows
    for user, answers in reference.users.items():
        row = shard.users.find(user)
        assert row is not None
        for p, prediction in enumerate(catalog.predictions):
            _, score, category = answers[prediction]
            assert close(float(rows.f[row, c.f_score + p]), score, 1e-3)
            code = int(rows.b[row, c.b_category + p])
            assert (CATEGORIES[code] if code < 3 else None) == category


def compare(catalog: Catalog, items: list[Input], live_after: int) -> None:
    reference = run(catalog, items, live_after=live_after, hashes=shard_hashes(), closeness=2e-6)
    assume(not reference.close_calls)
    outcome = drive(catalog, items, live_after)
    found = outcome.decoded()
    for mine, wanted in zip(found, reference.transitions, strict=False):
        check_transition(mine, wanted)
    assert len(found) == len(reference.transitions)
    check_examples(catalog, outcome, reference)
    check_users(catalog, outcome, reference)


@slow
@given(scenarios())
def test_the_core_equals_the_reference(case: tuple[Catalog, list[Input], int]) -> None:
    compare(*case)


@slow
@given(tight_catalogs(), inputs(), st.integers(1, 12))
def test_bounds_hold_and_bind_as_in_the_reference(catalog: Catalog, items: list[Input], live_after: int) -> None:
    compare(catalog, items, live_after)


def stored_rows(engine: LockStep) -> dict[str, bytes]:
    """Every user's row as it would be saved; users without an accepted event have none."""
    users = engine.shard.users
    accepted = [row for row in range(len(users)) if users.rows.t[row, FIRST_T] != 0.0]
    return dict(zip((users.ids[row] for row in accepted), users.row_bytes(accepted), strict=True))


def same_bits(one: Outcome, other: Outcome, columns: Sequence[str] = COLUMNS) -> None:
    assert one.transitions == other.transitions
    for p in {c.prediction for c in one.chunks + other.chunks}:
        mine = [c for c in one.chunks if c.prediction == p]
        theirs = [c for c in other.chunks if c.prediction == p]
        for name in columns:
            a = np.concatenate([getattr(c, name) for c in mine]) if mine else np.zeros(0)
            b = np.concatenate([getattr(c, name) for c in theirs]) if theirs else np.zeros(0)
            assert a.tobytes() == b.tobytes(), name
    assert one.engine is not None
    assert other.engine is not None
    assert stored_rows(one.engine) == stored_rows(other.engine)
    assert one.engine.shard.population.counts.tobytes() == other.engine.shard.population.counts.tobytes()


@slow
@given(scenarios(), st.data())
def test_cutting_changes_nothing(case: tuple[Catalog, list[Input], int], data: st.DataObject) -> None:
    catalog, items, live_after = case
    whole = drive(catalog, items, live_after)
    driver = Driver(catalog, live_after)
    for batch in batches(items, data.draw(cuts(len(items)))):
        driver.take(batch)
    same_bits(driver.outcome, whole)


@slow
@given(st.one_of(scenarios(), st.tuples(tight_catalogs(), inputs(), st.integers(1, 12))), st.data())
def test_stop_and_resume_changes_nothing(case: tuple[Catalog, list[Input], int], data: st.DataObject) -> None:
    catalog, items, live_after = case
    whole = drive(catalog, items, live_after)
    driver = Driver(catalog, live_after, store=True)
    for batch in batches(items, data.draw(cuts(len(items)))):
        driver.take(batch)
        if data.draw(st.booleans()):
            driver.restart()
    same_bits(driver.outcome, whole)


@slow
@given(scenarios())
def test_transitions_fold_to_the_memberships(case: tuple[Catalog, list[Input], int]) -> None:
    catalog, items, live_after = case
    outcome = drive(catalog, items, live_after)
    plain = [
        {
            "user": t["data"]["user_id"],
            "segment": t["data"]["segment_id"],
            "in_segment": t["data"]["in_segment"],
            "sequence": int(t["sequence"]),
        }
        for t in outcome.decoded()
    ]
    folded = fold(plain)
    assert outcome.engine is not None
    shard = outcome.engine.shard
    first = shard.definitions.layout.columns.u_sequence
    members: dict[str, set[str]] = {}
    for g, segment in enumerate(shard.definitions.segment_ids):
        inside = {u for row, u in enumerate(shard.users.ids) if shard.users.rows.u[row, first + g] & 1}
        if inside:
            members[segment] = inside
    assert {k: v for k, v in folded.items() if v} == members
    ids = [t["id"] for t in outcome.decoded()]
    assert len(ids) == len(set(ids))
