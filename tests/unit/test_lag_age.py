"""How long the oldest record waits: exactly where it is in hand, else at most as long as it can have."""

from __future__ import annotations

from streams.runtime.lag_age import Behind, LagAges

NOW_S = 1_700_000_000.0


def test_a_record_that_comes_after_a_night_of_silence_has_waited_since_it_came() -> None:
    ages = LagAges()
    worked_s = NOW_S - 40_000.0
    assert ages.age_s(0, Behind(0, None, worked_s), NOW_S) == 0.0
    assert ages.age_s(0, Behind(1, None, worked_s), NOW_S + 10.0) == 10.0
    assert ages.age_s(0, Behind(1, NOW_S + 7.0, worked_s), NOW_S + 20.0) == 13.0
    assert ages.age_s(0, Behind(0, None, NOW_S + 7.0), NOW_S + 30.0) == 0.0


def test_of_what_comes_one_after_another_only_the_oldest_counts() -> None:
    """Behind for an hour, and each record has waited for three seconds."""
    ages = LagAges()
    ages.age_s(0, Behind(0, None, NOW_S), NOW_S)
    for second in range(10, 3_600, 10):
        at_s = NOW_S + second
        assert ages.age_s(0, Behind(500, at_s - 3.0, at_s - 4.0), at_s) == 3.0
        assert ages.age_s(0, Behind(500, None, at_s - 4.0), at_s) == 4.0


def test_before_anything_was_seen_the_last_commit_bounds_it_and_without_one_nobody_knows() -> None:
    ages = LagAges()
    assert ages.age_s(0, Behind(9, None, NOW_S - 3_600.0), NOW_S) == 3_600.0
    assert ages.age_s(1, Behind(9, None, 0.0), NOW_S) is None
    assert ages.age_s(1, Behind(9, NOW_S - 50.0, 0.0), NOW_S) == 50.0


def test_a_clock_that_is_behind_that_of_the_log_makes_no_negative_age() -> None:
    assert LagAges().age_s(0, Behind(1, NOW_S + 2.0, NOW_S), NOW_S) == 0.0


def test_what_was_seen_of_a_partition_says_nothing_once_another_process_has_had_it() -> None:
    ages = LagAges()
    ages.age_s(0, Behind(0, None, NOW_S), NOW_S)
    ages.keep([1])
    assert ages.age_s(0, Behind(3, None, NOW_S - 100.0), NOW_S + 500.0) == 600.0
