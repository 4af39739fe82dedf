"""Looking at a store from the command line, the report, and the events as docs/events.md describes them."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from typer.testing import CliRunner

from benchmarks._ports import free_port
from streams.adapters.redis_reader import RedisReader
from streams.adapters.valkey_server import EmbeddedValkey
from streams.cli.app import app
from streams.runtime.members import describe
from streams.runtime.place import read_place
from streams.runtime.report.html import write_report
from streams.runtime.stored import read_state
from streams.runtime.transition_log import latest_transitions, read_history
from tests.conftest import ROOT
from tests.integration.shop_world import USERS, Shop

pytestmark = pytest.mark.timeout(300)


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, list(args), env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_predictions_are_listed(shop: Shop) -> None:
    code, out, _ = run("predictions", *shop.options)
    assert code == 0
    assert "orders_3d" in out
    assert "High risk" in out
    assert "rare_7d is warming up: 0 different users" in out
    assert "time_out_of_range 2" in out
    code, out, _ = run("predictions", "--json", *shop.options)
    found = json.loads(out)
    assert (code, found["users"], len(found["predictions"][0]["buckets"])) == (0, USERS, 20)


def test_a_user_is_shown_with_reasons_in_words(shop: Shop) -> None:
    code, out, _ = run("user", "u7", *shop.options)
    assert code == 0
    assert re.search(r"Orders within <3> days \(orders_3d\): Score [\d.]+ \((top|bottom) \d+% of the audience\)", out)
    assert re.search(r"(raises|lowers) it  .+ \([+-]\d", out)
    assert "country" in out
    code, out, _ = run("user", "u7", "--json", *shop.options)
    detail = json.loads(out)
    live = detail["predictions"][0]
    assert (code, detail["user"], live["id"]) == (0, "u7", "orders_3d")
    # What is shown is what lies in Redis, and the reasons are of that very moment.
    with EmbeddedValkey(shop.job.place.data_dir) as server:
        stored = RedisReader(server.url).user("u7")
    assert (live["score"], live["likelihood"]) == (
        stored.scores["orders_3d"].score,
        stored.scores["orders_3d"].likelihood,
    )
    assert {segment["id"] for segment in detail["segments"]} == set(stored.segments)


def test_an_unknown_user_or_segment_is_told(shop: Shop) -> None:
    code, _, err = run("user", "nobody", *shop.options)
    assert (code, "no user 'nobody'" in err) == (1, True)
    for meant in ("orders_3d.hig", "ORDERS_3D.HIGH"):
        code, _, err = run("segment", meant, *shop.options)
        assert (code, "Did you mean orders_3d.high?" in err) == (1, True)


def test_a_segment_shows_its_members(shop: Shop) -> None:
    size = next(s.members for s in shop.outcome.summary.segments if s.id == "orders_3d.high")
    code, out, _ = run("segment", "orders_3d.high", "--members", "3", *shop.options)
    assert (code, f"{size} members" in out) == (0, True)
    _, out, _ = run("segment", "orders_3d.high", "--all", *shop.options)
    assert len(set(out.split())) == size
    _, out, _ = run("segment", "orders_3d.high", "--members", "3", "--json", *shop.options)
    found = json.loads(out)
    assert (found["members"], len(found["users"])) == (size, 3)
    assert all(user["since_s"] > 0 and user["entry_count"] >= 1 for user in found["users"])


def test_members_are_sorted_by_score_and_paged(shop: Shop) -> None:
    def page(*options: str) -> list[dict[str, Any]]:
        _, out, _ = run("segment", "orders_3d.high", "--json", *options, *shop.options)
        found: list[dict[str, Any]] = json.loads(out)["users"]
        return found

    everybody = page("--members", "100000")
    ranked = [user["user"] for user in sorted(everybody, key=_by_score("orders_3d"))]
    assert [user["user"] for user in page("--sort", "score", "--members", "100000")] == ranked
    pages = [page("--sort", "score", "--members", "4", "--skip", str(4 * n)) for n in range(3)]
    assert [user["user"] for part in pages for user in part] == ranked[:12]
    other = sorted(everybody, key=_by_score("churn_5d"))
    assert page("--sort", "churn_5d", "--members", "3") == other[:3]
    _, out, _ = run("segment", "orders_3d.high", "--all", "--sort", "score", *shop.options)
    assert out.split() == ranked


def _by_score(prediction: str) -> Callable[[dict[str, Any]], tuple[float, str]]:
    def key(user: dict[str, Any]) -> tuple[float, str]:
        score = user["scores"].get(prediction, {}).get("score")
        return (math.inf if score is None else -score, user["user"])

    return key


def test_members_go_into_a_spreadsheet(shop: Shop) -> None:
    code, out, _ = run("segment", "orders_3d.high", "--csv", "--sort", "score", *shop.options)
    rows = list(csv.DictReader(io.StringIO(out)))
    size = next(s.members for s in shop.outcome.summary.segments if s.id == "orders_3d.high")
    assert (code, len(rows)) == (0, size)
    with EmbeddedValkey(shop.job.place.data_dir) as server:
        reader = RedisReader(server.url)
        for row in rows[:20]:
            stored = reader.user(row["user"]).scores
            assert float(row["orders_3d_score"]) == stored["orders_3d"].score
            assert row["orders_3d_category"] == "high"
            churn = stored.get("churn_5d")
            assert row["churn_5d_category"] == ("" if churn is None else churn.category or "")
            assert datetime.fromisoformat(row["since"]).tzinfo is not None
            assert int(row["entry_count"]) >= 1
        reader.close()
    scores = [float(row["orders_3d_score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    _, out, _ = run("segment", "orders_3d.high", "--csv", "--members", "2", *shop.options)
    assert len(out.splitlines()) == 3


def test_a_row_that_was_read_before_its_user_entered_says_nothing_of_since_when(shop: Shop) -> None:
    with read_place(shop.job.place) as reader:
        (found,) = describe(reader, read_state(reader), "rare_7d.high", ["u7"], ["orders_3d"])
        assert (found.since_s, found.entry_count) == (None, None)
        assert found.scores["orders_3d"].score is not None


def test_what_cannot_be_sorted_or_printed_so_is_refused(shop: Shop) -> None:
    for options, words in (
        (["orders_3d.high", "--sort", "nope"], "no prediction is called that. There are orders_3d"),
        (["keen", "--sort", "score"], "keen uses no prediction: say whose score sorts, --sort orders_3d|"),
        (["keen", "--csv", "--json"], "choose one"),
    ):
        code, out, err = run("segment", *options, *shop.options)
        assert (code, out) == (2, "")
        assert words in " ".join(err.split())


def test_who_left_the_audience_of_churn_has_lapsed(shop: Shop) -> None:
    with EmbeddedValkey(shop.job.place.data_dir) as server:
        reader = RedisReader(server.url)
        users = [f"u{n}" for n in range(USERS)]
        outside = [user for user, score in zip(users, reader.scores("churn_5d", users), strict=True) if score is None]
        reader.close()
    lapsed = 0
    for user in outside[:6]:
        detail = json.loads(run("user", user, "--json", *shop.options)[1])
        churn = next(p for p in detail["predictions"] if p["id"] == "churn_5d")
        orders = [event["last_s"] for event in detail["events"] if event["name"] == "Order Completed"]
        out = run("user", user, *shop.options)[1]
        if not orders:
            assert (churn["lapsed_s"], "not in the audience" in out) == (None, True)
            continue
        lapsed += 1
        assert churn["lapsed_s"] == orders[0] + 5 * 86_400 <= detail["scored_s"]
        day = datetime.fromtimestamp(churn["lapsed_s"], UTC).strftime("%Y-%m-%d %H:%M")
        assert f"(churn_5d): lapsed since {day}" in out
        assert ", 5 days before that" in out
    assert lapsed


def test_nobody_is_shown_with_a_score_of_another_category(shop: Shop) -> None:
    with EmbeddedValkey(shop.job.place.data_dir) as server:
        reader = RedisReader(server.url)
        users = [f"u{n}" for n in range(USERS)]
        scores = dict(zip(users, reader.scores("orders_3d", users), strict=True))
        reader.close()
    kept = [
        user
        for user, found in scores.items()
        if found is not None and found.score is not None and 50.0 <= found.score < 75.0 and found.category == "high"
    ]
    assert kept
    assert "category High (kept: it changes 5 points past an edge, 50 or 75)" in run("user", kept[0], *shop.options)[1]


def _keys(found: object) -> set[str]:
    """Every key of a JSON value, but those that are data: reasons, event names, ids."""
    if isinstance(found, list):
        return set().union(*map(_keys, found)) if found else set()
    if not isinstance(found, dict):
        return set()
    data = {"dead_letters", "traits", "scores", "remembered"}
    return set(found).union(*(_keys(value) for key, value in found.items() if key not in data))


@pytest.mark.parametrize(
    ("command", "args"),
    [("predictions", []), ("user", ["u7"]), ("segment", ["orders_3d.high"]), ("dead-letters", [])],
)
def test_the_page_has_every_key_of_json(shop: Shop, command: str, args: list[str]) -> None:
    found = json.loads(run(command, *args, "--json", *shop.options)[1])
    page = (ROOT / "docs/cli.md").read_text()
    section = page[page.index(f"## `tideline {command}") :].partition("\n## ")[0]
    more = {
        "predictions": (ROOT / "docs/evaluation.md").read_text(),
        "dead-letters": (ROOT / "docs/input.md").read_text(),
        "user": page,
        "segment": "",
    }[command]
    documented_keys = set(re.findall(r"`(\w+)`", section + more))
    assert _keys(found) - documented_keys == set()


def test_a_replay_that_is_complete_prints_its_summary_as_json(shop: Shop, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    command = ["replay", str(shop.job.files[0]), "--catalog", str(shop.folder / "catalog.yaml"), *shop.options]
    code, out, _ = run(*command, "--transitions", str(shop.job.transitions), "--report", str(report), "--json")
    found = json.loads(out)
    assert (code, found["was_complete"], found["report_file"]) == (0, True, str(report))
    assert set(found) == {
        *(
            "was_complete",
            "resumed_at",
            "seconds",
            "store",
            "key_prefix",
            "transitions_file",
            "report_file",
            "refused",
            "summary",
        )
    }
    assert report.stat().st_size > 10_000


def test_the_store_is_reached_over_tcp_too(shop: Shop) -> None:
    port = free_port()
    with EmbeddedValkey(shop.job.place.data_dir, port=port):
        for address in (f"redis://127.0.0.1:{port}/0", f"redis://127.0.0.1:{port}/0?protocol=3"):
            code, out, _ = run("predictions", "--store", address)
            assert (code, "orders_3d" in out) == (0, True)


def test_the_report_is_one_page_that_needs_nothing_else(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    latest = latest_transitions(shop.job.transitions, 5)
    write_report(path, shop.outcome.summary, read_history(shop.job.transitions), latest)
    page = path.read_text()
    assert not re.search(r"<script|<link|<img|src=|https?://|@import|url\((?!#)", page)
    assert "Orders within &lt;3&gt; days" in page
    assert "Shop &amp; sons" in page
    assert "prefers-color-scheme:dark" in page
    titles = ["What a Score means", "What a Churn Risk Score means", "Lift", "Can the likelihood be taken", "Quality"]
    for title in [*titles, "Crossings over time", "It is warming up"]:
        assert title in page, title
    ids = re.findall(r'<clipPath id="(\w+)"', page)
    assert len(ids) == len(set(ids))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # it names users
    path.chmod(0o644)
    write_report(path, shop.outcome.summary, read_history(shop.job.transitions), latest)
    assert path.read_text() == page
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def documented(heading: str) -> set[str]:
    """Fields in the table below a heading of docs/events.md."""
    text = (ROOT / "docs/events.md").read_text()
    section = text[text.index(f"## {heading}") :].partition("\n## ")[0]
    table = section.partition("\n\n|")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `(\w+)`", f"|{table}", re.MULTILINE))


def example() -> dict[str, Any]:
    text = (ROOT / "docs/events.md").read_text()
    found: dict[str, Any] = json.loads(text[text.index("```json") + 7 :].partition("```")[0])
    return found


def test_transitions_are_cloudevents_with_the_fields_of_the_page(shop: Shop) -> None:
    envelope, data = documented("The envelope"), documented("The data")
    assert set(example()) - {"data"} | {"traceparent"} == envelope
    assert set(example()["data"]) == data
    lines = shop.job.transitions.read_bytes().splitlines()
    seen: set[str] = set()
    for line in [*lines[:300], *lines[-300:], json.dumps(example()).encode()]:
        event = JSONFormat().read(None, line)
        attributes = event.get_attributes()
        assert attributes["specversion"] == "1.0"
        assert " " not in event.get_source()
        assert set(attributes) | {"causationid", "traceparent"} == envelope
        body = event.get_data()
        assert isinstance(body, dict)
        assert set(body) == data
        assert event.get_subject() == body["user_id"] == attributes["partitionkey"]
        assert event.get_type() == f"tideline.segment.{'entered' if body['in_segment'] else 'exited'}.v1"
        assert int(attributes["sequence"]) % 2 == int(body["in_segment"])
        assert all(set(reason) == {"feature", "level", "contribution"} for reason in body["reasons"])
        seen.add(body["origin"])
    assert seen <= set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/events.md").read_text(), re.MULTILINE))
    assert len({json.loads(line)["id"] for line in lines}) == len(lines)
