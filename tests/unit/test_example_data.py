"""The data of the examples: complete, in order, and made the same way every time."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import math
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT


def script(folder: str) -> ModuleType:
    """An example's script as a module; examples are no package."""
    path = ROOT / "examples" / folder / "make_events.py"
    spec = importlib.util.spec_from_file_location(f"make_events_{folder}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def purchases() -> list[dict[str, str]]:
    with gzip.open(ROOT / "examples" / "cdnow" / "events.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_cdnow_is_complete(purchases: list[dict[str, str]]) -> None:
    assert len(purchases) == 69_659
    assert len({row["customer_id"] for row in purchases}) == 23_570
    assert (purchases[0]["date"], purchases[-1]["date"]) == ("1997-01-01", "1998-06-30")
    assert math.isclose(sum(float(row["dollar_value"]) for row in purchases), 2_500_315.63, abs_tol=0.01)


def test_cdnow_is_in_order_and_keeps_identical_rows(purchases: list[dict[str, str]]) -> None:
    dates = [row["date"] for row in purchases]
    assert dates == sorted(dates)
    counts = Counter(tuple(row.values()) for row in purchases)
    assert sum(count - 1 for count in counts.values()) == 255


def test_cdnow_is_made_from_its_source_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "CDNOW_master.txt"
    made = tmp_path / "events.csv.gz"
    module = script("cdnow")
    module.write(module.read(source), made)
    committed = (ROOT / "examples" / "cdnow" / "events.csv.gz").read_bytes()
    # The same zlib is not everywhere; what is inside must be the same everywhere.
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(committed)
    assert committed[4:8] == b"\0\0\0\0", "the packed file holds a time of making"


def at(day: int, hour: int = 9) -> datetime:
    return datetime(2011, 1, day, hour)  # noqa: DTZ001  the source has no time zone


ROWS: list[tuple[Any, ...]] = [
    ("536365", 6, at(1, 10), 2.5, 17850.0, "France"),
    ("536365", 1, at(1, 9), 0.1, 17850.0, "France"),
    ("536366", 2, at(1), 1.0, None, "France"),
    ("536367", 2, at(1), 1.0, math.nan, "France"),
    ("C53637", -6, at(3), 2.5, 17850.0, "France"),
    ("536370", 1, at(2), 4.0, 12000.0, "Spain"),
    ("536380", 1, at(4), 4.0, 17850.0, "Malta"),
]


def test_invoices_become_orders_and_refunds() -> None:
    module = script("online_retail")
    ordered, without_customer = module.invoices(ROWS)
    assert without_customer == 2
    events = list(module.events(ordered))
    seen = [(e["type"], e["userId"], e.get("event"), e["timestamp"]) for e in events]
    assert seen == [
        ("identify", "17850", None, "2011-01-01T09:00:00Z"),
        ("track", "17850", "Order Completed", "2011-01-01T09:00:00Z"),
        ("identify", "12000", None, "2011-01-02T09:00:00Z"),
        ("track", "12000", "Order Completed", "2011-01-02T09:00:00Z"),
        ("track", "17850", "Order Refunded", "2011-01-03T09:00:00Z"),
        ("identify", "17850", None, "2011-01-04T09:00:00Z"),
        ("track", "17850", "Order Completed", "2011-01-04T09:00:00Z"),
    ]
    assert [e["properties"]["revenue"] for e in events if e["type"] == "track"] == [15.1, 4.0, -15.0, 4.0]
    assert [e["traits"]["country"] for e in events if e["type"] == "identify"] == ["France", "Spain", "Malta"]
    assert len({e["messageId"] for e in events}) == len(events)


def test_online_retail_is_made_the_same_every_time(shared_data: Path, tmp_path: Path) -> None:
    module = script("online_retail")
    first, second = tmp_path / "first.gz", tmp_path / "second.gz"
    counts = module.write(shared_data / "online_retail.parquet", first)
    assert module.write(shared_data / "online_retail.parquet", second) == counts
    assert first.read_bytes() == second.read_bytes()
    assert counts == {"events": 26_578, "invoices": 22_190, "customers": 4_372, "rows_without_customer": 135_080}
    with gzip.open(first, "rt", encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    names = Counter(event.get("event", event["type"]) for event in events)
    assert names == {"Order Completed": 18_536, "Order Refunded": 3_654, "identify": 4_388}
