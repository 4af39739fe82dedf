"""Numbers and times written by compiled code are the text that Python's own formatting gives."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core import json_text as text

BYTES = 64


def written(put: object, *values: Any) -> str:
    buffer = np.zeros(BYTES, np.uint8)
    end = put(buffer, np.int64(3), *values)  # type: ignore[operator]
    assert not buffer[:3].any()
    assert not buffer[end:].any(), "bytes behind the end were touched"
    return buffer[3:end].tobytes().decode()


@given(st.floats(-1e9, 1e9), st.integers(1, 6))
def test_fixed_decimals_are_those_of_python(value: float, decimals: int) -> None:
    assert written(text.put_fixed, value, np.int64(decimals)).replace("-0.", "0.") == f"{value:.{decimals}f}".replace(
        "-0.", "0."
    )


@given(st.integers(0, 2000), st.integers(1, 6))
def test_ties_go_to_the_even_digit(eighths: int, decimals: int) -> None:
    value = eighths / 8.0
    assert written(text.put_fixed, value, np.int64(decimals)) == f"{value:.{decimals}f}"


@given(st.floats(0.0, 1.0) | st.floats(1e-17, 1e-3) | st.integers(0, 10**6).map(lambda n: n / 10**6))
def test_shares_have_six_significant_digits(value: float) -> None:
    if value == 0.0 or value >= 1e-17:
        assert written(text.put_share, value) == f"{value:.6g}"


@given(st.floats(1e-300, 1e-17))
def test_shares_too_small_for_exact_digits_are_close(value: float) -> None:
    assert float(written(text.put_share, value)) == pytest.approx(value, rel=2e-6)


@pytest.mark.parametrize("value", [0.5, 0.999999, 0.9999994, 0.9999996, 0.09999996, 9.9999996e-5, 1e-4, 1e-5, 1e-12])
def test_shares_at_the_edges_of_their_forms(value: float) -> None:
    assert written(text.put_share, value) == f"{value:.6g}"


def test_what_is_not_a_number_is_null() -> None:
    assert written(text.put_fixed, math.nan, np.int64(2)) == "null"
    assert written(text.put_share, math.nan) == "null"
    assert written(text.put_fixed, math.inf, np.int64(2)) == "1000000000.00"
    assert written(text.put_fixed, -1e300, np.int64(4)) == "-1000000000.0000"


@given(st.integers(0, 2**62), st.integers(1, 19))
def test_whole_numbers(value: int, width: int) -> None:
    assert written(text.put_digits, value, np.int64(min(width, 18))) == f"{value:0{min(width, 18)}d}"


def iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")


@given(st.floats(0.0, 4_102_444_800.0) | st.integers(0, 4_102_444_800).map(float))
def test_times_are_those_of_python(time_s: float) -> None:
    assert written(text.put_time, time_s) == iso(time_s)


@pytest.mark.parametrize("time_s", [0.9999999, 951782399.9999999, 1.5e9 + 0.5, 68169600.0, 1709251199.999999])
def test_times_at_the_edges(time_s: float) -> None:
    assert written(text.put_time, time_s) == iso(time_s)


def test_every_day_of_a_hundred_and_fifty_years() -> None:
    first = datetime(1970, 1, 1, tzinfo=UTC).date()
    wanted = [int((first + timedelta(days=day)).strftime("%Y%m%d")) for day in range(150 * 365)]
    assert [text.date_digits(day) for day in range(150 * 365)] == wanted
