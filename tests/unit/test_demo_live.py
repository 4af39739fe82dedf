"""`tideline demo --live`: what its shop tells the log, how it goes on, and what people are told."""

from __future__ import annotations

import json
import re
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from config.errors import InputError, SettingsError
from config.loader import load_catalog
from config.settings import Settings
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_reader import PartitionReader
from streams.cli.demo import demo
from streams.cli.demo_shop import BEGUN_FILE, DemoShop, Size
from streams.runtime import up
from streams.runtime.up import Running
from tests.conftest import ROOT

START_S = 1_790_000_000.0
SIZE = Size(visitors=60, arrive_days=2.0, visited_days=3)
OTHER = replace(SIZE, visitors=61)
PURCHASES = """customer_id,date,number_of_cds,dollar_value
00001,1997-01-01,1,11.77
00002,1997-03-01,1,12.00
00001,1998-06-30,2,30.48
"""


class Wall:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.s = START_S

    def __call__(self) -> float:
        return self.s


@contextmanager
def open_shop(folder: Path, wall: Wall, size: Size = SIZE) -> Iterator[DemoShop]:
    """A shop that has told everything up to now."""
    file = folder / "events.csv"
    file.write_text(PURCHASES)
    said = threading.Event()
    paths = (file, ROOT / "examples/cdnow/catalog.yaml")
    shop = DemoShop(
        folder / "data", Settings(shards=1), paths, lambda words: said.set() if "open" in words else None, wall, size
    )
    (folder / "data").mkdir(exist_ok=True)
    shop.start(threading.Event())
    try:
        assert said.wait(60.0)
        assert shop.ended() is None, "it waits for what comes next"
        yield shop
    finally:
        shop.stop()


def told(folder: Path) -> list[dict[str, Any]]:
    reader = PartitionReader(LogFolder.find(folder / "data").partition("events", 0))
    try:
        return [json.loads(entry.value) for entry in reader.read(0, 1_000_000)]
    finally:
        reader.close()


def times_s(records: list[dict[str, Any]]) -> list[float]:
    return [datetime.fromisoformat(record["timestamp"]).timestamp() for record in records]


def test_purchases_come_first_moved_up_to_the_visits_and_these_go_on(tmp_path: Path) -> None:
    wall = Wall()
    with open_shop(tmp_path, wall):
        pass
    found = told(tmp_path)
    purchases, visits = found[:3], found[3:]
    assert [(each["userId"], each["properties"]["revenue"]) for each in purchases] == [
        ("00001", 11.77), ("00002", 12.0), ("00001", 30.48),
    ]  # fmt: skip
    begun_s = START_S - 3 * 86_400
    first_s, _, last_s = times_s(purchases)
    assert begun_s - 86_400 < last_s <= begun_s
    assert last_s - first_s == 545 * 86_400, "as far apart as they were"
    assert len(visits) > 100
    assert times_s(visits) == sorted(times_s(visits))
    assert times_s(visits)[-1] <= START_S
    customers = {f"{number:05d}" for number in range(1, 61)}
    assert {each["userId"] for each in visits} <= customers

    wall.s += 6 * 3_600
    with pytest.raises(InputError, match=f"{tmp_path / 'data'}: has begun with 60 users; leave --users out"):
        DemoShop(tmp_path / "data", Settings(shards=1), (Path("none"), Path("none")), pytest.fail, wall, OTHER).start(
            threading.Event()
        )
    with open_shop(tmp_path, wall, replace(SIZE, visitors=None)):
        pass
    more = told(tmp_path)
    assert more[: len(found)] == found
    assert len(more) > len(found), "what happened while nobody looked"
    assert all(at_s <= wall.s for at_s in times_s(more))
    ids = [each["messageId"] for each in more]
    # Told twice at most: what was due in the very last millisecond, under the same message id.
    assert len(ids) - len(set(ids)) <= 1
    assert max(times_s(more[len(found) + 1 :])) > times_s(found)[-1]


def test_what_cannot_be_read_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / BEGUN_FILE).write_text("{")
    shop = DemoShop(tmp_path, Settings(shards=1), (Path("none"), Path("none")), pytest.fail, Wall(), SIZE)
    with pytest.raises(InputError, match=f"remove {tmp_path} to begin anew"):
        shop.start(threading.Event())


def test_a_shop_that_cannot_go_on_says_why(tmp_path: Path) -> None:
    shop = DemoShop(
        tmp_path, Settings(shards=1), (tmp_path / "none.csv", ROOT / "examples/cdnow/catalog.yaml"), pytest.fail,
        Wall(), SIZE,
    )  # fmt: skip
    shop.start(threading.Event())
    assert shop._thread is not None
    shop._thread.join(60.0)
    assert "none.csv" in str(shop.ended())
    shop.stop()


def test_its_catalog_is_right_and_sends_nothing_away() -> None:
    file = ROOT / "examples/demo/catalog.yaml"
    load_catalog(file)
    assert re.findall(r"kind: (\w+), consent", file.read_text()) == ["log"]


def test_who_looks_is_given_an_address_that_holds_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []

    def run(job: Any, first_key: Any, watcher: Any, say: Any, stopping: Any, *, beside: Any, announce: Any) -> None:
        del first_key, watcher, stopping
        assert [part.name for part in beside] == ["The shop"]
        say(announce(Running(job, None, "http://127.0.0.1:6066", "http://127.0.0.1:8080", "tl_admin_k")))

    def browse(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr(up, "run_up", run)
    monkeypatch.setattr(webbrowser, "open", browse)
    demo(data_dir=tmp_path / "d", live=True, browse=True)
    said = capsys.readouterr().err
    address = "http://127.0.0.1:8080/console/sign-in#key=tl_admin_k"
    assert address in said
    page = tmp_path / "d" / "open.html"
    assert opened == [page.resolve().as_uri()], "the key is on no command line"
    assert page.stat().st_mode & 0o777 == 0o600
    assert address in page.read_text()


@pytest.mark.parametrize(
    "options",
    [{"live": True, "fresh": True}, {"live": True, "keep": True}, {"browse": True}, {"api_port": 1}, {"users": 9}],
)
def test_options_of_the_two_kinds_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit) as ended:
        demo(**options)
    assert ended.value.exit_code == SettingsError.exit_code
    assert list(tmp_path.iterdir()) == []
