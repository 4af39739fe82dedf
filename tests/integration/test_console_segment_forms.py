"""Segments by filter in the console, without a browser: what the form takes, counts, refuses and remembers."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from streams.api.keys import Role
from streams.console.visit import BASE
from tests.html_forms import sent
from tests.integration.test_console_pages import Person
from tests.unit.api_world import ApiWorld

EVERY_KIND = {
    "all": [
        {"prediction": "orders_3d", "score": {"min": 20, "max": 100}},
        {"not": {"prediction": "orders_3d", "likelihood": {"min": 0.9}}},
        {"any": [{"prediction": "orders_3d", "category": ["medium", "high"]}, {"segment": "keen"}]},
        {"not": {"trait": "country", "in": ["A", "B"]}},
        {"event": "Viewed", "count": {"min": 1}, "within": "48h"},
        {"event": "Viewed", "since": {"max": "30d"}},
    ]
}


@pytest.fixture
def api(shop_console: ApiWorld) -> ApiWorld:
    return shop_console


@pytest.fixture
def person(api: ApiWorld) -> Person:
    return Person(api)


def counted(person: Person, tree: Any, **more: str) -> Any:
    text = tree if isinstance(tree, str) else json.dumps(tree)
    answer = person.post("/segments/by-filter/count", filter=text, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def attribute(text: str, name: str) -> Any:
    """What a page hands to its script."""
    found = re.search(rf'{name}="([^"]*)"', text)
    assert found is not None, name
    return json.loads(unescape(found[1]))


def test_a_filter_of_every_kind_is_counted_as_the_api_counts_it(api: ApiWorld, person: Person) -> None:
    asked = {"filter": EVERY_KIND}
    told = api.ask("POST", "/v1/predictions/orders_3d/estimate", json=asked, headers=api.headers(Role.READ)).json()
    found = counted(person, EVERY_KIND)
    assert (found["users"], found["places"]) == (str(told["users"]), [])
    (note,) = found["notes"]
    assert note.startswith("Expected to do it: ")
    assert abs(float(note.rpartition(" ")[2]) - told["expected"]) <= 0.5
    as_yaml = "event: Viewed\ncount: {min: 2}\nwithin: 48h\n"
    assert counted(person, as_yaml)["users"] == str(person.told("/v1/segments/keen")["members"])


def test_a_filter_that_is_not_right_yet_is_told_and_nothing_is_counted(person: Person) -> None:
    for wrong, place in (
        ("", "filter"),
        ("{[", "flow"),
        ({"all": []}, "at least 1"),
        ({"prediction": "nope", "category": "high"}, "prediction"),
        ({"event": "Order Completed", "count": {"min": 1}, "within": "7d"}, "history"),
        ({"segment": "new"}, "segment"),
    ):
        found = counted(person, wrong)
        assert found["users"] == "–"
        assert found["notes"] == ["This is not right yet. Check what is named below."]
        assert place in found["places"][0][0], found
    assert "cannot be estimated" in counted(person, {"trait": "unheard_of", "equals": 1})["notes"][0]
    assert "still warming up" in counted(person, {"prediction": "rare_7d", "category": "high"})["notes"][-1]


def test_a_segment_is_made_changed_and_restored_with_its_history(api: ApiWorld, person: Person) -> None:
    fields = {"name": " Keen  ones ", "filter": json.dumps(EVERY_KIND), "entry": "crossings", "dwell": "1.5"}
    made = person.post("/segments/by-filter", dwell_unit="h", **fields)
    assert (made.status_code, made.headers["location"]) == (303, f"{BASE}/segments/keen_ones")
    definition = api.definitions.kept().entries[0].definition
    assert definition["name"] == "Keen ones"
    assert (definition["entry"], definition["min_dwell"]) == ("crossings", "90m")
    assert definition["filter"]["all"][4] == {"event": "Viewed", "count": {"min": 1}, "within": "2d"}

    text = person.get("/segments/keen_ones/edit").text
    assert attribute(text, "data-tree") == definition["filter"]
    fields_shown = sent(text, f"{BASE}/segments/keen_ones/edit")
    assert (fields_shown["dwell"], fields_shown["dwell_unit"]) == ("90", "m")
    etag = re.search(r'name="etag" value="([^"]+)"', text)
    assert etag is not None
    change = {"name": "Keen", "filter": "{event: Viewed, count: {min: 3}}", "etag": unescape(etag[1])}
    assert person.post("/segments/keen_ones/edit", **change).headers["location"] == f"{BASE}/segments/keen_ones"
    late = person.post("/segments/keen_ones/edit", **change)
    assert (late.status_code, "Somebody else has changed this" in late.text) == (412, True)

    page = person.page("/segments/keen_ones")
    history = page.partition(" History ")[2]
    assert "by “" in history
    assert re.search(r"Changed .*Called “Keen” since then.*“Viewed” ever: at least 3 times.*Made ", history)
    assert person.post("/segments/keen_ones/archive").status_code == 303
    assert "Archived segments" in person.page("/segments")
    assert person.get("/segments/keen_ones/edit").status_code == 404
    assert "Restore" in person.page("/segments/keen_ones")
    assert person.post("/segments/keen_ones/restore").status_code == 303
    assert not person.told("/v1/segments/keen_ones/definition")["archived"]
    assert "Restored" in person.page("/segments/keen_ones")


def test_the_form_comes_back_with_what_was_entered_and_what_is_wrong(api: ApiWorld, person: Person) -> None:
    answer = person.post("/segments/by-filter", name="", filter="{event: Viewed, count: {min: 1}}")
    assert (answer.status_code, "Give it a name" in answer.text) == (422, True)
    assert attribute(answer.text, "data-tree") == {"event": "Viewed", "count": {"min": 1}}
    answer = person.post("/segments/by-filter", name="Odd", filter="{event: Viewed")
    assert answer.status_code == 422
    assert "data-builder=" not in answer.text, "what cannot be read is shown as text"
    assert "{event: Viewed</textarea>" in answer.text
    answer = person.post("/segments/by-filter", name="Odd", filter="{event: Viewed, count: {min: 1}}", dwell="soon")
    assert (answer.status_code, 'id="wrong-dwell"' in answer.text) == (422, True)
    assert api.definitions.kept().entries == ()


def test_without_a_script_the_users_are_counted_by_a_button(person: Person) -> None:
    answer = person.post("/segments/by-filter", name="", filter="{event: Viewed, count: {min: 1}}", action="count")
    text = re.sub(r"[ \n]+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))
    told = counted(person, "{event: Viewed, count: {min: 1}}")
    assert (answer.status_code, f"Users {told['users']} " in text) == (200, True)


def test_the_builder_offers_what_there_is(person: Person) -> None:
    offered = attribute(person.get("/segments/by-filter").text, "data-offered")
    assert {each["id"] for each in offered["predictions"]} == {"orders_3d", "churn_5d", "rare_7d"}
    churn = next(each for each in offered["predictions"] if each["id"] == "churn_5d")
    assert churn["categories"]["high"] == "High risk"
    assert {"Viewed", "Order Completed"} <= set(offered["events"])
    assert offered["history"] == ["Viewed"]
    assert offered["traits"]["country"] == {"type": "text", "values": ["A", "B", "C"]}
    assert offered["segments"]["keen"] == "Looked twice within two days"
    assert offered["segments"]["churn_5d.high"] == "No order for 5 days: High risk"


def test_who_may_only_look_gets_no_form(api: ApiWorld) -> None:
    reader = Person(api, Role.READ)
    assert reader.get("/segments/by-filter").status_code == 403
    assert reader.post("/segments/by-filter/count", filter="{}").status_code == 403
    assert "New segment by filter" not in reader.page("/segments")
    writer = Person(api)
    assert "New segment by filter" in writer.page("/segments")
    assert writer.get("/segments/keen/edit").status_code == 409, "it is of the catalog file"
