"""Messages move users. Judged by those whom chance has left alone, likelihoods stay right (`benchmarks.holdout`)."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._measure import Progress
from benchmarks.holdout import GROUPS, Judged, Moments, Shop, Size
from models.examples import TOUCH_SENT

pytestmark = pytest.mark.slow  # ten seconds of one core


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = Shop(Size(users=5_000, days=42, from_day=21, holdout=0.2))
    shop.run(Progress("holdout"))
    return shop


@pytest.fixture(scope="module")
def moments(shop: Shop) -> Moments:
    return shop.moments()


def of(moments: Moments, group: str) -> Judged:
    return moments.judge(np.isin(moments.touch, GROUPS[group]))


def test_the_holdout_does_what_was_expected_of_it_and_nobody_sends_to_it(shop: Shop, moments: Moments) -> None:
    held_out = shop.is_held_out(moments)
    assert not (moments.touch[held_out] == TOUCH_SENT).any()
    assert 0.15 < held_out.mean() < 0.25
    found = moments.judge(held_out & shop.is_later(moments))
    assert found.error < 0.12
    assert abs(found.ratio - 1.0) < 2.5 * found.error


def test_the_treated_do_more_than_was_expected_and_more_than_those_of_the_same_occasions(moments: Moments) -> None:
    treated, withheld = of(moments, "treated"), of(moments, "withheld")
    assert treated.ratio < 1.0 - 2.5 * treated.error
    assert withheld.ratio - treated.ratio > 2.0 * np.hypot(treated.error, withheld.error)


def test_the_quality_of_the_learner_tells_the_same_apart(shop: Shop, moments: Moments) -> None:
    """It is what `GET …/quality` answers as `by_touch`."""
    for group, touches in GROUPS.items():
        figures, found = shop.learner.quality.select(touches=touches).figures(), of(moments, group)
        assert figures.n == found.moments
        assert figures.expected_over_observed == pytest.approx(found.ratio, rel=1e-6)
    assert of(moments, "untouched").ratio == pytest.approx(1.0, abs=0.1)
