"""What predictions expected a week ago: which line is compared with, and what is told where there is none."""

from __future__ import annotations

from streams.adapters.redis_daily import Day
from streams.api.daily import compared

NOW_S = 1_780_000_000.0
DAY_S = 86_400.0


def line(days_ago: float, question: str = "q") -> Day:
    return Day(f"d{days_ago}", NOW_S - days_ago * DAY_S, question, 10.0, 100, (60, 30, 10))


def test_the_nearest_line_of_a_week_ago_is_taken() -> None:
    lines = [line(9.0), line(7.4), line(6.6), line(0.1)]
    assert compared(lines, NOW_S).week_ago == line(7.4)
    assert compared([line(6.51)], NOW_S).week_ago == line(6.51)


def test_a_line_of_another_day_is_not_taken_for_a_week_ago() -> None:
    found = compared([line(8.0), line(6.4), line(2.0)], NOW_S)
    assert found.week_ago is None
    # Half a day before the oldest that is to come is a week old.
    assert found.from_s is not None
    assert abs(found.from_s - (NOW_S + 0.1 * DAY_S)) < 1.0


def test_where_nothing_is_kept_nothing_is_promised() -> None:
    assert compared([], NOW_S) == (None, None)
