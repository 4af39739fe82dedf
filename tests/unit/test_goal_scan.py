"""How often a goal was reached in past events: counted in one look, against what a plain count says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config.catalog import Catalog, Prediction
from config.definitions import read_prediction
from config.errors import BrokerError
from config.loader import loads
from streams.adapters.event_history import EmbeddedHistory, PastEvent
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_writer import PartitionWriter
from streams.runtime.goal_scan import GoalScan, scan_goals

DAY_S = 86_400.0
START_S = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
CATALOG = "{version: 1, name: Shop, predictions: {p: {name: P, goal: {did: Order}, window: 7d}}}"


@pytest.fixture
def catalog() -> Catalog:
    return loads(CATALOG)


def event(user: str, name: str, day: float, log_day: float | None = None, **properties: Any) -> PastEvent:
    time = datetime.fromtimestamp(START_S + day * DAY_S, UTC).isoformat()
    body = {"type": "track", "userId": user, "event": name, "timestamp": time, "properties": properties}
    return PastEvent(START_S + (day if log_day is None else log_day) * DAY_S, json.dumps(body).encode())


def prediction(goal: dict[str, Any], window: str = "7d", **more: Any) -> Prediction:
    return read_prediction("new", {"name": "New", "goal": goal, "window": window, **more})


EVENTS = [
    event("ann", "Order", 0, price=10),
    event("bob", "View", 1),
    PastEvent(START_S, b"no json"),
    event("ann", "Order", 3, price=300),
    event("cleo", "Order", 4, price=20),
    event("ann", "Order", 20, price=5),
    event("bob", "Return", 20),
]


def found(catalog: Catalog, goal: dict[str, Any], events: Sequence[PastEvent] = EVENTS, **more: Any) -> GoalScan:
    return scan_goals(catalog, prediction(goal, **more), events, max_records=1_000)


def test_events_and_users_with_a_goal(catalog: Catalog) -> None:
    scan = found(catalog, {"did": "Order"})
    assert (scan.events, scan.users, scan.is_whole) == (6, 3, True)
    assert (scan.first_s, scan.last_s) == (START_S, START_S + 20 * DAY_S)
    assert [(atom.events, atom.users) for atom in scan.atoms] == [(4, 2)]
    assert scan.goal_users == 2


@pytest.mark.parametrize(
    ("goal", "users"),
    [
        ({"did": "Order", "where": {"price": {"min": 100}}}, 1),
        ({"any": [{"did": "Order"}, {"did": "Return"}]}, 3),
        ({"all": [{"did": "Order"}, {"did": "Return"}]}, 0),
        ({"did": "Nothing"}, 0),
        ({"did_not": "Order"}, 2),  # ann from day 3 to 20, cleo since day 4
        ({"did_not": "View"}, 1),
        ({"all": [{"did_not": "Order"}, {"did_not": "View"}]}, 0),
    ],
)
def test_users_who_have_reached_it(catalog: Catalog, goal: dict[str, Any], users: int) -> None:
    assert found(catalog, goal).goal_users == users


@pytest.mark.parametrize(
    ("goal", "days"),
    [
        ({"did": "Order"}, [0, 4]),
        ({"did": "Order", "where": {"price": {"min": 100}}}, [3]),
        ({"any": [{"did": "Order"}, {"did": "Return"}]}, [0, 4, 20]),
        ({"did_not": "Order"}, [3, 4]),  # ann did until day 3, and not until day 20
        ({"any": [{"did_not": "Order"}, {"did": "Return"}]}, [3, 4, 20]),
        ({"all": [{"did": "View"}, {"did": "Return"}]}, [20]),
        ({"did": "Nothing"}, []),
    ],
)
def test_when_users_first_reached_it(catalog: Catalog, goal: dict[str, Any], days: list[int]) -> None:
    scan = found(catalog, goal)
    assert [(time_s - START_S) / DAY_S for time_s in scan.reached_s] == days
    enough = [scan.enough_s(needed) for needed in range(1, len(days) + 2)]
    assert enough == [*(START_S + day * DAY_S for day in days), None]


def test_who_was_quiet_first_is_known_however_often_they_were_quiet(catalog: Catalog) -> None:
    events = [event("ann", "Order", day) for day in (0, 5, 20, 40)]
    assert found(catalog, {"did_not": "Order"}, events).reached_s == (START_S + 5 * DAY_S,)
    assert found(catalog, {"did_not": "Order"}, events[:2]).reached_s == (), "the window has not passed yet"


def test_who_does_it_within_every_window_never_leaves(catalog: Catalog) -> None:
    steady = [event("dan", "Order", day) for day in range(0, 30, 5)]
    assert found(catalog, {"did_not": "Order"}, steady).goal_users == 0
    assert found(catalog, {"did_not": "Order"}, steady, window="4d").goal_users == 1


def test_an_event_of_the_future_counts_when_it_arrived(catalog: Catalog) -> None:
    scan = found(catalog, {"did": "Order"}, [event("ann", "Order", 400, log_day=1)])
    assert (scan.first_s, scan.last_s) == (START_S + DAY_S, START_S + DAY_S)


def test_it_ends_where_it_may_not_go_on(catalog: Catalog) -> None:
    scan = scan_goals(catalog, prediction({"did": "Order"}), EVENTS, max_records=4)
    assert (scan.events, scan.is_whole) == (3, False)
    scan = scan_goals(catalog, prediction({"did": "Order"}), EVENTS, max_records=4, is_late=lambda: True)
    assert (scan.events, scan.is_whole, scan.first_s) == (0, False, None)
    assert scan_goals(catalog, prediction({"did": "Order"}), EVENTS, max_records=len(EVENTS)).is_whole


# --- where they come from --------------------------------------------------------------------------------------------


def test_all_events_of_an_embedded_log_are_read_up_to_where_it_ends(tmp_path: Path) -> None:
    folder = LogFolder.make(tmp_path / "log", 2)
    with (
        closing(PartitionWriter(folder.partition("events", 0))) as first,
        closing(PartitionWriter(folder.partition("events", 1))) as second,
    ):
        first.append([(b"k", b"%d" % n) for n in range(2_500)])
        second.append([(b"k", b"x")])
        with closing(EmbeddedHistory(lambda: folder).events()) as events:
            found = [next(events).value]
            first.append([(b"k", b"behind")])  # its end was settled before
            found += [record.value for record in events]
    assert sorted(found) == sorted([b"x", *(b"%d" % n for n in range(2_500))])
    assert [value for value in found if value != b"x"] == [b"%d" % n for n in range(2_500)]


def test_a_log_without_events_and_no_log_at_all(tmp_path: Path) -> None:
    folder = LogFolder.make(tmp_path / "log", 2)
    with closing(EmbeddedHistory(lambda: folder).events()) as events:
        assert list(events) == []
    with pytest.raises(BrokerError):
        list(EmbeddedHistory(lambda: LogFolder.find(tmp_path / "none")).events())


def test_what_a_deleted_user_did_is_not_counted_among_users(catalog: Catalog) -> None:
    deletion = {"type": "delete", "userId": "ann", "timestamp": datetime.fromtimestamp(START_S, UTC).isoformat()}
    events = [*EVENTS, PastEvent(START_S + 30 * DAY_S, json.dumps(deletion).encode()), event("cleo", "View", 31)]
    scan = found(catalog, {"did": "Order"}, events)
    assert (scan.users, scan.goal_users) == (2, 1)
