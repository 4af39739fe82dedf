"""What does not fit is told: records that could not be used, and event names that never occur."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.shop_world import Shop
from tests.integration.small_shop import CATALOG, replay, rows, run

pytestmark = pytest.mark.timeout(300)


def test_a_run_that_used_nothing_ends_with_an_error_and_what_to_do(tmp_path: Path) -> None:
    made = [{**row, "at": "1704067200000"} for row in rows(40)]
    catalog = CATALOG.replace("{field: at}", "{field: at, unit: s}")
    code, out, err = replay(tmp_path, made, catalog)
    assert (code, out) == (3, "")
    assert "none of the 40 records could be used" in err
    assert "40 × time_out_of_range: 1704067200000 is 2024-01-01 if it is in milliseconds" in err
    assert "set input.time.unit: ms" in err
    assert "events.csv row" in err
    assert "--fresh" in err
    # Run again, it says the same; and it is said to a script, too.
    code, out, err = replay(tmp_path, made, catalog, "--json")
    assert (code, json.loads(out)["refused"][0]["count"]) == (3, 40)
    assert "none of the 40 records" in err
    mended = catalog.replace("unit: s", "unit: ms")
    code, _, err = replay(tmp_path, made, mended, "--fresh")
    assert (code, "could be used" in err) == (0, False)


def test_many_refused_records_are_a_warning_and_few_are_a_line(tmp_path: Path) -> None:
    made = rows(200)
    made[7]["price"] = "free"
    code, out, err = replay(tmp_path, made)
    assert (code, "Warning" in err) == (0, False)
    assert "1 records could not be used: bad_value 1" in out
    made[8]["price"] = made[9]["price"] = "12 €"
    made[10]["who"] = ""
    code, out, err = replay(tmp_path, made, CATALOG, "--fresh")
    assert code == 0
    assert "Warning: 4 of 200 records (2.0%) could not be used:" in err
    assert err.index("3 × bad_value: write values as 12.50") < err.index("1 × missing_user")
    assert "such as" in err
    assert "tideline dead-letters --data-dir" in err


def test_dead_letters_are_shown_by_reason_with_place_and_bytes(shop: Shop) -> None:
    code, out, _ = run("dead-letters", *shop.options)
    assert code == 0
    assert out.startswith("7 of ")
    assert out.index("time_out_of_range: 2 records") < out.index("missing_user: 1 records")
    assert "events.ndjson row" in out
    assert "not json at all" in out
    assert max(map(len, out.splitlines())) < 400  # a record of 5 MB is cut
    code, out, _ = run("dead-letters", "--limit", "1", "--json", *shop.options)
    found = json.loads(out)
    assert code == 0
    assert (found["records"], found["refused"], found["stored"]) == (shop.rows, 7, 7)
    first = found["reasons"][0]
    assert (first["reason"], first["count"], len(first["examples"])) == ("time_out_of_range", 2, 1)
    assert {"position", "reason", "detail", "source", "raw"} <= set(first["examples"][0])


def test_without_dead_letters_it_says_so(tmp_path: Path) -> None:
    assert replay(tmp_path, rows(40))[0] == 0
    code, out, _ = run("dead-letters", "--data-dir", str(tmp_path / "data"))
    assert (code, "no dead letters" in out) == (0, True)


def test_a_name_that_never_occurs_is_told_at_the_end_and_later(tmp_path: Path) -> None:
    catalog = CATALOG.replace("event: View", "event: view").replace("{did: Buy}", "{any: [{did: Buy}, {did: Bought}]}")
    code, out, _ = replay(tmp_path, rows(40), catalog)
    assert code == 0
    assert "No event is called 'view', which segments.keen.filter.event names; did you mean 'View'?" in out
    assert "No event is called 'Bought', which predictions.buys_1d.goal.any[1].did names" in out
    assert "'Buy'," not in out
    data = str(tmp_path / "data")
    assert "No event is called 'view'" in run("predictions", "--data-dir", data)[1]
    found = json.loads(run("predictions", "--data-dir", data, "--json")[1])["missing_events"]
    assert [(missing["name"], missing["close"]) for missing in found] == [("Bought", None), ("view", "View")]


def test_names_that_occur_after_a_stop_are_counted(tmp_path: Path) -> None:
    """The last row alone has the name; and a run that is complete knows it, too."""
    made = rows(300)
    made[-1]["what"] = "Signed up"
    catalog = CATALOG.replace("event: View", "event: Signed up") + "limits: {batch_events: 64}\n"
    for _ in range(2):
        code, out, _ = replay(tmp_path, made, catalog)
        assert (code, "No event is called" in out) == (0, False)
