"""Numbers and times as JSON text, written by compiled code into a buffer of bytes.

A replay brings transitions by the hundred thousand, and Python's own formatting would be half of its time. Every
`put_` function writes at place `at` and returns the place behind; the caller sees to it that the buffer is long enough.
The text is the one that Python's format gives (`.4f`, `.6g`, `isoformat`): rounded from the exact value of the number.
Few functions call each other in few places: each place costs compiling time at the first start.
"""

from __future__ import annotations

import math

import numpy as np

from models.jit import U8, const, jit

LARGEST = 1e9
"""`put_fixed` writes nothing larger: with six decimals it must fit into the 53 bits of a float."""

_DAY_S = 86_400
_DATE = np.frombuffer(b"0000-00-00T00:00:00", np.uint8)
_NULL = np.frombuffer(b"null", np.uint8)
_ZERO, _MINUS, _POINT, _LETTER_E, _LETTER_Z = (np.uint8(ord(c)) for c in "0-.eZ")
_ONE, _TWO, _FOUR, _SIX, _FOURTEEN = const(1), const(2), const(4), const(6), const(14)
_START = const(0)
_LONGEST = 19  # digits of a 64-bit integer
_MILLION = 1e6
_SPLIT = 134_217_729.0  # 2^27 + 1


@jit
def put(buffer: U8, at: int, text: U8, first: int, last: int) -> int:
    """Copy text[first:last]."""
    for j in range(first, last):
        buffer[at] = text[j]
        at += 1
    return at


@jit
def put_digits(buffer: U8, at: int, value: int, width: int) -> int:
    """A whole number, not negative, with leading zeros up to `width` digits (1: none)."""
    size = width
    bound = 10**width
    while size < _LONGEST and value >= bound:
        size += 1
        bound *= 10
    for j in range(at + size - 1, at - 1, -1):
        buffer[j] = _ZERO + np.uint8(value % 10)
        value //= 10
    return at + size


@jit
def scaled(value: float, scale: float) -> int:
    """The product rounded to the nearest whole number from its exact value, ties to even; not negative, below 2^53.

    The error of the product comes from the two-product of T. Dekker (Numerische Mathematik 18, 1971).
    """
    product = value * scale
    c = _SPLIT * value
    value_high = c - (c - value)
    value_low = value - value_high
    c = _SPLIT * scale
    scale_high = c - (c - scale)
    scale_low = scale - scale_high
    error = (value_high * scale_high - product) + value_high * scale_low + value_low * scale_high
    error += value_low * scale_low
    whole = math.floor(product)
    above = (product - whole - 0.5) + error
    result = whole
    if above > 0.0 or (above == 0.0 and result % 2 == 1):
        result += 1
    return result


@jit
def _put_point(buffer: U8, end: int, decimals: int) -> int:
    """Move the last `decimals` digits up by one and put a point before them."""
    for j in range(end, end - decimals, -1):
        buffer[j] = buffer[j - 1]
    buffer[end - decimals] = _POINT
    return end + 1


@jit
def put_fixed(buffer: U8, at: int, value: float, decimals: int) -> int:
    """A number with `decimals` digits (1 to 6) behind the point, `null` for NaN; beyond LARGEST, LARGEST."""
    if np.isnan(value):
        return put(buffer, at, _NULL, _START, _FOUR)
    if value < 0.0:
        buffer[at] = _MINUS
        at += 1
    digits = scaled(min(abs(value), LARGEST), 10.0**decimals)
    return _put_point(buffer, put_digits(buffer, at, digits, decimals + 1), decimals)


@jit
def put_share(buffer: U8, at: int, value: float) -> int:
    """A number in [0, 1] with six significant digits and no zeros behind them; `null` for NaN. Exact down to 1e-17."""
    if np.isnan(value):
        return put(buffer, at, _NULL, _START, _FOUR)
    exponent = 0  # value = digits / 10^5 / 10^exponent, with six digits
    power = 1.0
    while 0.0 < value * power < 1.0:
        power *= 10.0
        exponent += 1
    digits = scaled(value, power * 1e5) if exponent <= 17 else scaled(value * power, 1e5)
    if digits >= 1_000_000:
        digits = 100_000
        exponent -= 1
    last = 5  # digits behind the first one
    while last > 0 and digits % 10 == 0:
        digits //= 10
        last -= 1
    small = exponent > 4  # as 1.5e-05, else as 0.00015
    decimals = last if small else last + exponent
    at = put_digits(buffer, at, digits, decimals + 1)
    if decimals > 0:
        at = _put_point(buffer, at, decimals)
    if small:
        buffer[at] = _LETTER_E
        buffer[at + 1] = _MINUS
        at = put_digits(buffer, at + 2, exponent, _TWO)
    return at


@jit
def put_time(buffer: U8, at: int, time_s: float) -> int:
    """Seconds since 1970 (not before) as RFC 3339, UTC, to the microsecond, or to the second when it is whole."""
    whole_s = math.floor(time_s)
    micro = scaled(time_s - whole_s, _MILLION)
    if micro == 1_000_000:
        whole_s += 1
        micro = 0
    second = whole_s % _DAY_S
    clock = (second // 3600 * 100 + second // 60 % 60) * 100 + second % 60
    put_digits(buffer, at, date_digits(whole_s // _DAY_S) * 1_000_000 + clock, _FOURTEEN)
    take = at + 13
    end = at + len(_DATE)
    for j in range(len(_DATE) - 1, -1, -1):  # spread the digits over the form of a date, the last one first
        if _DATE[j] == _ZERO:
            buffer[at + j] = buffer[take]
            take -= 1
        else:
            buffer[at + j] = _DATE[j]
    if micro != 0:
        buffer[end] = _POINT
        end = put_digits(buffer, end + 1, micro, _SIX)
    buffer[end] = _LETTER_Z
    return end + 1


@jit
def date_digits(day: int) -> int:
    """A day since 1970 as the number YYYYMMDD.

    From H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days: years begin in March, so that the
    leap day is the last one.
    """
    shifted = day + 719_468  # since 0000-03-01
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day_of_month = of_year - (153 * month + 2) // 5 + 1
    year += era * 400
    if month < 10:
        month += 3
    else:
        month -= 9
        year += 1
    return (year * 100 + month) * 100 + day_of_month
