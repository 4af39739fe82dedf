"""A run that goes on with more files equals one run over all files; other files are refused with the reason."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.catalog import Catalog
from config.errors import StoreIncompatible
from config.loader import loads
from streams.adapters.file_order import LATE_SHARE
from streams.adapters.files import FileLog, open_log
from streams.adapters.memory_sinks import ListSink
from streams.adapters.memory_store import MemoryServer, MemoryStore
from streams.commit import Patience
from streams.runtime.about import stored_run
from streams.runtime.replay import Replay, ReplayResult, Totals
from tests.integration.test_replay import CATALOG, Refusing

pytestmark = pytest.mark.timeout(300)  # the core may have to be compiled first

START = datetime(2024, 1, 1, tzinfo=UTC)
PARTS_D = (8, 14, 20)
"""The days up to which each file goes."""
NOW_S = (START + timedelta(days=30)).timestamp()


def clock_after(part: int) -> float:
    """When a file is first read: an hour behind its last event."""
    return (START + timedelta(days=PARTS_D[part], hours=1)).timestamp()


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return loads(CATALOG)


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["who", "what", "at"], *rows])
    return path


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three files, one behind the other; the later ones begin with a few late rows, and each has rows out of order."""
    folder = tmp_path_factory.mktemp("days")
    draw = random.Random(7)
    times = [START + timedelta(days=20 * draw.random()) for _ in range(900)]
    found, before_d = [], 0
    for part, until_d in enumerate(PARTS_D):
        inside = [t for t in times if before_d <= (t - START) / timedelta(days=1) < until_d]
        late = [START + timedelta(days=before_d - draw.random()) for _ in range(4 if part else 0)]
        rows = [(f"u{draw.randrange(40)}", draw.choice(["View", "Order"]), t.isoformat()) for t in [*late, *inside]]
        rows.insert(20, ("", "Order", (START + timedelta(days=until_d)).isoformat()))
        found.append(write(folder / f"day{part + 1}.csv", rows))
        before_d = until_d
    return found


def opened(catalog: Catalog, paths: Sequence[Path], clocks_s: Sequence[float] = ()) -> FileLog:
    return open_log(paths, catalog, NOW_S, clocks_s=clocks_s, late_share=LATE_SHARE)


def replay(
    catalog: Catalog, paths: Sequence[Path], store: MemoryStore, sink: ListSink, clocks_s: Sequence[float] = ()
) -> ReplayResult:
    with opened(catalog, paths, clocks_s) as log:
        return Replay(catalog, log, store, sink, patience=Patience(lambda _: None, attempts=1)).run()


def contents(server: MemoryServer) -> object:
    shard = server.shards[0]
    return (
        Totals.of(shard.blobs),
        shard.rows,
        shard.scores,
        shard.members,
        shard.dead_letters,
        stored_run(shard.blobs),
        shard.generation,
    )


def test_going_on_with_more_files_equals_one_run_over_all(catalog: Catalog, days: list[Path]) -> None:
    one, said = MemoryServer(), ListSink()
    replay(catalog, days, MemoryStore(one), said)
    assert len(said.published) > 20
    server, sink = MemoryServer(), ListSink()
    for number in (1, 2, 3):
        result = replay(catalog, days[:number], MemoryStore(server), sink)
        assert (result.resumed_at > 0) == (number > 1)
    assert contents(server) == contents(one)
    assert sink.published == said.published


def test_stopped_anywhere_and_given_more_files_it_comes_to_the_same(catalog: Catalog, days: list[Path]) -> None:
    one, said = MemoryServer(), ListSink()
    replay(catalog, days, MemoryStore(one), said)
    server, sink = MemoryServer(), ListSink()
    given = [1, 1, 2, 2, 3, 3, 2]
    for step, number in enumerate(given[:-1]):
        with pytest.raises(KeyboardInterrupt):
            replay(catalog, days[:number], Refusing(server, stop_at=2 * step + 2), sink)
    assert 0 < Totals.of(server.shards[0].blobs).position < 900
    replay(catalog, days, MemoryStore(server), sink)
    assert contents(server) == contents(one)
    assert sink.published == said.published


def test_files_that_were_not_begun_may_be_left_out_or_replaced(catalog: Catalog, days: list[Path]) -> None:
    one, said = MemoryServer(), ListSink()
    replay(catalog, [days[0], days[2]], MemoryStore(one), said)
    server, sink = MemoryServer(), ListSink()
    with pytest.raises(KeyboardInterrupt):
        replay(catalog, days, Refusing(server, stop_at=3), sink)
    replay(catalog, days[:1], MemoryStore(server), sink)
    replay(catalog, [days[0], days[2]], MemoryStore(server), sink)
    assert contents(server) == contents(one)
    assert sink.published == said.published


def test_tomorrows_file_is_read_by_tomorrows_clock(catalog: Catalog, days: list[Path]) -> None:
    one, said = MemoryServer(), ListSink()
    clocks_s = [clock_after(part) for part in range(3)]
    replay(catalog, days, MemoryStore(one), said, clocks_s)
    server, sink = MemoryServer(), ListSink()
    for number in (1, 2, 3):
        replay(catalog, days[:number], MemoryStore(server), sink, clocks_s[:number])
    assert contents(server) == contents(one)
    assert sink.published == said.published
    assert "time_in_future" not in Totals.of(server.shards[0].blobs).dead_letters
    with pytest.raises(StoreIncompatible, match=r"day2\.csv with the clock"):
        replay(catalog, days, MemoryStore(server), sink, [clocks_s[0], clocks_s[2]])


def test_the_first_rows_of_a_day_may_be_late(catalog: Catalog, days: list[Path]) -> None:
    with opened(catalog, days) as log:
        assert [file.late_rows for file in log.read_files] == [0, 4, 4]
        assert [stretch.files for stretch in log.stretches] == [1, 2, 3]
        assert log.stretches[-1].rows == log.rows


def refused(catalog: Catalog, server: MemoryServer, paths: Sequence[Path]) -> str:
    with pytest.raises(StoreIncompatible) as found:
        replay(catalog, paths, MemoryStore(server), ListSink())
    return str(found.value)


def test_other_files_are_refused_with_what_to_do(catalog: Catalog, days: list[Path], tmp_path: Path) -> None:
    server = MemoryServer()
    replay(catalog, days[:2], MemoryStore(server), ListSink())
    before = contents(server)
    alone = refused(catalog, server, days[:1])
    assert "day2.csv, which the run has read, is not among the files" in alone
    assert f"tideline replay {days[0]} day2.csv" in alone
    with_new = refused(catalog, server, [days[0], days[2]])
    assert f"tideline replay {days[0]} day2.csv {days[2]}" in with_new
    changed = tmp_path / "day2.csv"
    changed.write_text(days[1].read_text().replace("Order", "View", 1))
    assert "day2.csv has changed since it was read" in refused(catalog, server, [days[0], changed, days[2]])
    assert contents(server) == before


def test_another_first_file_is_another_run(catalog: Catalog, days: list[Path]) -> None:
    server = MemoryServer()
    replay(catalog, days[:2], MemoryStore(server), ListSink())
    before = contents(server)
    for paths in (days[1:], [days[1], days[0]][:1]):
        refused(catalog, server, paths)
    assert contents(server) == before


def test_a_file_that_overlaps_what_was_read_is_refused(catalog: Catalog, days: list[Path], tmp_path: Path) -> None:
    server = MemoryServer()
    replay(catalog, days[:2], MemoryStore(server), ListSink())
    overlapping = write(tmp_path / "more.csv", [["ann", "Order", "2024-01-09T00:00:00Z"]])
    message = refused(catalog, server, [*days[:2], overlapping])
    assert "more.csv: 2024-01-09 to 2024-01-09 (UTC)" in message
    assert "until 2024-01-15" in message
    # From the start on it is read among the others.
    with opened(catalog, [*days[:2], overlapping]) as log:
        assert [stretch.files for stretch in log.stretches] == [1, 3]
