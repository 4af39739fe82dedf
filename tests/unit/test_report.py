"""Charts, words and the log of transitions: small things that people read."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import InputError
from config.loader import loads
from models.quality import WEEK_S
from streams.runtime.about import catalog_differences
from streams.runtime.report.charts import (
    Plot,
    apart,
    auc_axis,
    count_axis,
    nice_step,
    number_axis,
    percent_axis,
    short_count,
    time_axis,
)
from streams.runtime.transition_log import CAUSES, cause_of, count_lines, read_history
from streams.runtime.words import cause, moment, points, rank, short_percent, span

DAY_S = 86_400.0
T0 = datetime(2024, 1, 1, tzinfo=UTC).timestamp()


@given(st.floats(1e-9, 1e12), st.integers(1, 12))
def test_axis_steps_are_round_and_cover_the_span(span_: float, parts: int) -> None:
    step = nice_step(span_, parts)
    assert step * parts >= span_ * (1 - 1e-6)
    assert step <= 10.0 * span_ / parts
    mantissa = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - wanted) for wanted in (1.0, 2.0, 5.0, 10.0)) < 1e-6


@given(st.lists(st.floats(0.0, 1e9), max_size=20))
def test_an_axis_holds_every_value(values: list[float]) -> None:
    axis = number_axis(values, "x", str)
    assert axis.low == 0.0
    assert axis.high >= max(values, default=0.0) * (1 - 1e-9)
    assert axis.ticks[-1][0] == pytest.approx(axis.high)


@given(st.floats(0.0, 4e9), st.floats(0.0, 2e9))
@example(start_s=0.0, length_s=5e-324)
def test_a_time_axis_has_few_labels_in_its_range(start_s: float, length_s: float) -> None:
    axis = time_axis(start_s, start_s + length_s)
    assert len(axis.ticks) <= 9
    assert all(axis.low <= at <= axis.high for at, _ in axis.ticks)


@given(st.lists(st.floats(0.0, 1.0), max_size=30))
@example(values=[1.0])
@example(values=[0.5, 0.999])
def test_an_axis_of_auc_ends_at_one(values: list[float]) -> None:
    axis = auc_axis(values, "ROC AUC")
    assert 0.0 <= axis.low <= 0.5
    assert axis.high <= 1.0 + 1e-9
    assert all(axis.low - 1e-9 <= value <= axis.high + 1e-9 for value in values)
    assert len({label for _, label in axis.ticks}) == len(axis.ticks) >= 2


@given(st.lists(st.floats(0.0, 1.0), max_size=30))
@example(values=[1.0 + 1e-12])
def test_an_axis_of_shares_ends_at_one(values: list[float]) -> None:
    assert percent_axis(values, "share").high <= 1.0 + 1e-9


@given(st.integers(0, 10**7), st.integers(0, 10**7))
@example(top=7, bottom=1)
def test_an_axis_of_counts_has_whole_steps_and_a_tick_at_zero(top: int, bottom: int) -> None:
    axis = count_axis([top], "per week", below=bottom, parts=4)
    assert axis.low <= -bottom
    assert axis.high >= top
    assert 0.0 in [value for value, _ in axis.ticks]
    assert all(value == int(value) and len(label) <= 6 for value, label in axis.ticks)


def test_counts_beside_an_axis_are_short() -> None:
    shown = [short_count(number) for number in (0, 950, 25_000, 250_000, 3_500_000)]
    assert shown == ["0", "950", "25,000", "250k", "3.5M"]


@given(st.lists(st.tuples(st.floats(0.0, 500.0), st.floats(1.0, 60.0)), min_size=1, max_size=30))
def test_labels_never_touch(labels: list[tuple[float, float]]) -> None:
    labels = sorted(labels)
    shown = apart([place for place, _ in labels], [length for _, length in labels])
    assert shown[0]
    kept = [label for label, is_shown in zip(labels, shown, strict=True) if is_shown]
    assert all(a + la / 2 < b - lb / 2 for (a, la), (b, lb) in pairwise(kept))


def test_labels_that_would_overlap_are_left_out_of_a_narrow_plot() -> None:
    axis = time_axis(T0, T0 + 300 * DAY_S, most=12)
    texts = [
        Plot(axis, percent_axis([0.5], ""), "x", width=width).svg().count('text-anchor="middle"')
        for width in (900.0, 300.0)
    ]
    assert texts[0] == len(axis.ticks) > texts[1] > 1


def test_a_plot_is_well_formed_and_leaves_gaps() -> None:
    plot = Plot(percent_axis([0.5], "x & y"), percent_axis([0.1], ""), "what <it> shows")
    plot.line([(0.0, 0.0), (0.2, math.nan), (0.3, 0.1), (0.4, 0.1)], "said")
    plot.dot(0.1, 0.05, "actual", 'a "dot" & more')
    plot.bar(0.0, 0.1, (0.0, 0.05), "users", "a <bar>")
    plot.level(0.05, "right")
    root = ET.fromstring(plot.svg())
    assert root.get("aria-label") == "what <it> shows"
    (path,) = [e.get("d", "") for e in root.iter() if e.get("class") == "line said"]
    assert path.count("M") == 2
    assert {title.text for title in root.iter("title")} == {'a "dot" & more', "a <bar>"}


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (100.0, "top 1%"),
        (93.0, "top 7%"),
        (89.79, "top 11%"),
        (50.0, "top 50%"),
        (12.0, "bottom 12%"),
        (9.2, "bottom 10%"),
        (0.0, "bottom 1%"),
    ],
)
def test_a_percentile_is_called_a_rank(score: float, words: str) -> None:
    assert rank(score) == words
    assert rank(score, risk=True) == words.replace("top", "riskiest").replace("bottom", "least risky")


@pytest.mark.parametrize(
    ("score", "digits", "edges", "words"),
    [
        (89.79, 0, (), "89"),
        (89.97, 1, (), "89.9"),
        (90.0, 0, (), "90"),
        (28.7, 1, (), "28.7"),
        (66.68, 0, (66.67,), "66.68"),
        (66.66, 0, (66.67,), "66"),
        (None, 0, (), "–"),
    ],
)
def test_a_score_is_cut_off(score: float | None, digits: int, edges: tuple[float, ...], words: str) -> None:
    assert points(score, edges, digits) == words


@given(st.floats(0.0, 100.0).map(lambda score: round(score, 2)), st.integers(1, 9_999), st.integers(0, 1))
def test_a_score_is_shown_on_the_right_side_of_an_edge(score: float, hundredths: int, digits: int) -> None:
    edge = hundredths / 100.0
    assert (float(points(score, (edge,), digits)) >= edge) == (score >= edge)


def test_numbers_are_short() -> None:
    assert [short_percent(share) for share in (0.4849, 0.0863, 0.0074, None)] == ["48%", "8.6%", "0.74%", "–"]
    assert (span(30 * DAY_S), span(DAY_S), span(3_600.0)) == ("30 days", "1 day", "1 hour")
    assert (moment(T0), moment(T0 + 3_660)) == ("2024-01-01", "2024-01-01 01:01")
    assert len({cause(name) for name in CAUSES}) == len(CAUSES)


def test_causes_follow_from_origins() -> None:
    found = [cause_of(origin, by_goal) for origin, by_goal in [("live", True), ("live", False), ("decay", False)]]
    assert found == ["goal", "event", "silence"]
    assert [cause_of(o, caused_by_goal=False) for o in ("model", "backfill", "audience", "deleted")] == [
        "model",
        "model",
        "audience",
        "other",
    ]


def line(time: str, segment: str, entered: bool, origin: str = "live") -> str:
    data = f'"segment_id":"{segment}","in_segment":{str(entered).lower()},"origin":"{origin}","caused_by_goal":false'
    return f'{{"time":"{time}","data":{{{data}}}}}\n'


def test_transitions_are_counted_by_week_and_cause(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_text(
        line("2024-01-01T00:00:00Z", "a", entered=True)
        + line("2024-01-07T23:59:59.5Z", "a", entered=False)
        + line("2024-01-22T00:00:00Z", "a", entered=True, origin="decay")
    )
    history = read_history(path)
    assert (history.total, count_lines(path)) == (3, 3)
    assert history.weeks == tuple(T0 + n * WEEK_S for n in range(4))
    assert history.entered["a"][T0]["event"] == 1
    assert history.exited == {"a": {T0: 1}}
    assert history.entered["a"][T0 + 3 * WEEK_S]["silence"] == 1


def test_a_file_that_holds_no_transitions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.ndjson"
    path.write_text("hello\n")
    with pytest.raises(InputError, match="no file of transitions"):
        read_history(path)
    assert count_lines(tmp_path / "none") == 0


def test_differences_of_catalogs_are_named_in_the_words_of_the_file() -> None:
    text = "version: 1\nname: A\npredictions:\n  p: {name: P, goal: {did: X}, window: 7d}\n"
    old = loads(text)
    assert catalog_differences(old, loads(text)) == []
    assert catalog_differences(old, loads(text.replace("7d", "36h"))) == ["predictions.p.window: 7d, now 36h"]
    other = loads(text.replace("did: X", "did_not: X").replace("name: A", "name: B"))
    lines = catalog_differences(old, other)
    assert lines[0] == 'name: "A", now "B"'
    assert {"predictions.p.goal.did: removed", "predictions.p.goal.did_not: new"} <= set(lines)
