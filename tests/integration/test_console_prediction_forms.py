"""Predictions made, changed and switched in the console, without a browser: estimates first, questions before ends."""

from __future__ import annotations

import re
from html import unescape

import httpx
import msgspec
import pytest

from streams.adapters.definition_store import Past
from streams.adapters.event_history import PastEvent
from streams.api.keys import Role
from streams.api.views import time_text
from streams.console.visit import BASE
from tests.integration.test_console_pages import Person
from tests.unit.api_world import NOW_S, ApiWorld

FIELDS = {
    "name": "Looks again soon",
    "goal_0_event": "Viewed",
    "window": "2",
    "window_unit": "d",
    "access": "live",
}
GOAL = {"did": "Viewed"}


@pytest.fixture
def api(shop_console: ApiWorld) -> ApiWorld:
    return shop_console


@pytest.fixture
def person(api: ApiWorld) -> Person:
    return Person(api)


def words(answer: httpx.Response) -> str:
    return re.sub(r"[ \n]+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def estimated(answer: httpx.Response) -> str:
    """The mark of what was estimated, which saving needs."""
    found = re.search(r'name="estimated" value="([0-9a-f]+)"', answer.text)
    assert found is not None, answer.text
    return found[1]


def saved(person: Person, path: str, **fields: str) -> httpx.Response:
    mark = estimated(person.post(path, action="estimate", **fields))
    return person.post(path, action="save", estimated=mark, **fields)


def test_nothing_is_saved_before_it_was_estimated(api: ApiWorld, person: Person) -> None:
    answer = person.post("/predictions/by-goal", action="save", **FIELDS)
    assert (answer.status_code, "What there is to learn from" in words(answer)) == (200, True)
    assert api.definitions.kept().entries == ()
    changed = {**FIELDS, "window": "3"}
    again = person.post("/predictions/by-goal", action="save", estimated=estimated(answer), **changed)
    assert api.definitions.kept().entries == (), "another one than was estimated"
    made = person.post("/predictions/by-goal", action="save", estimated=estimated(again), **changed)
    assert (made.status_code, made.headers["location"]) == (303, f"{BASE}/predictions/looks_again_soon")
    (entry,) = api.definitions.kept().entries
    assert (entry.definition["goal"], entry.definition["window"]) == (GOAL, "3d")
    assert "Looks again soon" in person.page("/predictions/looks_again_soon")


def test_the_estimate_says_what_the_api_says(api: ApiWorld, person: Person) -> None:
    told = api.ask(
        "POST",
        "/v1/predictions/estimate",
        json={"name": "x", "goal": GOAL, "window": "2d"},
        headers=api.headers(Role.READ),
    ).json()
    text = words(person.post("/predictions/by-goal", action="estimate", **FIELDS))
    assert f"Audience {told['audience']} " in text
    assert f"{told['goal']['users']} (needed: {told['goal']['needed']})" in text
    for part in told["goal"]["parts"]:
        assert f"“{part['event']}”: {part['events']} events of {part['users']} users" in text
    assert text.count("No events are kept to learn from") == len(told["warnings"]) == 1


def test_what_speaks_against_it_is_told_as_often_as_by_the_api(api: ApiWorld, person: Person) -> None:
    for user in range(5):
        event = {"type": "track", "event": "Viewed", "timestamp": time_text(NOW_S + user)}
        event |= {"userId": f"u{user}", "messageId": f"m{user}"}
        api.history.records.append(PastEvent(NOW_S, msgspec.json.encode(event)))
    fields = {**FIELDS, "goal_0_event": "Never Heard Of", "filter": "{trait: country, equals: A}"}
    body = {"name": "x", "goal": {"did": "Never Heard Of"}, "window": "2d"}
    body["audience"] = {"trait": "country", "equals": "A"}
    told = api.ask("POST", "/v1/predictions/estimate", json=body, headers=api.headers(Role.READ)).json()
    answer = person.post("/predictions/by-goal", action="estimate", **fields)
    text = words(answer)
    assert "No event “Never Heard Of” of this kind is among the 5 that are kept" in text
    assert "Too rare: 0 users have reached the goal" in text
    assert "span less than the window" in text
    assert answer.text.count('class="note"') == len(told["warnings"])
    assert "Nothing speaks against it" not in text


def test_the_audience_is_counted_while_it_is_written(person: Person) -> None:
    everybody = person.post("/predictions/by-goal/audience", filter="").json()
    some = person.post("/predictions/by-goal/audience", filter='{"trait": "country", "equals": "A"}').json()
    assert 0 < int(some["users"]) < int(everybody["users"])
    wrong = person.post("/predictions/by-goal/audience", filter="{trait: country}").json()
    assert (wrong["users"], len(wrong["places"])) == ("–", 1)


def test_rows_are_added_without_scripts_and_what_is_wrong_is_told(api: ApiWorld, person: Person) -> None:
    text = person.post("/predictions/by-goal", action="row", **FIELDS).text
    assert 'name="goal_1_event"' in text
    assert 'name="goal_0_event" value="Viewed"' in text
    assert 'name="goal_0_where_0_name"' in person.post("/predictions/by-goal", action="where_0", **FIELDS).text
    for wrong, place in (
        ({"name": ""}, "Give it a name"),
        ({"goal_0_event": ""}, "goal"),
        ({"window": "1000"}, "window"),
        ({"medium": "80"}, "categories"),
        ({"filter": "{["}, "flow"),
    ):
        answer = person.post("/predictions/by-goal", action="estimate", **{**FIELDS, **wrong})
        assert (answer.status_code, place in words(answer)) == (422, True), wrong
        assert answer.text.count('role="alert"') == 1
    assert api.definitions.kept().entries == ()


def made(person: Person, name: str = "Mine", **more: str) -> str:
    """The id of a prediction that was made in the console."""
    answer = saved(person, "/predictions/by-goal", **{**FIELDS, "name": name, **more})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].rpartition("/")[2]


def test_a_prediction_is_changed_and_says_whether_it_learns_anew(api: ApiWorld, person: Person) -> None:
    id_ = made(person)
    text = person.get(f"/predictions/{id_}/edit").text
    etag = re.search(r'name="etag" value="([^"]+)"', text)
    assert etag is not None
    fields = {**FIELDS, "name": "Renamed", "etag": unescape(etag[1])}
    path = f"/predictions/{id_}/edit"
    assert "learns anew" not in words(person.post(path, action="estimate", **fields))
    assert "learns anew" in words(person.post(path, action="estimate", **{**fields, "window": "5"}))
    assert saved(person, path, **fields).status_code == 303
    assert api.definitions.kept().entries[0].definition["name"] == "Renamed"
    late = person.post(
        path, action="save", estimated=estimated(person.post(path, action="estimate", **fields)), **fields
    )
    assert late.status_code == 412
    history = person.page(f"/predictions/{id_}").partition(" History ")[2]
    assert re.search(r"Changed by “.*Made by “", history)


def test_ends_are_asked_about_with_what_rests_on_them(api: ApiWorld, person: Person) -> None:
    id_ = made(person)
    body = {"id": "resting", "name": "Rests on it", "filter": {"prediction": id_, "category": "high"}}
    api.ask("POST", "/v1/segments", json=body, headers=api.headers(Role.WRITE))
    asked = person.page(f"/predictions/{id_}/access")
    assert "Take “Mine” back to a preview?" in asked
    assert "Paused until it is live again, as they rest on it: Rests on it" in asked
    assert person.post(f"/predictions/{id_}/access", access="preview").status_code == 303
    assert person.told("/v1/segments/resting/definition")["archived"]
    asked = person.page(f"/predictions/{id_}/access")
    assert "Make “Mine” live?" in asked
    assert "These segments come back with it: Rests on it" in asked
    assert person.post(f"/predictions/{id_}/access", access="live").status_code == 303
    assert not person.told("/v1/segments/resting/definition")["archived"]
    asked = person.page(f"/predictions/{id_}/archive")
    assert "Archived with it, as they rest on it: Rests on it" in asked
    assert person.post(f"/predictions/{id_}/archive").status_code == 303
    assert person.told(f"/v1/predictions/{id_}/definition")["archived"]
    assert "Restore" in person.page(f"/predictions/{id_}")
    assert person.get(f"/predictions/{id_}/edit").status_code == 404
    assert person.post(f"/predictions/{id_}/restore").status_code == 303
    assert not person.told(f"/v1/predictions/{id_}/definition")["archived"]
    assert person.post(f"/predictions/{id_}/access", access="public").status_code == 422


def test_learning_from_history_shows_its_progress_on_the_page_too(api: ApiWorld, person: Person) -> None:
    id_ = made(person)
    api.definitions.tell_past(Past("reading", [id_], 250, 1_000, NOW_S))
    text = person.page(f"/predictions/{id_}")
    assert "Learning from history" in text
    assert "250 of 1,000 events read" in text
    warm = person.told("/v1/predictions/rare_7d")["warm_up"]
    assert f"{warm['users_with_goal']} of {warm['needed']} users with the goal" in person.page("/predictions/rare_7d")


def test_one_that_no_shard_knows_takes_nothing_from_the_others(person: Person) -> None:
    id_ = made(person)
    assert person.post(f"/predictions/{id_}/archive").status_code == 303
    found = person.get("/predictions/figures")
    assert (found.status_code, set(found.json())) == (200, {"orders_3d", "churn_5d", "rare_7d"})


def test_those_of_the_file_and_of_others_are_left_alone(api: ApiWorld, person: Person) -> None:
    reader = Person(api, Role.READ)
    for path in ("/predictions/by-goal", "/predictions/orders_3d/edit", "/predictions/orders_3d/archive"):
        assert reader.get(path).status_code == 403
    assert reader.post("/predictions/orders_3d/archive").status_code == 403
    for path in ("edit", "archive", "access"):
        assert person.get(f"/predictions/orders_3d/{path}").status_code == 409
    assert "New prediction" not in reader.page("/predictions")
    assert "/orders_3d/edit" not in person.get("/predictions/orders_3d").text
