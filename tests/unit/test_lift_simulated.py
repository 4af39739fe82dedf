"""On the simulator, whose users have a known true answer to an offer, the measured lift is the true one.

The whole of it, larger and with money: `python -m benchmarks.lift`.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.lift import Coverage, simulate

RUNS, USERS = 100, 1_500
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def coverage() -> Coverage:
    return Coverage(list(simulate(RUNS, USERS, control=0.5)))


def test_the_interval_covers_the_true_effect_in_95_of_100_runs(coverage: Coverage) -> None:
    """The same each time, as chance is seeded: 95, and 97 each with the next two seeds.

    With shops of 1,000 users, of whom a dozen in a group order, the interval is a little too wide (98, 95 and 99); with
    20,000 it was 94 of 100, 97 of money, and 94.5 of each rung (docs/benchmarks.md).
    """
    covered, intervals = coverage.rate()
    assert intervals == RUNS
    assert coverage.true_rate > 0.01
    assert 93 <= covered <= 97


def test_untouched_users_do_what_was_expected_of_them_and_the_treated_do_more(coverage: Coverage) -> None:
    """So likelihoods are judged by the holdout: judged by those who were sent to, they would look far too low."""
    for arm in ("holdout", "control"):
        assert abs(coverage.group(arm).deviations) < 3.0
    treated = coverage.group("treated")
    assert treated.deviations > 10.0
    more = (treated.observed - treated.expected) / treated.users
    assert more == pytest.approx(coverage.true_rate, rel=0.2)


def test_nothing_is_claimed_by_so_few(coverage: Coverage) -> None:
    """Fewer than 50 in a group have done it in a shop of this size: the interval stands, and no claim beside it."""
    assert {run.measured.rate.verdict for run in coverage.runs if run.measured.rate is not None} == {"too early"}


def test_a_larger_offer_has_a_larger_true_effect(coverage: Coverage) -> None:
    """Else there would be nothing to find out about the rungs."""
    rungs = np.concatenate([run.rungs for run in coverage.runs])
    effects = np.concatenate([run.effects for run in coverage.runs])
    means = [float(effects[rungs == rung].mean()) for rung in range(1, 5)]
    assert min(means) > 0.0
