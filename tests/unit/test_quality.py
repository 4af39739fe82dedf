"""Quality from bins, against the exact figures."""

import itertools
import math
import zlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import ModelError
from models import metrics
from models import quality as module
from models.examples import (
    CATEGORY_NONE,
    KIND_CROSSING,
    KIND_EVENT,
    KIND_SILENT,
    TOUCH_NONE,
    TOUCH_SENT,
    TOUCH_WITHHELD,
    ExampleChunk,
)
from models.quality import MONDAY_S, TOUCHES, UNTOUCHED, WEEK_S, Bucket, Quality, Selection, week_start_s

FIRST = MONDAY_S + 1_400 * WEEK_S


def chunk(seed: int, count: int, *, weeks: float = 1.0, **changes: Any) -> ExampleChunk:
    rng = np.random.default_rng(seed)
    z = rng.normal(-2.0, 1.5, count)
    score = (100 * rng.random(count)).astype(np.float32)
    fields: dict[str, Any] = {
        "prediction": 0,
        "number": 1,
        "shard": 0,
        "x": np.zeros((count, 1), np.float32),
        "y": (rng.random(count) < 1 / (1 + np.exp(-0.8 * z))).astype(np.uint8),
        "time_s": FIRST + np.sort(rng.random(count)) * weeks * WEEK_S,
        "user": rng.integers(0, 500, count).astype(np.uint64),
        "kind": rng.integers(0, 3, count).astype(np.uint8),
        "weight": (2.0 ** rng.integers(0, 3, count)).astype(np.float32),
        "likelihood": (1 / (1 + np.exp(-z))).astype(np.float32),
        "heuristic": (z + rng.normal(0, 1.5, count)).astype(np.float32),
        "score": score,
        "category": np.digitize(score, [50, 75]).astype(np.uint8),
        "touch": np.zeros(count, np.uint8),
    }
    return ExampleChunk(**(fields | changes))


def added(*chunks: ExampleChunk) -> Quality:
    quality = Quality()
    for one in chunks:
        quality.add(one)
    return quality


def assert_same_sums(a: Selection, b: Selection) -> None:
    np.testing.assert_array_equal(a.sums, b.sums)


@pytest.mark.parametrize("kind", [KIND_EVENT, KIND_SILENT, KIND_CROSSING])
def test_figures_agree_with_exact_ones(kind: int) -> None:
    examples = chunk(1, 30_000)
    figures = added(examples).select((kind,)).figures()
    rows = examples.take(examples.kind == kind)
    exact = rows.y, rows.likelihood, rows.weight
    assert figures.n == len(rows)
    assert figures.positives == int(rows.y.sum())
    assert figures.normalized_entropy == pytest.approx(metrics.normalized_entropy(*exact), rel=1e-9)
    assert figures.expected_over_observed == pytest.approx(metrics.expected_over_observed(*exact), rel=1e-9)
    assert figures.roc_auc == pytest.approx(metrics.roc_auc(*exact), abs=3e-4)
    assert figures.average_precision == pytest.approx(metrics.average_precision(*exact), abs=6e-3)
    assert figures.top_decile_lift == pytest.approx(metrics.top_decile_lift(*exact), rel=0.01)
    assert figures.lift_quality == pytest.approx(metrics.lift_quality(*exact), abs=0.06)
    assert figures.band == metrics.band(metrics.lift_quality(*exact) or 0.0)


def test_touches_are_judged_apart_and_together() -> None:
    touch = np.random.default_rng(9).integers(0, 3, 20_000).astype(np.uint8)
    examples = chunk(3, 20_000, weeks=3.0, touch=touch)
    quality = added(examples)
    for chosen in ((TOUCH_NONE,), (TOUCH_SENT,), (TOUCH_WITHHELD,), UNTOUCHED, TOUCHES):
        rows = examples.take(np.isin(touch, chosen))
        alone = added(rows)
        assert_same_sums(quality.select(touches=chosen), alone.select())
        assert quality.select((KIND_SILENT,), touches=chosen).figures() == alone.select((KIND_SILENT,)).figures()
        assert quality.select(touches=chosen).n == np.count_nonzero(rows.kind != KIND_CROSSING)
    loaded = Quality.load(quality.state())
    assert loaded.select(touches=(TOUCH_SENT,)).calibration() == quality.select(touches=(TOUCH_SENT,)).calibration()


def test_weeks_from_before_touches_are_untouched() -> None:
    examples = chunk(4, 2_000)
    (field,) = added(examples).state().values()
    packed = msgspec.msgpack.decode(zlib.decompress(field))
    old = zlib.compress(msgspec.msgpack.encode([1, *packed[1:]]))
    (week,) = added(examples).state()
    assert_same_sums(Quality.load({week: old}).select(touches=(TOUCH_NONE,)), added(examples).select())


def test_the_heuristic_is_judged_on_the_same_examples() -> None:
    examples = chunk(2, 20_000)
    rows = examples.take(examples.kind != KIND_CROSSING)
    figures = added(examples).select().heuristic_figures()
    assert figures.n == len(rows)
    assert figures.roc_auc == pytest.approx(metrics.roc_auc(rows.y, rows.heuristic, rows.weight), abs=5e-4)
    assert (figures.normalized_entropy, figures.expected_over_observed) == (None, None)


def test_lift_quality_is_the_area_that_its_definition_says() -> None:
    # From the definition in the module's docstring: mean over audience sizes of G(q) - q, over that of a perfect order.
    examples = chunk(3, 4_000, weight=np.ones(4_000, np.float32))
    selection = added(examples).select((0, 1, 2))
    ranking = selection.ranking
    sizes = (np.arange(100_000) + 0.5) / 100_000
    shares = np.cumsum(ranking.total) / ranking.total.sum()
    gains = np.cumsum(ranking.positive) / ranking.positive.sum()
    mine = np.mean(np.interp(sizes, np.append(0.0, shares), np.append(0.0, gains)) - sizes)
    rate = ranking.positive.sum() / ranking.total.sum()
    perfect = np.mean(np.minimum(1.0, sizes / rate) - sizes)
    assert selection.figures().lift_quality == pytest.approx(100 * mine / perfect, abs=1e-3)


def one_bin_each(likelihoods: list[float], labels: list[int]) -> Selection:
    n = len(likelihoods)
    changes: dict[str, Any] = {"likelihood": np.array(likelihoods, np.float32), "y": np.array(labels, np.uint8)}
    return added(chunk(4, n, weight=np.ones(n, np.float32), kind=np.zeros(n, np.uint8), **changes)).select()


@pytest.mark.parametrize(
    ("likelihoods", "labels", "quality", "band"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 100.0, "excellent"),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], -100.0, "poor"),
        ([0.3, 0.3, 0.3, 0.3], [1, 0, 1, 0], 0.0, "poor"),
        ([0.9, 0.6, 0.3, 0.3], [1, 0, 1, 0], 25.0, "fair"),
        ([0.9, 0.3, 0.3, 0.3], [1, 0, 1, 0], 50.0, "good"),
    ],
)
def test_lift_quality_by_hand(likelihoods: list[float], labels: list[int], quality: float, band: str) -> None:
    figures = one_bin_each(likelihoods, labels).figures()
    assert figures.lift_quality == pytest.approx(quality)
    assert figures.band == band


def test_figures_that_make_no_sense_are_none() -> None:
    empty = Quality().select().figures()
    assert (empty.n, empty.positives) == (0, 0)
    only = one_bin_each([0.5, 0.6], [1, 1]).figures()
    none = one_bin_each([0.5, 0.6], [0, 0]).figures()
    for figures in (empty, only, none):
        assert (figures.roc_auc, figures.normalized_entropy, figures.lift_quality, figures.band) == (None,) * 4
    for figures in (empty, none):
        assert (figures.average_precision, figures.expected_over_observed, figures.top_decile_lift) == (None,) * 3
    assert only.expected_over_observed == pytest.approx(0.55)


def test_likelihoods_of_zero_and_one_stay_finite() -> None:
    figures = one_bin_each([0.0, 1.0, 0.0, 1.0], [1, 0, 0, 1]).figures()
    assert figures.roc_auc == 0.5
    loss = -0.5 * (math.log(metrics.LIKELIHOOD_FLOOR) + math.log1p(-metrics.LIKELIHOOD_FLOOR))
    assert figures.normalized_entropy == pytest.approx(loss / math.log(2))


def test_score_buckets_and_categories_hold_what_was_served() -> None:
    examples = chunk(5, 6_000)
    selection = added(examples).select((0, 1, 2))
    groups = [
        (selection.score_buckets(), np.minimum(examples.score // 5, 19).astype(int)),
        (selection.categories(), examples.category.astype(int)),
    ]
    for buckets, place in groups:
        assert len(buckets) == place.max() + 1
        for index, bucket in enumerate(buckets):
            inside = place == index
            w = examples.weight[inside].astype(np.float64)
            assert bucket.weight == pytest.approx(w.sum())
            assert bucket.mean_likelihood == pytest.approx(np.average(examples.likelihood[inside], weights=w), rel=1e-6)
            assert bucket.actual_rate == pytest.approx(np.average(examples.y[inside], weights=w), rel=1e-9)


def test_scores_at_the_edges_lie_in_the_right_bucket() -> None:
    score = np.array([0.0, 4.99, 5.0, 94.9, 95.0, 100.0], np.float32)
    buckets = added(chunk(6, 6, score=score, weight=np.ones(6, np.float32))).select((0, 1, 2)).score_buckets()
    assert {i: b.weight for i, b in enumerate(buckets) if b.weight} == {0: 2.0, 1: 1.0, 18: 1.0, 19: 2.0}
    assert buckets[7] == Bucket(0.0, None, None)


def test_calibration_groups_are_about_equal_and_rising() -> None:
    examples = chunk(7, 40_000)
    groups = added(examples).select((0, 1, 2)).calibration(10)
    assert len(groups) == 10
    assert sum(g.weight for g in groups) == pytest.approx(float(examples.weight.sum()))
    for group in groups:
        assert group.weight == pytest.approx(examples.weight.sum() / 10, rel=0.1)
    means = [g.mean_likelihood or 0.0 for g in groups]
    assert means == sorted(means)
    average = sum(g.weight * (g.mean_likelihood or 0.0) for g in groups) / float(examples.weight.sum())
    assert average == pytest.approx(np.average(examples.likelihood, weights=examples.weight), rel=1e-3)


def test_calibration_of_few_or_no_examples() -> None:
    assert Quality().select().calibration() == ()
    groups = one_bin_each([0.3, 0.3, 0.3], [1, 0, 0]).calibration(20)
    assert len(groups) == 1
    assert groups[0].actual_rate == pytest.approx(1 / 3)


def test_what_was_not_served_is_counted_and_not_judged() -> None:
    examples = chunk(8, 900)
    warming = examples.category.copy()
    warming[:300] = CATEGORY_NONE
    likelihood = examples.likelihood.copy()
    likelihood[300:400] = np.nan
    changed = chunk(8, 900, category=warming, likelihood=likelihood)
    selection = added(changed).select((0, 1, 2))
    assert selection.unserved == 400
    served = added(examples.take(np.arange(900) >= 400)).select((0, 1, 2))
    assert selection.n == 500
    assert selection.figures() == served.figures()
    assert selection.score_buckets() == served.score_buckets()


def test_moments_before_serving_began_are_not_judged() -> None:
    examples = chunk(8, 900)
    began = float(examples.time_s[350])
    quality = Quality()
    quality.add(examples, began)
    selection = quality.select((0, 1, 2))
    assert (selection.unserved, selection.n) == (350, 550)
    assert selection.figures() == added(examples.take(slice(350, 900))).select((0, 1, 2)).figures()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 300), max_size=6))
def test_any_cutting_gives_the_same_bits(seed: int, cuts: list[int]) -> None:
    examples = chunk(seed, 300, weeks=3.0)
    edges = [0, *sorted(cuts), 300]
    parts = [examples.take(slice(a, b)) for a, b in itertools.pairwise(edges)]
    assert added(*parts).state() == added(examples).state()


def test_weeks_run_from_monday_to_monday() -> None:
    monday = 1_704_067_200.0  # 2024-01-01T00:00Z
    times = np.array([monday - 1.0, monday, monday + WEEK_S - 1.0, monday + WEEK_S])
    quality = added(chunk(9, 4, time_s=times, kind=np.zeros(4, np.uint8)))
    assert [start for start, _ in quality.by_week()] == [monday - WEEK_S, monday, monday + WEEK_S]
    assert [selection.n for _, selection in quality.by_week()] == [1, 2, 1]
    assert week_start_s(quality.weeks[1]) == monday


def test_weeks_and_kinds_add_up() -> None:
    quality = added(*(chunk(seed, 500, weeks=8.0) for seed in range(4)))
    weeks = quality.weeks
    assert len(weeks) == 8
    whole = quality.select((0, 1, 2))
    by_kind = sum(quality.select((kind,)).sums for kind in range(3))
    by_week = sum(selection.sums for _, selection in quality.by_week((0, 1, 2)))
    np.testing.assert_allclose(by_kind, whole.sums, rtol=1e-12)
    np.testing.assert_allclose(by_week, whole.sums, rtol=1e-12)
    part = quality.select((0, 1, 2), weeks[2], weeks[5])
    assert part.n == sum(quality.select((0, 1, 2), week, week).n for week in weeks[2:6])


def test_weeks_beyond_the_bound_are_merged_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WEEKS", 5)
    free, bound = Quality(), Quality()
    stored: dict[str, bytes] = {}
    for week in (3, 0, 1, 2, 9, 4, 5, 6, 7, 8, 1, 20):
        examples = chunk(week, 60, time_s=np.full(60, FIRST + week * WEEK_S))
        with monkeypatch.context() as patch:
            patch.setattr(module, "MAX_WEEKS", 1_000)
            free.add(examples)
        bound.add(examples)
        assert len(bound.weeks) <= 5
        stored |= bound.state(changed_only=True)
        bound.mark_saved()
    assert [week - 1_400 for week in bound.weeks] == [6, 7, 8, 9, 20]
    np.testing.assert_allclose(bound.select((0, 1, 2)).sums, free.select((0, 1, 2)).sums, rtol=1e-12)
    assert {name: data for name, data in stored.items() if data} == bound.state()


def test_saved_and_loaded_it_goes_on_equally() -> None:
    chunks = [chunk(seed, 200, weeks=12.0) for seed in range(6)]
    unbroken = added(*chunks)
    broken = added(*chunks[:2])
    for one in chunks[2:]:
        broken = Quality.load(broken.state())
        broken.add(one)
    assert broken.state() == unbroken.state()
    assert_same_sums(broken.select((0, 1, 2)), unbroken.select((0, 1, 2)))


def test_only_weeks_that_changed_are_written_again() -> None:
    quality = added(chunk(10, 300, weeks=9.0))
    assert len(quality.state(changed_only=True)) == 9
    quality.mark_saved()
    assert quality.state(changed_only=True) == {}
    quality.add(chunk(11, 30, time_s=np.full(30, FIRST)))
    assert set(quality.state(changed_only=True)) == {"1400"}
    assert len(quality.state()) == 9


def test_a_week_is_small() -> None:
    sizes = [len(data) for data in added(chunk(12, 20_000)).state().values()]
    assert max(sizes) < 20_000


def test_old_weeks_are_kept_packed() -> None:
    quality = added(*(chunk(week, 50, time_s=np.full(50, FIRST + week * WEEK_S)) for week in range(30)))
    assert len(quality._open) == module.OPEN_WEEKS
    assert len(quality.weeks) == 30


@pytest.mark.parametrize("data", [b"x", b"\x78\x9c", bytes(40)])
def test_fields_that_are_no_week_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Quality.load({"1400": data})


def test_a_field_that_would_unpack_without_end_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Quality.load({"1400": zlib.compress(bytes(100_000_000), 9)})


@pytest.mark.parametrize(
    "changes",
    [{"kind": np.full(5, 3, np.uint8)}, {"touch": np.full(5, 3, np.uint8)}, {"time_s": np.full(5, np.nan)}],
)
def test_examples_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown kind or touch, or a time"):
        Quality().add(chunk(13, 5, **changes))


def test_an_empty_chunk_changes_nothing() -> None:
    assert added(chunk(14, 0)).state() == {}
