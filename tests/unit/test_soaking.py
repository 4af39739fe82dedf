"""What a soak makes of what it has seen."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from benchmarks._soaking import Sample, complaints, growth, growth_percent, sample_of
from benchmarks.soak import Limits, figures_of, judged
from streams.runtime.logs import JsonFormatter

PAGE = """
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 2.5e+08
# TYPE tideline_lag_records gauge
tideline_lag_records{partition="0"} 3.0
tideline_lag_records{partition="1"} 4.0
# TYPE tideline_records_total counter
tideline_records_total{partition="0"} 100.0
tideline_records_total{partition="1"} 50.0
# TYPE tideline_client_errors_total counter
tideline_client_errors_total{client="redis",error="StoreUnavailable"} 2.0
# TYPE tideline_dead_letters_total counter
tideline_dead_letters_total{partition="1",reason="missing_user"} 1.0
# TYPE tideline_store_memory_bytes gauge
tideline_store_memory_bytes{server="here"} 5.0e+07
"""


NOTHING = {"WARNING": 0, "ERROR": 0, "CRITICAL": 0, "traceback": 0}


def sample(at_s: float, **given: float) -> Sample:
    return Sample(at_s, 2e8, 5e7, 10.0, 100.0 * at_s, 0.0, 0.0)._replace(**given)


def test_a_page_of_metrics_is_summed_over_partitions() -> None:
    assert sample_of(PAGE, 7.0) == Sample(7.0, 2.5e8, 5e7, 7.0, 150.0, 2.0, 1.0)


@pytest.mark.parametrize("family", re.findall("# TYPE ([a-z_]+) ", PAGE))
def test_a_page_without_what_is_looked_at_is_refused(family: str) -> None:
    page = "".join(line for line in PAGE.splitlines(keepends=True) if family not in line)
    with pytest.raises(ValueError, match=f"has no {family.removesuffix('_total')}$"):
        sample_of(page, 7.0)


def test_a_counter_without_anything_counted_is_nothing() -> None:
    page = "".join(line for line in PAGE.splitlines(keepends=True) if not line.startswith("tideline_client_errors"))
    assert sample_of(page, 7.0).client_errors == 0.0


def test_growth_is_that_of_a_line_and_one_value_far_off_does_not_move_it() -> None:
    at_s = [float(n) for n in range(101)]
    values = [1_000.0 + 2.0 * n for n in range(101)]
    assert growth(at_s, values) == pytest.approx(200.0)
    values[50] = 1e9
    assert growth(at_s, values) == pytest.approx(200.0)
    assert growth_percent(at_s, values) == pytest.approx(100.0 * 200.0 / 1_100.0, rel=0.01)


def test_of_one_look_nothing_is_known_and_that_is_past_every_limit() -> None:
    figures = figures_of([sample(0.0), sample(60.0), sample(61.0)], 60.0, 100.0)
    assert figures["samples"] == 1
    found = Limits(2.0).broken({**figures, "drain_s": 1.0, "events_missing": 0, "log_errors": 0})
    assert found == ["worker_growth_percent", "store_growth_percent", "lag_growth_s"]


def test_a_worker_that_is_behind_all_the_time_does_not_keep_up() -> None:
    seen = [sample(float(n), lag_records=1_100.0) for n in range(62)]
    rest = {"drain_s": 1.0, "events_missing": 0, "log_errors": 0}
    assert Limits(2.0).broken({**figures_of(seen, 60.0, 100.0), **rest}) == ["lag_p95_s"]


def test_a_worker_that_stays_as_it_is_is_within_its_limits_and_the_first_third_is_not_judged() -> None:
    seen = [sample(float(n), rss_bytes=2e8 - max(0.0, 1e6 * (20 - n))) for n in range(61)]
    assert min(each.at_s for each in judged(seen, 20.0)) == 20.0
    figures = {**figures_of([*seen, sample(62.0, lag_records=0.0)], 60.0, 100.0)}
    rest = {"drain_s": 1.0, "events_missing": 0, "log_errors": 0}
    assert Limits(2.0).broken({**figures, **rest}) == []
    assert figures["lag_p95_s"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("worker_growth_percent", {"rss_bytes": 2e5}),
        ("store_growth_percent", {"store_bytes": 2e5}),
        ("lag_growth_s", {"lag_records": 10.0}),
    ],
)
def test_what_grows_is_told(name: str, given: dict[str, float]) -> None:
    base = sample(0.0)._asdict()
    seen = [sample(float(n), **{key: base[key] + n * slope for key, slope in given.items()}) for n in range(62)]
    rest = {"drain_s": 1.0, "events_missing": 0, "log_errors": 0}
    assert Limits(2.0).broken({**figures_of(seen, 60.0, 100.0), **rest}) == [name]


@pytest.mark.parametrize("name", ["drain_s", "events_missing", "log_errors", "client_errors", "dead_letters"])
def test_what_goes_wrong_is_told(name: str) -> None:
    figures = figures_of([sample(float(n)) for n in range(62)], 60.0, 100.0)
    rest = {"drain_s": 1.0, "events_missing": 0, "log_errors": 0}
    assert Limits(2.0).broken({**figures, **rest, name: 20}) == [name]


def test_complaints_of_a_log_are_counted_by_level(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text(
        "2026-11-23 17:00:00,001 INFO streams: Working. ERROR is a word here\n"
        "2026-11-23 17:00:00,002 WARNING streams.x: it waits\n"
        "2026-11-23 17:00:00,003 ERROR streams.x: it failed\n"
        "Traceback (most recent call last):\n"
        "2026-11-23 17:00:00,004 CRITICAL streams.x: the end\n"
    )
    assert complaints(log) == {"WARNING": 1, "ERROR": 1, "CRITICAL": 1, "traceback": 1}
    assert complaints(log, log.read_bytes().index(b"Traceback")) == {**NOTHING, "CRITICAL": 1, "traceback": 1}


def test_complaints_of_a_log_of_objects_are_counted_too(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    told = [("info", "well"), ("warning", "it waits"), ("error", "it failed")]
    lines = [
        JsonFormatter().format(logging.LogRecord("streams", getattr(logging, level.upper()), "", 0, words, None, None))
        for level, words in told
    ]
    log.write_text("\n".join(lines))
    assert complaints(log) == {**NOTHING, "WARNING": 1, "ERROR": 1}
