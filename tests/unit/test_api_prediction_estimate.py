"""What is told of a prediction before it is made: from events in memory, beside a store with nothing in it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from config.errors import BrokerError, BrokerUnavailable, NoLog
from streams.adapters.event_history import PastEvent
from streams.api import prediction_estimate
from streams.api.definer import Definer
from streams.api.keys import Role
from streams.api.prediction_estimate import Estimator
from tests.unit.test_api_definitions import RETURNS, World, problem
from tests.unit.test_goal_scan import event


class Broken:
    """A history that cannot be read."""

    def __init__(self, error: BrokerError) -> None:
        self._error = error

    def events(self) -> Any:
        raise self._error


@pytest.fixture
def world() -> World:
    return World()


def estimate(world: World, events: list[PastEvent], **more: Any) -> Any:
    world.history.records = events
    answer = world.call("POST", "/v1/predictions/estimate", RETURNS | more, role=Role.READ)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_events_with_the_goal_and_when_the_first_outcome_is_known(world: World) -> None:
    events = [event(f"u{n}", "Return", n / 4) for n in range(200)]
    found = estimate(world, events)
    assert (found["log"]["events"], found["log"]["users"], found["log"]["whole"]) == (200, 200, True)
    assert (found["log"]["first"], found["log"]["last"]) == ("2024-01-01T00:00:00Z", "2024-02-19T18:00:00Z")
    assert found["goal"] == {
        "users": 200,
        "needed": 100,
        "parts": [{"event": "Return", "negated": False, "events": 200, "users": 200}],
    }
    assert found["first_label"] == "2024-01-31T01:00:00Z"
    assert found["warnings"] == []
    assert (found["audience"], found["no_audience"]) == (None, "nothing is stored yet")


def test_a_goal_that_is_too_rare_is_told_with_advice(world: World) -> None:
    found = estimate(world, [event(f"u{n}", "Return", n) for n in range(50)])
    (warning,) = found["warnings"]
    assert "50 users have reached the goal" in warning["what"]
    assert "broader goal" in warning["advice"]
    assert "longer window than 30d" in warning["advice"]
    assert (found["enough_users"], found["enough_users_at"]) == (
        "expected",
        "2024-05-08T01:00:00Z",  # twice the 49 days, and the window
    )
    longest = estimate(world, [event("u", "Return", 0), event("u", "View", 95)], window="90d")
    assert "longer window" not in longest["warnings"][0]["advice"]


@pytest.mark.parametrize(
    ("days", "goal", "enough", "at"),
    [
        # The 100th user on day 49.5, and a window of 30 days.
        (100.0, {"did": "Return"}, "at_once", "2024-03-20T13:00:00Z"),
        (70.0, {"did": "Return"}, "expected", "2024-03-20T13:00:00Z"),
        # All come back a day later, and then not for a window.
        (100.0, {"did_not": "Return"}, "at_once", "2024-03-21T13:00:00Z"),
        # 59 users in the 30.5 days behind which a window has passed: 100 by day 51.7, known a window later.
        (60.0, {"did_not": "Return"}, "expected", "2024-03-22T17:00:00Z"),
    ],
)
def test_when_there_were_enough_users_by_the_history(
    world: World, days: float, goal: dict[str, str], enough: str, at: str
) -> None:
    """Every twelve hours another user, for so many days."""
    starts = [n / 2 for n in range(int(2 * days))]
    events = [event(f"u{day}", "Return", day + later) for day in starts for later in (0, 1)]
    found = estimate(world, sorted(events, key=lambda each: each.log_time_s), goal=goal)
    assert (found["enough_users"], found["enough_users_at"]) == (enough, at)


def test_goals_of_all_users_promise_nothing_of_an_audience(world: World) -> None:
    events = [event(f"u{n}", "Return", n / 4) for n in range(400)]
    assert estimate(world, events)["enough_users"] == "at_once"
    found = estimate(world, events, audience={"trait": "country", "equals": "AT"})
    assert (found["enough_users"], found["enough_users_at"]) == ("unknown", None)


def test_of_what_is_not_done_a_shorter_window_is_advised(world: World) -> None:
    events = [event(f"u{n}", "Return", n) for n in range(50)]
    (warning,) = estimate(world, events, goal={"did_not": "Return"})["warnings"]
    assert "19 users have reached the goal" in warning["what"]
    assert "shorter window than 30d" in warning["advice"]


@pytest.mark.parametrize(
    ("audience", "words"),
    [(0, "nobody is in its audience"), (99, "99 users are in its audience now; 100 different"), (100, None)],
)
@pytest.mark.parametrize("is_chosen", [True, False])
def test_an_audience_that_is_too_small_is_told(
    audience: int, words: str | None, world: World, *, is_chosen: bool
) -> None:
    """Of everybody, the history has had enough users already, however few there are now."""
    only = {"audience": {"event": "Cart", "since": {"max": "7d"}}} if is_chosen else {}
    words = words if is_chosen or not audience else None
    world.history.records = [event(f"u{n}", "Return", n / 4) for n in range(200)]
    definer = Definer(world.definitions, world.stored, time.time)
    found = Estimator(definer, world.history, lambda _: (audience, None), time.monotonic).answer(RETURNS | only)
    assert [warning.what[: len(words or "")] for warning in found.warnings] == ([] if words is None else [words])


def test_a_goal_that_never_happened_is_told(world: World) -> None:
    found = estimate(world, [event("ann", "Order", day) for day in (0, 40)], goal={"did": "Retrun"})
    assert "no event 'Retrun' is among the 2" in found["warnings"][0]["what"]
    assert (found["enough_users"], found["enough_users_at"]) == ("unknown", None)


def test_events_shorter_than_the_window_are_told(world: World) -> None:
    found = estimate(world, [event(f"u{n}", "Return", n / 100) for n in range(200)])
    assert [w["what"] for w in found["warnings"]] == ["the events that are kept span less than the window of 30d"]


def test_without_events_it_begins_now(world: World) -> None:
    found = estimate(world, [])
    assert found["warnings"][0]["what"] == "no events are kept to learn from"
    assert (found["first_label"], found["log"]["first"]) == (None, None)


def test_the_log_is_read_up_to_a_limit_that_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_estimate, "MAX_EVENTS", 10)
    found = estimate(world, [event(f"u{n}", "Return", n) for n in range(20)])
    assert (found["log"]["events"], found["log"]["whole"], found["log"]["limit"]) == (10, False, 10)


def test_reading_the_log_takes_no_thread_of_authentication(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    read = world.history.events

    def events() -> Any:
        names.append(threading.current_thread().name)
        return read()

    monkeypatch.setattr(world.history, "events", events)
    estimate(world, [event("ann", "Return", 0)])
    assert len(names) == 1
    assert not names[0].startswith("asyncio")


def test_a_log_that_is_not_there_away_or_damaged_is_told(world: World) -> None:
    world.history.events = Broken(NoLog("no log")).events  # type: ignore[method-assign]
    answer = world.call("POST", "/v1/predictions/estimate", RETURNS, role=Role.READ)
    assert answer.json()["log"]["problem"] == "there is no log of events here"
    world.history.events = Broken(BrokerUnavailable("away")).events  # type: ignore[method-assign]
    answer = world.call("POST", "/v1/predictions/estimate", RETURNS, role=Role.READ)
    assert problem(answer) == (503, "unavailable")
    world.history.events = Broken(BrokerError("a record is damaged")).events  # type: ignore[method-assign]
    answer = world.call("POST", "/v1/predictions/estimate", RETURNS, role=Role.READ)
    assert problem(answer) == (500, "log-unreadable")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (RETURNS | {"window": "91d"}, "whole hours"),
        (RETURNS | {"audience": {"event": "Order", "count": {"min": 1}, "within": "1d"}}, "under history"),
        ({"id": "No", **RETURNS}, "letters"),
        (RETURNS | {"goals": {}}, "one of name"),
        ([], "an object"),
    ],
)
def test_a_prediction_that_could_not_be_made_is_refused(world: World, body: Any, words: str) -> None:
    answer = world.ask("POST", "/v1/predictions/estimate", json=body, headers=world.headers(Role.READ))
    assert problem(answer) == (422, "invalid-definition")
    assert words in answer.json()["detail"]
    assert world.definitions.revision() == 0
