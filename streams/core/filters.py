"""Filters as small programs: a tree of the catalog becomes postfix code that the hot loop runs on a row.

One instruction is four integers (code, three operands) and two floats (bounds, both inclusive unless said). The stack
holds truth values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from config.catalog import (
    AllFilter,
    AnyFilter,
    CategoryFilter,
    CountFilter,
    Filter,
    LikelihoodFilter,
    NotFilter,
    ScoreFilter,
    SegmentFilter,
    SinceFilter,
    TraitFilter,
)
from config.checks import MAX_FILTER_PARTS
from config.conditions import Between, Equals, Exists, OneOf, Range
from models.features import DAY_S
from models.jit import F64, I64, U8, jit
from models.layout import TEXT_BASE, Columns, Rows
from streams.core.history import DAYS, HOUR_BUCKETS, HOUR_S, HOURS, History, count_within

ALL, ANY, NOT, SCORE, LIKELIHOOD, CATEGORY, TRAIT_RANGE, TRAIT_IN, TRAIT_EXISTS, TOTAL, WITHIN, SINCE, MEMBER = range(
    13
)

STACK = MAX_FILTER_PARTS  # a value of the stack stands for at least one part of the tree


class Programs(NamedTuple):
    """Code of many filters: `code` [n, 4], `bounds` [n, 2], `values` of TRAIT_IN, `start` [filters + 1]."""

    code: I64
    bounds: F64
    values: F64
    start: I64


class ProgramWriter:
    """Collects instructions; the callables turn names into columns (KeyError when unknown), `encode` trait values."""

    def __init__(
        self,
        prediction: Callable[[str], int],
        segment: Callable[[str], int],
        event: Callable[[str], int],
        history: Callable[[str], int],
        trait: Callable[[str], int],
        encode: Callable[[str, str | float | bool], float],
    ) -> None:
        self._prediction = prediction
        self._segment = segment
        self._event = event
        self._history = history
        self._trait = trait
        self._encode = encode
        self._code: list[tuple[int, int, int, int]] = []
        self._bounds: list[tuple[float, float]] = []
        self._values: list[float] = []
        self._start = [0]

    def add(self, tree: Filter) -> int:
        """Write one filter and return its number."""
        self._write(tree, is_negated=False)
        self._start.append(len(self._code))
        return len(self._start) - 2

    def add_nobody(self) -> int:
        """Write a filter that holds for nobody, and return its number."""
        self._put(ANY, 0)
        self._start.append(len(self._code))
        return len(self._start) - 2

    def build(self) -> Programs:
        """All filters written so far."""
        return Programs(
            np.array(self._code, np.int64).reshape(-1, 4),
            np.array(self._bounds, np.float64).reshape(-1, 2),
            np.array(self._values, np.float64),
            np.array(self._start, np.int64),
        )

    def _put(self, code: int, a: int = 0, b: int = 0, c: int = 0, low: float = 0.0, high: float = 0.0) -> None:
        self._code.append((code, a, b, c))
        self._bounds.append((low, high))

    def _write(self, tree: Filter, *, is_negated: bool) -> None:
        """`is_negated`: it stands below an odd number of `not`."""
        if isinstance(tree, AllFilter | AnyFilter):
            for inner in tree.filters:
                self._write(inner, is_negated=is_negated)
            self._put(ALL if isinstance(tree, AllFilter) else ANY, len(tree.filters))
        elif isinstance(tree, NotFilter):
            self._write(tree.filter, is_negated=not is_negated)
            self._put(NOT)
        elif isinstance(tree, ScoreFilter):
            way = -1 if is_negated else 1
            self._put(SCORE, self._prediction(tree.prediction), way, 0, *_half_open(tree.score, 100.0))
        elif isinstance(tree, LikelihoodFilter):
            self._put(LIKELIHOOD, self._prediction(tree.prediction), 0, 0, *_half_open(tree.likelihood, 1.0))
        elif isinstance(tree, CategoryFilter):
            mask = sum(1 << ("low", "medium", "high").index(c) for c in tree.categories)
            self._put(CATEGORY, self._prediction(tree.prediction), mask)
        elif isinstance(tree, TraitFilter):
            self._write_trait(tree)
        elif isinstance(tree, CountFilter):
            self._write_count(tree)
        elif isinstance(tree, SinceFilter):
            low = -math.inf if tree.since.min_s is None else tree.since.min_s
            high = math.inf if tree.since.max_s is None else tree.since.max_s
            self._put(SINCE, self._event(tree.event), 0, 0, low, high)
        elif isinstance(tree, SegmentFilter):
            self._put(MEMBER, self._segment(tree.segment))
        else:
            raise TypeError(f"no code for {type(tree).__name__}")

    def _write_count(self, tree: CountFilter) -> None:
        low = -math.inf if tree.count.min is None else float(tree.count.min)
        high = math.inf if tree.count.max is None else float(tree.count.max)
        if tree.within_s is None:
            self._put(TOTAL, self._event(tree.event), 0, 0, low, high)
        elif tree.within_s <= HOUR_BUCKETS * HOUR_S:
            self._put(WITHIN, self._history(tree.event), HOURS, int(tree.within_s // HOUR_S), low, high)
        else:
            self._put(WITHIN, self._history(tree.event), DAYS, int(tree.within_s // DAY_S), low, high)

    def _write_trait(self, tree: TraitFilter) -> None:
        column = self._trait(tree.trait)
        condition = tree.condition
        if isinstance(condition, Equals | OneOf):
            wanted = (condition.value,) if isinstance(condition, Equals) else condition.values
            first = len(self._values)
            self._values += [self._encode(tree.trait, v) for v in wanted]
            self._put(TRAIT_IN, column, first, len(wanted))
        elif isinstance(condition, Between):
            low = -math.inf if condition.min is None else condition.min
            high = math.inf if condition.max is None else condition.max
            self._put(TRAIT_RANGE, column, 0, 0, low, high)
        elif isinstance(condition, Exists):
            self._put(TRAIT_EXISTS, column, int(condition.exists))


def _half_open(bounds: Range, top: float) -> tuple[float, float]:
    """[min, max) with the top closed. An end of what is possible becomes infinite: hysteresis must not move it."""
    low = -math.inf if bounds.min is None or bounds.min <= 0.0 else bounds.min
    high = math.inf if bounds.max is None or bounds.max >= top else bounds.max
    return low, high


def encode_trait(value: str | float | bool, code: Callable[[str], int]) -> float:
    """One number per trait value: numbers as they are, truth values and texts as codes above TEXT_BASE."""
    if isinstance(value, bool):
        return TEXT_BASE + float(value)
    if isinstance(value, str):
        return TEXT_BASE + 2.0 + code(value)
    return float(value)


def segments_in_order(filters: dict[str, Filter]) -> list[str]:
    """Ids so that every segment stands behind those it refers to: again and again the first that is ready."""
    order: list[str] = []
    waiting = list(filters)
    while waiting:
        ready = next(n for n in waiting if not any(r in waiting for r in references(filters[n])))
        waiting.remove(ready)
        order.append(ready)
    return order


def references(tree: Filter) -> list[str]:
    """Ids of the segments that a filter names."""
    if isinstance(tree, AllFilter | AnyFilter):
        return [name for inner in tree.filters for name in references(inner)]
    if isinstance(tree, NotFilter):
        return references(tree.filter)
    return [tree.segment] if isinstance(tree, SegmentFilter) else []


@jit
def holds(  # noqa: C901, PLR0912 - an interpreter: one branch per instruction is how it reads best
    programs: Programs,
    which: int,
    rows: Rows,
    c: Columns,
    history: History,
    i: int,
    time_s: float,
    score: F64,
    likelihood: F64,
    category: I64,
    member: U8,
    widen: F64,
    stack: U8,
) -> bool:
    """Whether filter `which` holds for row `i` at `time_s`.

    `score`, `likelihood` (NaN: none), `category` (255: none) per prediction; `member` per segment as decided so
    far; `widen` points per prediction by which score ranges are wider, or narrower below a `not`: what holds now is
    left only that far past its edge; `stack` scratch of STACK.
    """
    top = 0
    for at in range(programs.start[which], programs.start[which + 1]):
        code = programs.code[at, 0]
        a = programs.code[at, 1]
        low = programs.bounds[at, 0]
        high = programs.bounds[at, 1]
        if code == ALL or code == ANY:
            top -= a
            true = code == ALL
            for j in range(a):
                if (stack[top + j] != 0) != (code == ALL):
                    true = code == ANY
        elif code == NOT:
            top -= 1
            true = stack[top] == 0
        elif code == SCORE:
            w = widen[a] * programs.code[at, 2]
            true = low - w <= score[a] < high + w
        elif code == LIKELIHOOD:
            true = low <= likelihood[a] < high
        elif code == CATEGORY:
            true = category[a] < 3 and ((programs.code[at, 2] >> category[a]) & 1) == 1
        elif code == TRAIT_RANGE:
            v = rows.t[i, c.t_trait + a]
            true = v < TEXT_BASE and low <= v <= high
        elif code == TRAIT_IN:
            true = False
            v = rows.t[i, c.t_trait + a]
            for j in range(programs.code[at, 2], programs.code[at, 2] + programs.code[at, 3]):
                if programs.values[j] == v:
                    true = True
        elif code == TRAIT_EXISTS:
            true = np.isnan(rows.t[i, c.t_trait + a]) != (programs.code[at, 2] == 1)
        elif code == TOTAL:
            true = low <= rows.f[i, c.f_total + a] <= high
        elif code == WITHIN:
            n = count_within(history, i, a, programs.code[at, 2], programs.code[at, 3], time_s)
            true = low <= n <= high
        elif code == SINCE:
            latest = rows.u[i, c.u_latest + a]
            true = latest != 0 and low <= time_s - np.float64(latest) < high
        else:
            true = member[a] != 0
        stack[top] = 1 if true else 0
        top += 1
    return stack[0] != 0
