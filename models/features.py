"""Features of one user: the update by an event and the vector at a time (docs/core.md).

Both are plain functions over the row views, compiled by numba; called uncompiled (`.py_func`) they are
their own reference. Decayed counters add up in any order, so late events need no special case.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from models.jit import F32, F64, I64, U8, jit
from models.layout import (
    FIRST_T,
    GAP_LAST,
    INSTANTS,
    LAST_T,
    SESSIONS,
    TEXT_BASE,
    VALUE_LAST,
    VALUE_N,
    VALUE_SUM,
    Columns,
    Rows,
)

DAY_S = 86_400.0
NEVER_EXTRA_DAYS = 30.0  # a name that never happened counts as this much older than the user


class FeatureSpec(NamedTuple):
    """What the feature functions need beside the row.

    Shapes: `half_life_s` [halves]; `named` [names], 0 for a column that has no event name yet;
    `trait_column`, `trait_value` one entry per trait feature, the value NaN for a numeric trait and
    infinite for a column that has no value yet.
    """

    half_life_s: F64
    named: U8
    trait_column: I64
    trait_value: F64
    session_gap_s: float


@jit
def start_row(rows: Rows, c: Columns, i: int, time_s: float) -> None:
    """Make row `i` that of a user first seen at `time_s`; the row must be zeroed."""
    rows.t[i, FIRST_T] = time_s
    rows.t[i, LAST_T] = time_s
    rows.t[i, 2] = np.nan
    for j in range(c.t_entered, c.t_trait + c.traits):
        rows.t[i, j] = np.nan
    for p in range(c.predictions):
        rows.f[i, c.f_z + p] = np.nan
        rows.f[i, c.f_score + p] = np.nan
        rows.b[i, c.b_category + p] = 255


@jit
def update_row(rows: Rows, c: Columns, spec: FeatureSpec, i: int, name: int, time_s: float, value: float) -> None:
    """Add one event to row `i`; `name` is -1 for identify, `value` NaN for none."""
    last = rows.t[i, LAST_T]
    forward = time_s > last
    if forward:
        _decay_row(rows, c, spec, i, time_s - last)
        rows.t[i, LAST_T] = time_s
    if name >= 0:
        _count_event(rows, c, spec, i, name, time_s, value)
        if rows.f[i, SESSIONS] == 0.0:
            rows.f[i, SESSIONS] = 1.0
        elif time_s > last + spec.session_gap_s:
            rows.f[i, SESSIONS] += np.float32(1.0)
        if forward:
            rows.f[i, GAP_LAST] = time_s - last
            rows.f[i, INSTANTS] += np.float32(1.0)


@jit
def _decay_row(rows: Rows, c: Columns, spec: FeatureSpec, i: int, elapsed_s: float) -> None:
    for h in range(c.halves):
        factor = 2.0 ** (-elapsed_s / spec.half_life_s[h])
        for k in range(c.names):
            j = c.f_count + k * c.halves + h
            if rows.f[i, j] != 0.0:
                rows.f[i, j] = np.float64(rows.f[i, j]) * factor
        if c.has_value:
            rows.f[i, c.f_value + h] = np.float64(rows.f[i, c.f_value + h]) * factor


@jit
def _count_event(rows: Rows, c: Columns, spec: FeatureSpec, i: int, name: int, time_s: float, value: float) -> None:
    spec.named[name] = 1  # here and not at decoding: a name begins with its first accepted event
    behind = rows.t[i, LAST_T] - time_s
    valued = c.has_value and not np.isnan(value)
    for h in range(c.halves):
        factor = 1.0 if behind <= 0.0 else 2.0 ** (-behind / spec.half_life_s[h])
        j = c.f_count + name * c.halves + h
        rows.f[i, j] = np.float64(rows.f[i, j]) + factor
        if valued:
            rows.f[i, c.f_value + h] = np.float64(rows.f[i, c.f_value + h]) + factor * value
    rows.f[i, c.f_total + name] += np.float32(1.0)
    whole = np.uint32(max(1.0, math.floor(time_s)))
    if whole > rows.u[i, c.u_latest + name]:
        rows.u[i, c.u_latest + name] = whole
    if valued:
        if behind <= 0.0 or rows.f[i, c.f_money + VALUE_N] == 0.0:
            rows.f[i, c.f_money + VALUE_LAST] = value
        rows.f[i, c.f_money + VALUE_SUM] = np.float64(rows.f[i, c.f_money + VALUE_SUM]) + value
        rows.f[i, c.f_money + VALUE_N] += np.float32(1.0)


@jit
def _signed_log(v: float) -> float:
    return math.log1p(v) if v >= 0.0 else -math.log1p(-v)


@jit
def _number(v: float) -> float:
    """A trait as a number: truth values are 1 and 0, texts and missing ones 0."""
    if v == TEXT_BASE + 1.0:
        return 1.0
    return 0.0 if np.isnan(v) or v >= TEXT_BASE else v


@jit
def features_at(rows: Rows, c: Columns, spec: FeatureSpec, i: int, time_s: float, x: F32) -> None:
    """Write the features of row `i` at `time_s` (>= its last event) into `x`, shape [features]."""
    elapsed = time_s - rows.t[i, LAST_T]
    age_days = max(0.0, time_s - rows.t[i, FIRST_T]) / DAY_S
    never = math.log1p(age_days + NEVER_EXTRA_DAYS)
    width = c.halves + 2
    for h in range(c.halves):
        factor = 2.0 ** (-elapsed / spec.half_life_s[h])
        for k in range(c.names):
            v = np.float64(rows.f[i, c.f_count + k * c.halves + h])
            x[k * width + h] = math.log1p(v * factor) if v > 0.0 else 0.0
        if c.has_value:
            x[c.names * width + h] = _signed_log(np.float64(rows.f[i, c.f_value + h]) * factor)
    for k in range(c.names):
        total = np.float64(rows.f[i, c.f_total + k])
        x[k * width + c.halves] = math.log1p(total) if total > 0.0 else 0.0
        latest = rows.u[i, c.u_latest + k]
        since = never if spec.named[k] else 0.0
        if latest != 0:
            since = math.log1p(max(0.0, time_s - np.float64(latest)) / DAY_S)
        x[k * width + c.halves + 1] = since
    at = c.names * width
    if c.has_value:
        at += c.halves
        n = np.float64(rows.f[i, c.f_money + VALUE_N])
        x[at] = _signed_log(np.float64(rows.f[i, c.f_money + VALUE_LAST]))
        x[at + 1] = _signed_log(np.float64(rows.f[i, c.f_money + VALUE_SUM]) / n) if n > 0.0 else 0.0
        at += 2
    instants = np.float64(rows.f[i, INSTANTS])
    mean_gap = 0.0
    if instants > 0.0:
        mean_gap = (rows.t[i, LAST_T] - rows.t[i, FIRST_T]) / instants
    x[at] = math.log1p(np.float64(rows.f[i, SESSIONS]))
    x[at + 1] = math.log1p(age_days)
    x[at + 2] = math.log1p(mean_gap / DAY_S)
    x[at + 3] = math.log1p(np.float64(rows.f[i, GAP_LAST]) / DAY_S)
    x[at + 4] = math.log1p(elapsed / DAY_S)
    x[at + 5] = math.log1p(elapsed / (mean_gap + DAY_S))
    at += 6
    for j in range(spec.trait_column.shape[0]):
        v = rows.t[i, c.t_trait + spec.trait_column[j]]
        wanted = spec.trait_value[j]
        if np.isnan(wanted):
            x[at + j] = _number(v)
        else:
            x[at + j] = 1.0 if v == wanted else 0.0


@jit
def heuristic_at(rows: Rows, c: Columns, i: int, time_s: float, names: I64) -> float:
    """log1p(frequency) - 0.7 log1p(days since), over `names`; over all names less 10 for who did none."""
    frequency = 0.0
    latest = np.uint32(0)
    for j in range(names.shape[0]):
        frequency += np.float64(rows.f[i, c.f_total + names[j]])
        latest = max(latest, rows.u[i, c.u_latest + names[j]])
    if latest != 0:
        days = max(0.0, time_s - np.float64(latest)) / DAY_S
        return math.log1p(frequency) - 0.7 * math.log1p(days)
    for k in range(c.names):
        frequency += np.float64(rows.f[i, c.f_total + k])
    days = (time_s - rows.t[i, LAST_T]) / DAY_S
    return math.log1p(frequency) - 0.7 * math.log1p(days) - 10.0
