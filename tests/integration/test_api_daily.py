"""What predictions expected, kept once a day over a real store: in the API, and as up or down in the console."""

from __future__ import annotations

import msgspec
import pytest

from streams.adapters.redis_daily import MOST_DAYS, Day, RedisDaily
from streams.api.daily import Daily
from tests.integration.test_console_pages import Person
from tests.unit.api_world import ApiWorld

WEEK_S = 7 * 86_400.0
ID = "orders_3d"


@pytest.fixture
def api(shop_console: ApiWorld) -> ApiWorld:
    return shop_console


def test_a_line_a_day_is_kept_and_compared_with_a_week_later(api: ApiWorld, url: str) -> None:
    person, daily = Person(api), api.app.state.daily
    assert isinstance(daily, Daily)
    assert person.told(f"/v1/predictions/{ID}")["days"] == []
    assert person.get("/predictions/figures").json()[ID]["against"].endswith("before 4 Jun 2026 (UTC)")
    assert daily.keep() == 2, "of those that are live; the one that warms up expects nothing yet"
    assert daily.keep() == 0, "once a day"
    detail = person.told(f"/v1/predictions/{ID}")
    estimate = person.told(f"/v1/predictions/{ID}/estimate")
    (day,) = detail["days"]
    assert (day["expected"], day["audience"]) == (estimate["expected_of_audience"], estimate["audience"])
    assert list(day["categories"].values()) == [each["users"] for each in detail["categories"]]
    assert (detail["week_ago"], detail["comparable_from"]) == (None, "2026-06-04T08:26:40Z")
    assert detail["model"]["version"] == person.told(f"/v1/predictions/{ID}/drivers")["model_version"]

    api.now_s += WEEK_S
    assert person.told(f"/v1/predictions/{ID}")["week_ago"] == day
    figures = Person(api).get("/predictions/figures").json()
    assert figures[ID]["against"] == "As many as a week ago"
    assert figures["rare_7d"]["against"] == ""

    store = RedisDaily(url)
    (kept,) = store.days(ID)
    api.now_s += WEEK_S
    for name, expected in (("fewer", kept.expected * 2), ("more", kept.expected / 2)):
        at_s = kept.at_s + WEEK_S
        store.put(ID, msgspec.structs.replace(kept, day=name, at_s=at_s, expected=expected))
        words = Person(api).get("/predictions/figures").json()[ID]["against"]
        assert name in words
        share = {"fewer": "(50", "more": "(100"}[name]
        assert share in words
        store._nodes.ask("HDEL", store._key(ID), name)
    other = msgspec.structs.replace(kept, day="other", at_s=kept.at_s + WEEK_S, question="another goal")
    store.put(ID, other)
    assert person.told(f"/v1/predictions/{ID}")["week_ago"] is None, "of another question"
    store.close()


def test_the_oldest_lines_leave(url: str) -> None:
    store = RedisDaily(url, prefix="bound")
    lines = [Day(f"{number:04d}", float(number), "q", 1.0, 2, (1, 1, 0)) for number in range(MOST_DAYS + 3)]
    for line in lines:
        store.put("x", line)
    assert store.days("x") == lines[3:]
    store.put("x", msgspec.structs.replace(lines[-1], expected=9.0))
    assert store.days("x")[-1].expected == 1.0, "the first of a day stays"
    assert store.missing(["x", "y"], lines[-1].day) == ["y"]
    store.close()
