"""Which points are judged, and what was known at each of them."""

from __future__ import annotations

import errno
from math import nan
from typing import Any

import numpy as np
import pytest

from config.errors import TidelineError
from config.loader import loads
from models.examples import KIND_EVENT, KIND_SILENT, ExampleChunk
from streams.core.events import Event
from streams.runtime.evaluation.points import Collector, Points
from streams.runtime.lockstep import LockStep
from tests.unit.evaluation_world import DAY_S, NAMES, START_S, Rows, make_world, prediction

HOUR_S = 3_600.0


def rows(time_s: list[float], y: list[int], kind: list[int] | None = None) -> Rows:
    n = len(time_s)
    return Rows(
        x=np.arange(3 * n, dtype=np.float32).reshape(n, 3),
        y=np.array(y, dtype=np.uint8),
        time_s=np.array(time_s, dtype=np.float64),
        user=np.arange(n, dtype=np.uint64),
        kind=np.array(kind or [0] * n, dtype=np.uint8),
        likelihood=np.full(n, 0.5, dtype=np.float32),
        heuristic=np.zeros(n, dtype=np.float32),
    )


def collected(some: Rows, end_s: float, lateness_s: float = 0.0) -> Points:
    with Collector("orders", prediction("1d"), lateness_s) as collector:
        collector.collect(some.chunk(1))
        return collector.points(START_S, end_s, NAMES)


def test_the_judged_points_are_those_of_the_definition() -> None:
    world = make_world(seed=3, users=60)
    asked = prediction("7d")
    points = world.points(asked)
    # Word for word: from the first weekly training that has both classes on, windows inside the data, by time.
    first_s = None
    week_s = world.start_s + 67 * DAY_S
    while first_s is None and week_s < world.end_s:
        known = [
            y
            for y, t in zip(points.y.tolist(), points.time_s, strict=True)
            if (np.floor((t + 7 * DAY_S) / HOUR_S) + 1) * HOUR_S <= week_s
        ]
        first_s = week_s if 0 < sum(known) < len(known) else None
        week_s += 7 * DAY_S
    assert first_s is not None
    expected = [row for row, t in enumerate(points.time_s.tolist()) if t >= first_s and t + 7 * DAY_S <= world.end_s]
    expected.sort(key=lambda row: points.time_s[row])
    assert len(expected) > 100
    assert points.judged.tolist() == expected


def test_no_point_is_judged_before_both_classes_are_known() -> None:
    """The only early goal is at day 70, known at day 71; trainings could be at days 61, 68, 75."""
    times_s = [START_S + day * DAY_S for day in range(100)]
    some = rows(times_s, [int(day == 70 or day > 80) for day in range(100)])
    points = collected(some, end_s=times_s[-1])
    assert points.training_times_s[0] == START_S + 75 * DAY_S
    assert np.diff(points.training_times_s).tolist() == [7 * DAY_S] * 3
    assert points.judged.tolist() == list(range(75, 99))


def test_without_a_goal_nothing_is_judged() -> None:
    times_s = [START_S + day * DAY_S for day in range(100)]
    points = collected(rows(times_s, [0] * 100), end_s=times_s[-1])
    assert len(points.training_times_s) == 0
    assert points.judged.tolist() == []


def test_a_label_is_known_at_the_first_whole_hour_later_than_window_and_lateness() -> None:
    hour_s = np.ceil(START_S / HOUR_S) * HOUR_S
    points = collected(rows([hour_s - 10.0, hour_s, hour_s + 0.5], [0, 1, 0]), hour_s + 5 * DAY_S, lateness_s=1_800.0)
    label_s = hour_s + DAY_S
    assert points.matured_s.tolist() == [label_s + HOUR_S] * 3
    punctual = collected(rows([hour_s - 0.5, hour_s], [0, 1]), hour_s + 5 * DAY_S)
    assert punctual.matured_s.tolist() == [label_s, label_s + HOUR_S]  # never in the hour in which the window ends
    assert points.known_at(label_s + HOUR_S - 1.0) == 0
    assert points.known_at(label_s + HOUR_S) == 3


@pytest.mark.parametrize("lateness", ["0s", "30m"])
def test_labels_are_known_when_the_engine_hands_them_out(lateness: str) -> None:
    """Events at midnight, as dates give them, on half hours, and between: the hour is that of the chunk itself."""
    catalog = loads(
        f"{{version: 1, name: small, time: {{lateness: {lateness}}}, "
        "predictions: {orders: {name: Orders, goal: {did: Order}, window: 1d}}}"
    )
    out_s: list[float] = []
    times_s = [1_700_006_400.0 + 1_800.0 * half + extra for half in range(0, 500, 3) for extra in (0.0, 700.5)]
    with Collector("orders", catalog.predictions["orders"], catalog.time.lateness_s) as collector:

        def take(chunk: ExampleChunk) -> None:
            wanted = int(np.isin(chunk.kind, (KIND_EVENT, KIND_SILENT)).sum())
            out_s.extend([engine.shard.hour * HOUR_S] * wanted)
            collector.collect(chunk)

        engine = LockStep(catalog, on_chunk=take)
        engine.take([Event(f"u{n % 7}", "Order", t, nan, n, None, None, n, t) for n, t in enumerate(times_s)])
        points = collector.points(times_s[0], times_s[-1], engine.shard.vocabulary.feature_names())
    assert len(out_s) > 200
    assert points.matured_s.tolist() == out_s


def test_an_example_handed_out_late_is_not_known_before_those_handed_out_earlier() -> None:
    points = collected(rows([START_S + 7_200.0, START_S], [0, 1]), START_S + 5 * DAY_S)
    assert points.matured_s[1] == points.matured_s[0]


def test_features_come_back_from_the_file_in_order_and_crossings_stay_out() -> None:
    first, second = rows([START_S, START_S + 1, START_S + 2], [0, 1, 0], [0, 2, 1]), rows([START_S + 3], [1])
    with Collector("orders", prediction()) as collector:
        collector.collect(first.chunk(1))
        collector.collect(second.chunk(2))
        points = collector.points(START_S, START_S + 10, NAMES)
    # The file is gone with the collector; the mapping is not.
    assert np.asarray(points.x).tolist() == [[0.0, 1.0, 2.0], [6.0, 7.0, 8.0], [0.0, 1.0, 2.0]]
    assert points.time_s.tolist() == [START_S, START_S + 2, START_S + 3]
    assert points.y.tolist() == [0, 0, 1]
    assert len(points) == 3


def test_chunks_may_be_reused_by_the_engine() -> None:
    some = rows([START_S], [1])
    with Collector("orders", prediction()) as collector:
        collector.collect(some.chunk(1))
        some.x[:] = 99.0
        some.y[:] = 0
        points = collector.points(START_S, START_S + 10, NAMES)
    assert np.asarray(points.x).tolist() == [[0.0, 1.0, 2.0]]
    assert points.y.tolist() == [1]


def test_nothing_collected_is_no_points() -> None:
    with Collector("orders", prediction()) as collector:
        points = collector.points(START_S, START_S + 365 * DAY_S, NAMES)
    assert points.x.shape == (0, 3)
    assert len(points) == 0
    assert len(points.judged) == 0


def test_chunks_of_another_order_prediction_or_width_are_refused() -> None:
    some = rows([START_S], [1])
    with Collector("orders", prediction()) as collector:
        collector.collect(some.chunk(1))
        narrow = some.chunk(2)
        narrow = ExampleChunk(
            0, 2, narrow.x[:, :2], *(getattr(narrow, name) for name in list(ExampleChunk.__slots__)[3:])
        )
        for wrong in (some.chunk(1), some.chunk(3), some.chunk(2, index=1), narrow):
            with pytest.raises(ValueError, match="cannot follow"):
                collector.collect(wrong)
        with pytest.raises(ValueError, match="feature names"):
            collector.points(START_S, START_S + 1, NAMES[:2])


def test_examples_that_nobody_scored_are_refused() -> None:
    some = rows([START_S, START_S + 1], [1, 0])
    some.likelihood[1] = np.nan
    with Collector("orders", prediction()) as collector, pytest.raises(ValueError, match="cannot be judged"):
        collector.collect(some.chunk(1))


def test_a_full_disk_says_what_to_do() -> None:
    class Full:
        def write(self, _data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None: ...

    with Collector("orders", prediction()) as collector:
        collector._file.close()
        collector._file = Full()  # type: ignore[assignment]
        with pytest.raises(TidelineError, match="set TMPDIR"):
            collector.collect(rows([START_S], [1]).chunk(1))
