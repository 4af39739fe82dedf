"""The exact figures against slow, obvious definitions: pairs of points, one point at a time."""

import itertools
import math
import time
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import metrics

Points = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.float64]]


@st.composite
def points(draw: st.DrawFn) -> Points:
    """y, score with many ties, weight (some zero)."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, 6), st.sampled_from([0.0, 0.5, 1.0, 3.0])),
            min_size=0,
            max_size=25,
        )
    )
    y = np.array([row[0] for row in rows], dtype=np.uint8)
    score = np.array([row[1] / 7 for row in rows], dtype=np.float64)
    return y, score, np.array([row[2] for row in rows], dtype=np.float64)


def pairs_auc(
    y: npt.NDArray[np.uint8], score: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> float | None:
    won = pairs = 0.0
    for i, j in itertools.product(range(len(y)), repeat=2):
        if y[i] == 1 and y[j] == 0:
            pairs += weight[i] * weight[j]
            won += weight[i] * weight[j] * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
    return won / pairs if pairs else None


def expanded_gain(
    y: npt.NDArray[np.uint8], score: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], share: float
) -> float:
    """Positives in the best share, walking over thresholds and cutting the last group in proportion."""
    left = share * weight.sum()
    got = 0.0
    for value in sorted(set(score.tolist()), reverse=True):
        size = weight[score == value].sum()
        hits = weight[(score == value) & (y == 1)].sum()
        if size <= left:
            got += hits
            left -= size
        else:
            got += hits * left / size
            break
    return float(got / weight[y == 1].sum())


@given(points())
def test_auc_is_the_share_of_pairs_in_the_right_order(case: Points) -> None:
    y, score, weight = case
    expected = pairs_auc(y, score, weight)
    found = metrics.roc_auc(y, score, weight)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found == pytest.approx(expected, abs=1e-12)


@given(points())
def test_average_precision_walks_over_thresholds(case: Points) -> None:
    y, score, weight = case
    positives = weight[y == 1].sum()
    found = metrics.average_precision(y, score, weight)
    if positives == 0:
        assert found is None
        return
    expected = recall = 0.0
    for value in sorted(set(score[weight > 0].tolist()), reverse=True):
        chosen = score >= value
        hits = weight[chosen & (y == 1)].sum()
        expected += (hits / positives - recall) * hits / weight[chosen].sum()
        recall = hits / positives
    assert found == pytest.approx(expected, abs=1e-12)


@given(points())
def test_top_decile_lift_is_rate_over_rate(case: Points) -> None:
    y, score, weight = case
    found = metrics.top_decile_lift(y, score, weight)
    if weight[y == 1].sum() == 0:
        assert found is None
        return
    assert found == pytest.approx(expanded_gain(y, score, weight, 0.1) / 0.1, abs=1e-9)


@given(points())
def test_lift_quality_is_the_mean_gain_over_random_against_the_perfect_order(case: Points) -> None:
    y, score, weight = case
    found = metrics.lift_quality(y, score, weight)
    auc = pairs_auc(y, score, weight)
    assert (found is None) == (auc is None)
    if found is None:
        return
    # Between the ends of the groups the gains curve is straight, so the mean over slices is exact at their ends.
    ends = np.cumsum([weight[score == value].sum() for value in sorted(set(score.tolist()), reverse=True)])
    shares = np.unique(np.concatenate(([0.0], ends / weight.sum())))
    model = np.array([expanded_gain(y, score, weight, share) for share in shares])
    perfect_share = weight[y == 1].sum() / weight.sum()
    area = np.trapezoid(model, shares) - 0.5
    assert found == pytest.approx(100 * area / (0.5 * (1 - perfect_share)), abs=1e-6)


def test_lift_quality_of_the_perfect_a_useless_and_the_worst_order() -> None:
    y = np.array([0, 0, 1, 0, 1], dtype=np.uint8)
    assert metrics.lift_quality(y, y.astype(float)) == pytest.approx(100.0)
    assert metrics.lift_quality(y, np.zeros(5)) == pytest.approx(0.0)
    assert metrics.lift_quality(y, -y.astype(float)) == pytest.approx(-100.0)


@pytest.mark.parametrize(
    ("quality", "word"),
    [
        (100.0, "excellent"),
        (60.0, "excellent"),
        (59.6, "excellent"),  # shown as 60
        (59.4, "good"),
        (40.0, "good"),
        (39.4, "fair"),
        (20.0, "fair"),
        (19.4, "poor"),
        (-5.0, "poor"),
    ],
)
def test_bands_start_at_their_edge(quality: float, word: str) -> None:
    assert metrics.band(quality) == word


@given(points())
def test_log_loss_and_expected_one_point_at_a_time(case: Points) -> None:
    y, likelihood, weight = case
    total = weight.sum()
    positives = weight[y == 1].sum()
    ratio = metrics.expected_over_observed(y, likelihood, weight)
    entropy = metrics.normalized_entropy(y, likelihood, weight)
    if positives == 0:
        assert ratio is None
        assert entropy is None
        return
    assert ratio == pytest.approx(sum(w * p for w, p in zip(weight, likelihood, strict=True)) / positives)
    if positives == total:
        assert entropy is None
        return
    loss = 0.0
    for label, p, w in zip(y.tolist(), likelihood.tolist(), weight.tolist(), strict=True):
        clipped = min(max(p, metrics.LIKELIHOOD_FLOOR), 1 - metrics.LIKELIHOOD_FLOOR)
        loss -= w * math.log(clipped if label else 1 - clipped)
    rate = positives / total
    base = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert entropy == pytest.approx(loss / total / base)


def test_the_rate_itself_has_normalized_entropy_one() -> None:
    y = np.array([1, 0, 0, 0], dtype=np.uint8)
    assert metrics.normalized_entropy(y, np.full(4, 0.25, dtype=np.float32)) == pytest.approx(1.0)


@given(points(), st.randoms())
def test_the_order_of_the_rows_means_nothing(case: Points, random: Random) -> None:
    y, score, weight = case
    order = list(range(len(y)))
    random.shuffle(order)
    for figure in (metrics.roc_auc, metrics.average_precision, metrics.top_decile_lift, metrics.lift_quality):
        before, after = figure(y, score, weight), figure(y[order], score[order], weight[order])
        assert (before is None) == (after is None)
        if before is not None:
            assert after == pytest.approx(before, abs=1e-9)


def test_no_points_have_no_figures() -> None:
    y, score = np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.float32)
    for figure in (
        metrics.roc_auc,
        metrics.average_precision,
        metrics.top_decile_lift,
        metrics.lift_quality,
        metrics.normalized_entropy,
        metrics.expected_over_observed,
    ):
        assert figure(y, score) is None


@pytest.mark.parametrize(
    ("y", "score", "weight", "match"),
    [
        ([0, 1], [0.1, math.nan], None, "not finite"),
        ([0, 2], [0.1, 0.2], None, "0 and 1"),
        ([0, 1], [0.1], None, "must be"),
        ([0, 1], [0.1, 0.2], [1.0, -1.0], "weight"),
        ([0, 1], [0.1, 0.2], [1.0], "weight"),
        ([0, 1], [0.1, 0.2], [1.0, math.inf], "weight"),
    ],
)
def test_wrong_arrays_are_refused(y: list[int], score: list[float], weight: list[float] | None, match: str) -> None:
    weights = None if weight is None else np.array(weight)
    with pytest.raises(ValueError, match=match):
        metrics.roc_auc(np.array(y), np.array(score), weights)


def test_a_likelihood_outside_0_and_1_is_refused() -> None:
    y, p = np.array([0, 1]), np.array([0.5, 1.5])
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.normalized_entropy(y, p)
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.expected_over_observed(y, p)


@given(points(), st.integers(0, 1000))
def test_resamples_equal_the_auc_of_points_copied_as_often_as_their_user_was_drawn(case: Points, seed: int) -> None:
    y, score, weight = case
    user = np.array([i % 4 for i in range(len(y))], dtype=np.uint64) * np.uint64(2**62)
    found = metrics.auc_resamples(y, [score, -score], user, weight, resamples=11, seed=seed)
    assert found.shape == (11, 2)
    users = np.unique(user)
    generator = np.random.default_rng(seed)
    for row in found:
        picks = users[generator.integers(0, max(1, len(users)), len(users))]
        copies = np.array([int((picks == u).sum()) for u in user], dtype=np.float64)
        expected = pairs_auc(y, score, weight * copies)
        if expected is None:
            assert np.isnan(row).all()
        else:
            assert row[0] == pytest.approx(expected, abs=1e-9)
            assert row[1] == pytest.approx(1 - expected, abs=1e-9)


def test_the_bootstrap_error_is_that_of_new_samples_of_users() -> None:
    """Points of one user share a level, so errors that ignore users would come out far too small."""
    generator = np.random.default_rng(7)

    def sample() -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.float64]], npt.NDArray[np.int64]]:
        user = np.repeat(np.arange(150), 10)
        level = generator.normal(size=150)[user]
        y = (generator.random(1500) < 1 / (1 + np.exp(-1.5 * level))).astype(np.uint8)
        scores = [level + generator.normal(size=150)[user], level + generator.normal(size=1500)]
        return y, scores, user

    differences, errors = [], []
    for seed in range(60):
        y, scores, user = sample()
        first, second = (metrics.roc_auc(y, score) for score in scores)
        assert first is not None
        assert second is not None
        differences.append(first - second)
        resampled = metrics.auc_resamples(y, scores, user, resamples=60, seed=seed)
        error = metrics.difference_error(resampled[:, 0], resampled[:, 1])
        assert error is not None
        errors.append(error)
    assert float(np.mean(errors)) == pytest.approx(float(np.std(differences)), rel=0.35)


def test_a_difference_of_equal_scores_has_no_error() -> None:
    y = np.array([0, 1, 0, 1, 1, 0] * 5)
    score = np.linspace(0, 1, 30)
    resampled = metrics.auc_resamples(y, [score, score], np.arange(30))
    assert metrics.difference_error(resampled[:, 0], resampled[:, 1]) == 0.0


def test_too_few_usable_resamples_have_no_error() -> None:
    nothing = np.full(5, np.nan)
    assert metrics.difference_error(nothing, nothing) is None
    with pytest.raises(ValueError, match="at least 1"):
        metrics.auc_resamples(np.array([0, 1]), [], np.array([1, 2]), resamples=0)
    with pytest.raises(ValueError, match="user must"):
        metrics.auc_resamples(np.array([0, 1]), [], np.array([1]))


def test_two_models_on_400_thousand_points_take_seconds() -> None:
    """1.6 million points must take less than 20 s; a quarter of them, with room for a slow machine."""
    generator = np.random.default_rng(1)
    y = (generator.random(400_000) < 0.1).astype(np.uint8)
    scores = [generator.random(400_000).astype(np.float32) for _ in range(2)]
    user = generator.integers(0, 20_000, 400_000).astype(np.uint64)
    metrics.auc_resamples(y[:100], [score[:100] for score in scores], user[:100], resamples=1)
    start = time.process_time()
    metrics.auc_resamples(y, scores, user)
    assert time.process_time() - start < 5.0
