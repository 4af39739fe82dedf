"""What the commands say where something is not there yet, or only to be looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from config.loader import loads
from models.snapshot import Status
from streams.adapters.redis_store import RedisStore
from streams.adapters.valkey_server import EmbeddedValkey
from streams.commit import Patience
from streams.ports import Identity
from streams.runtime.summary import predictions_of_segment, score_hysteresis, status_word
from tests.integration.shop_world import Shop
from tests.integration.small_shop import replay, rows, run

pytestmark = pytest.mark.timeout(300)

CATALOG = """
version: 1
name: States
input: {format: csv, user: who, event: what, time: {field: at}}
predictions:
  buys_1d: {name: Buys within a day, goal: {did: Buy}, window: 1d}
  wide_1d: {name: Wide, goal: {did: Buy}, window: 1d, hysteresis: 9}
  looks_1d: {name: Looks within a day, goal: {did: View}, window: 1d, access: preview}
segments:
  top: {name: Top, filter: {prediction: buys_1d, score: {min: 90}}}
  both: {name: Both, filter: {any: [{prediction: buys_1d, score: {min: 90}}, {prediction: wide_1d, score: {max: 3}}]}}
  nested: {name: Nested, filter: {all: [{segment: top}, {segment: wide_1d.high}, {event: Buy, count: {min: 1}}]}}
  plain: {name: Plain, filter: {event: Buy, count: {min: 1}}}
"""


@pytest.fixture(scope="module")
def warming(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that lead to a store whose predictions warm up."""
    folder = tmp_path_factory.mktemp("warming")
    code, _, err = replay(folder, rows(100), catalog=CATALOG)
    assert code == 0, err
    return ["--data-dir", str(folder / "data")]


def test_a_run_without_a_commit_is_told(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server:
        RedisStore(server.url, patience=Patience(lambda _: None)).prepare(1, Identity("c"))
    for command in (["predictions"], ["user", "u1"], ["segment", "top"], ["dead-letters"]):
        code, out, err = run(*command, "--data-dir", str(tmp_path))
        assert (code, out) == (4, "")
        assert "nothing is stored yet" in err


def test_a_run_takes_the_place_of_one_that_stored_nothing(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        RedisStore(server.url, patience=Patience(lambda _: None)).prepare(1, Identity("another catalog"))
    assert replay(tmp_path, rows(40), catalog=CATALOG)[0] == 0


def test_a_prediction_that_warms_up_says_how_far_it_is(warming: list[str]) -> None:
    words = r"warming up: \d+ different users have reached the goal \(100 are needed\)"
    assert re.search(f"buys_1d is {words}", run("predictions", *warming)[1])
    assert re.search(rf"\(buys_1d\): Score .*; {words}", run("user", "u0", *warming)[1])
    found = json.loads(run("user", "u0", "--json", *warming)[1])["predictions"][0]
    assert (found["status"], found["warmup"]["needed"]) == ("warming up", 100)


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        ("top", r"Nobody enters before buys_1d is live\. It is warming up: \d+ different users"),
        ("nested", r"before buys_1d is live(.|\n)*before wide_1d is live"),
        ("looks_1d.high", "It stays empty: the access of looks_1d is preview"),
        ("top", "a member leaves only when the score is 5 points outside"),
    ],
)
def test_an_empty_segment_says_why(warming: list[str], segment: str, words: str) -> None:
    code, out, _ = run("segment", segment, *warming)
    assert (code, "0 members" in out) == (0, True)
    assert re.search(words, out)


def test_a_segment_with_members_or_without_predictions_explains_nothing(warming: list[str], shop: Shop) -> None:
    for args in (["plain", *warming], ["orders_3d.high", *shop.options]):
        _, out, _ = run("segment", *args)
        assert "members" in out
        assert "warming" not in out
        assert "empty" not in out


def test_what_a_segment_rests_on() -> None:
    catalog = loads(CATALOG)
    used = {name: predictions_of_segment(catalog, name) for name in [*catalog.segments, "wide_1d.low"]}
    assert used == {
        "top": ("buys_1d",),
        "both": ("buys_1d", "wide_1d"),
        "nested": ("buys_1d", "wide_1d"),
        "plain": (),
        "wide_1d.low": ("wide_1d",),
    }
    stays = {name: score_hysteresis(catalog, name) for name in [*catalog.segments, "wide_1d.low"]}
    assert stays == {"top": 5.0, "both": 9.0, "nested": None, "plain": None, "wide_1d.low": None}


def test_the_status_says_what_a_preview_is_for() -> None:
    catalog = loads(CATALOG)
    assert status_word(catalog.predictions["buys_1d"], Status.LIVE) == "live"
    assert status_word(catalog.predictions["looks_1d"], Status.LIVE) == "preview (scores shown, not targetable)"
    assert status_word(catalog.predictions["looks_1d"], Status.WARMING) == "preview, warming up"


def test_the_tables_of_a_run_explain_hysteresis(tmp_path: Path) -> None:
    code, out, _ = replay(tmp_path, rows(100), catalog=CATALOG)
    assert code == 0
    assert "both: a member leaves only when the score is 9 points outside of the range" in out
    assert "plain: a member" not in out
    assert "only some points past its edge (hysteresis)" in out


def test_what_is_proposed_next_has_members_and_no_table_is_empty(tmp_path: Path) -> None:
    _, out, _ = replay(tmp_path, rows(100), catalog=CATALOG)
    # Nothing went live, so the categories are empty; only `plain` has members.
    assert "segment plain --data-dir" in out
    assert "buys_1d.high" not in out
    assert "How good was what was said" not in out
    assert "\n\n\n" not in out
