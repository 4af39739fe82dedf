"""What `tideline check CATALOG FILE` finds out about files before anything is run."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from config.errors import InputError
from config.loader import loads
from streams.runtime.preview import preview
from tests.integration.small_shop import CATALOG, START, rows, run, write

NOW_S = 1_800_000_000.0


def test_the_first_rows_are_shown_as_they_are_understood(tmp_path: Path) -> None:
    made = rows(30)
    made[4]["who"] = ""
    made[5]["at"] = "yesterday"
    events, _ = write(tmp_path, made)
    found = preview([Path(events)], loads(CATALOG), NOW_S, 20)
    (file,) = found.files
    assert (file.rows, file.whole, file.events, file.users, found.whole) == (20, False, 18, 10, False)
    assert file.names == {"View": 11, "Buy": 7}
    assert [(first.user, first.event, first.value) for first in file.first] == [
        ("u0", "Buy", 12.5),
        ("u1", "View", None),
        ("u2", "View", None),
    ]
    assert file.first_time_s == file.first[0].time_s == START.timestamp()
    assert {refused.reason: refused.count for refused in file.refused} == {"missing_user": 1, "bad_time": 1}
    assert file.refused[0].examples[0].source == f"{events} row 5"
    assert found.missing_events == ()
    assert preview([Path(events)], loads(CATALOG), NOW_S, 30).whole


def test_only_the_first_rows_of_a_packed_file_are_read(tmp_path: Path) -> None:
    events, _ = write(tmp_path, rows(200))
    packed = tmp_path / "events.csv.gz"
    packed.write_bytes(gzip.compress(Path(events).read_bytes())[:-8])  # its end is cut off, which nobody gets to
    (file,) = preview([packed], loads(CATALOG), NOW_S, 10).files
    assert (file.rows, file.events) == (10, 10)


def test_an_empty_file_and_a_missing_one_are_errors(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("who,what,at,price\n")
    with pytest.raises(InputError, match="has no rows"):
        preview([empty], loads(CATALOG), NOW_S, 10)
    with pytest.raises(InputError, match="cannot be read"):
        preview([tmp_path / "none.csv"], loads(CATALOG), NOW_S, 10)


def test_check_shows_the_preview_and_names_that_never_occur(tmp_path: Path) -> None:
    events, catalog = write(tmp_path, rows(30), CATALOG.replace("event: View", "event: Viewed"))
    code, out, err = run("check", catalog, events)
    assert (code, err) == (0, "")
    assert "all 30 rows; 30 events of 10 users, 2024-01-01 to 2024-01-02 05:00 (UTC)" in out
    assert "names: View 20, Buy 10" in out
    assert "No event is called 'Viewed', which segments.keen.filter.event names; did you mean 'View'?" in out
    code, out, _ = run("check", catalog, events, "--rows", "1", "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["files"][0]["rows"], found["files"][0]["whole"]) == (0, True, 1, False)
    assert [missing["name"] for missing in found["missing_events"]] == ["Viewed"]


def test_check_ends_with_an_error_when_no_row_can_be_used(tmp_path: Path) -> None:
    events, catalog = write(tmp_path, rows(30), CATALOG.replace("{field: at}", "{field: at, unit: s}"))
    code, out, err = run("check", catalog, events)
    assert (code, "no row could be used" in err) == (3, True)
    assert "30 × bad_time" in out
    assert "do not occur" not in out


@pytest.mark.parametrize("kind", ["csv", "ndjson", "gzip", "large", "latin-1"])
def test_a_file_of_events_given_as_the_catalog_is_told_so(kind: str, tmp_path: Path) -> None:
    events, _ = write(tmp_path, rows(60_000 if kind == "large" else 30))
    path = Path(events)
    if kind == "ndjson":
        path.write_text("\n".join(json.dumps(row) for row in rows(30)) + "\n")
    elif kind == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes()))
    elif kind == "latin-1":
        path.write_bytes("who,what\nrené,Buy\nann,Buy\n".encode("latin-1"))
    code, out, err = run("check", events)
    assert (code, out) == (2, "")
    assert "looks like a file of events" in err
    assert "tideline check CATALOG FILE" in err


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "name": "One line of JSON", "predictions": {"a": {}}}',
        '{"version": 1,\n"name": "JSON",\n"predictions": {}}',
        "version: 1\nname: A, B\npredictions: {p: {name: P, window: 7d}}\n",
    ],
)
def test_a_broken_catalog_is_not_taken_for_data(text: str, tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    code, _, err = run("check", str(path))
    assert code == 2
    assert "file of events" not in err


HUGE_NUMBER = '{"who": "u1", "what": "View", "at": "2024-01-01", "other": 1e999}'


def test_a_path_that_no_json_row_has_is_told(tmp_path: Path) -> None:
    text = CATALOG.replace("format: csv", "format: ndjson").replace("value: price", "value: cart.totl")
    path = tmp_path / "events.ndjson"
    made = [{**row, "cart": {"total": 5, "note": None}} for row in rows(3)]
    path.write_text("\n".join([*map(json.dumps, made), "[" * 100_000, HUGE_NUMBER]) + "\n")
    (file,) = preview([path], loads(text.replace("user: who", "user: who\n  message_id: cart.note")), NOW_S, 10).files
    told = [(absent.field, absent.used_by, absent.close) for absent in file.absent_fields]
    assert told == [
        ("cart.note", "input.message_id", "cart.total"),
        ("cart.totl", "input.value", "cart.total"),
    ]
    (tmp_path / "catalog.yaml").write_text(text.replace("user: who", "user: ho"))
    code, out, _ = run("check", str(tmp_path / "catalog.yaml"), str(path))
    assert (code, "no row has 'ho', which input.user (line 6) names; did you mean 'who'?" in out) == (3, True)
    (tmp_path / "catalog.yaml").write_text(text)
    code, out, _ = run("check", str(tmp_path / "catalog.yaml"), str(path))
    assert code == 0
    assert "no row has 'cart.totl', which input.value (line 9) names; did you mean 'cart.total'?" in out


def test_what_is_mapped_and_not_used_is_given_a_hint(tmp_path: Path) -> None:
    mapped = "  value: price\n  traits: {town: town}\n  properties: {colour: colour}\n"
    _, catalog = write(tmp_path, [], CATALOG.replace("  value: price\n", mapped))
    code, out, _ = run("check", catalog)
    assert code == 0
    assert "hint: input.traits.town (line 10): nothing makes use of it: to learn from it list it under feat" in out
    assert "hint: input.properties.colour (line 11): nothing makes use of it" in out
    used = CATALOG.replace("  value: price\n", mapped).replace("{did: Buy}", "{did: Buy, where: {colour: red}}")
    used = used.replace("{value: price}", "{value: price, traits: [town]}")
    assert "hint:" not in run("check", write(tmp_path, [], used)[1])[1]


def test_a_range_of_scores_with_two_ends_is_given_a_hint(tmp_path: Path) -> None:
    band = CATALOG + "  middle: {name: M, filter: {all: [{prediction: buys_1d, score: {min: 50, max: 75}}]}}\n"
    band += "  top: {name: T, filter: {prediction: buys_1d, score: {min: 50, max: 100}}}\n"
    band += "  bottom: {name: B, filter: {prediction: buys_1d, likelihood: {max: 0.5}}}\n"
    _, catalog = write(tmp_path, [], band)
    code, out, _ = run("check", catalog)
    assert code == 0
    assert out.count("hint:") == 1
    assert "hint: segments.middle.filter.all[0].score (line 15): users also leave it upwards, at 75" in out
    (hint,) = json.loads(run("check", catalog, "--json")[1])["hints"]
    assert (hint["line"], hint["path"]) == (15, "segments.middle.filter.all[0].score")
    assert json.loads(run("check", write(tmp_path, [])[1], "--json")[1])["hints"] == []
