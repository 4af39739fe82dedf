"""The builder of filters in a real browser: mouse and keyboard, both languages, on a phone, and without scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from streams.console.texts_french import FRENCH
from tests.integration.api_process import ApiProcess
from tests.integration.console_world import CATALOG, PHONE, WIDE, Viewer, api_of, browser
from tests.integration.service_world import ServiceWorld, service
from tests.integration.test_console_browser import assert_own_language

BY_FILTER = "/segments/by-filter"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceWorld]:
    with service(tmp_path_factory.mktemp("service"), CATALOG) as found:
        yield found


@pytest.fixture(scope="module")
def served(world: ServiceWorld) -> Iterator[ApiProcess]:
    with api_of(world) as api:
        yield api


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


def leaves(page: Page) -> Locator:
    return page.locator("[data-builder] .leaf")


def told(served: ApiProcess, tree: Any) -> str:
    """How many users the API counts for a filter."""
    return str(served.post("/v1/predictions/orders_2d/estimate", {"filter": tree})["users"])


def definition(served: ApiProcess, id_: str) -> Any:
    return served.get(f"/v1/segments/{id_}/definition")["definition"]


def test_no_count_of_another_filter_is_shown(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open(BY_FILTER)
        users = page.locator("[data-count=users]")
        expect(users).to_have_text(told(served, {"prediction": "orders_2d", "category": ["high"]}))
        held: list[Route] = []
        page.route("**/by-filter/count", lambda route: held.append(route))  # noqa: PLW0108  its handlers carry attributes
        with page.expect_request("**/by-filter/count"):
            leaves(page).first.get_by_label("Medium").check()
        expect(users).to_have_attribute("aria-busy", "true")
        leaves(page).first.get_by_label("High").uncheck()
        leaves(page).first.get_by_label("Medium").uncheck()
        expect(users).to_have_text("–")
        with page.expect_response("**/by-filter/count"):
            held.pop().fulfill(json={"users": "77", "notes": [], "places": []})
        with page.expect_request("**/by-filter/count"):
            leaves(page).first.get_by_label("Low").check()  # asked for only after the first answer was taken
        expect(users).to_have_text("–")
        held.pop().fulfill(json={"users": "78", "notes": [], "places": []})
        expect(users).to_have_text("78")


def test_a_nested_filter_is_built_counted_saved_and_changed(
    served: ApiProcess, chromium: Browser, tmp_path: Path
) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/segments")
        page.get_by_role("link", name="New segment by filter").click()
        users = page.locator("[data-count=users]")
        expect(users).to_have_text(told(served, {"prediction": "orders_2d", "category": ["high"]}))
        leaves(page).first.get_by_label("Medium").check()
        both = {"prediction": "orders_2d", "category": ["medium", "high"]}
        expect(users).to_have_text(told(served, both))

        page.get_by_role("button", name="Add a group").click()
        inner = page.locator("[data-builder] .group .group")
        inner.get_by_label("How the conditions go together").select_option("none")
        leaf = inner.locator(".leaf").first
        leaf.get_by_label("What the condition is about").select_option("count")
        expect(page.locator("[data-count=notes]")).to_contain_text("Complete every condition")
        leaf.get_by_label("Event").fill("View")
        leaf.get_by_label("Period").select_option("within")
        leaf.get_by_role("spinbutton", name="within").fill("2")
        inner.get_by_role("button", name="Add a condition").click()
        trait = inner.locator(".leaf").nth(1)
        trait.get_by_label("What the condition is about").select_option("trait")
        trait.get_by_label("Trait", exact=True).fill("country")
        trait.get_by_label("Comparison").select_option("in")
        trait.get_by_label("Values").fill("A\nB")
        none = {"any": [{"event": "View", "count": {"min": 1}, "within": "2d"}, {"trait": "country", "in": ["A", "B"]}]}
        expect(users).to_have_text(told(served, {"all": [both, {"not": none}]}))
        viewer.check()
        viewer.picture("builder", tmp_path)
        page.get_by_label("Name").fill("Quiet ones")
        page.get_by_role("button", name="Create a segment").click()
        page.wait_for_url("**/console/segments/quiet_ones")
        assert definition(served, "quiet_ones")["filter"] == {"all": [both, {"not": none}]}

        page.get_by_role("link", name="Edit").click()
        page.locator("[data-builder] .group .group > .mode").get_by_role("button", name="Remove").click()
        expect(leaves(page)).to_have_count(1)
        expect(users).to_have_text(told(served, both))
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/console/segments/quiet_ones")
        assert definition(served, "quiet_ones")["filter"] == both
        expect(page.locator("#history + ol > li")).to_have_count(2)
        served.post("/v1/segments/quiet_ones/archive", {})
        viewer.open("/segments/quiet_ones")
        expect(page.get_by_role("button", name="Restore")).to_be_visible()
        expect(page.locator("#history + ol > li")).to_have_count(3)
        viewer.check()
        viewer.picture("segment-with-history", tmp_path)


def test_every_kind_of_condition_comes_back_as_it_was_saved(served: ApiProcess, chromium: Browser) -> None:
    tree = {
        "any": [
            {"prediction": "churn_4d", "score": {"min": 12.5, "max": 80.0}},
            {"prediction": "orders_2d", "likelihood": {"min": 0.07, "max": 0.29}},
            {"trait": "country", "equals": "C"},
            {"trait": "country", "exists": False},
            {"trait": "age", "min": 18.0},
            {"trait": "size", "in": [1, 2.5]},
            {"event": "Order", "since": {"min": "36h", "max": "14d"}},
            {"event": "Order", "count": {"min": 2, "max": 5}},
            {"not": {"all": [{"segment": "busy"}, {"segment": "churn_4d.low"}]}},
        ]
    }
    served.post("/v1/segments", {"id": "every_kind", "name": "Every kind", "filter": tree})
    before = definition(served, "every_kind")
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/segments/every_kind/edit")
        expect(leaves(page)).to_have_count(10)
        page.get_by_label("Name").fill("Every kind of condition")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/console/segments/every_kind")
    assert definition(served, "every_kind") == {**before, "name": "Every kind of condition"}


def test_what_is_true_or_false_is_written_in_the_words_of_the_page(served: ApiProcess, chromium: Browser) -> None:
    tree = {"trait": "gift", "in": [True, False]}
    served.post("/v1/segments", {"id": "gifts", "name": "Gifts", "filter": tree})
    with Viewer(chromium, served, language="fr") as viewer:
        page = viewer.open("/segments/gifts/edit")
        values = page.get_by_label(FRENCH.builder["values"])
        expect(values).to_have_value("vrai\nfaux")
        values.fill("oui")
        assert values.evaluate("(field) => field.validationMessage") == FRENCH.builder["value_wrong"]
        values.fill("Faux\ntrue")
        page.get_by_role("button", name=FRENCH.save).click()
        page.wait_for_url("**/console/segments/gifts")
    assert definition(served, "gifts")["filter"] == {"trait": "gift", "in": [False, True]}


ODD_VALUES: list[Any] = [
    {"trait": "country", "in": ["a, b", "c"]},
    {"trait": "country", "in": [" A ", '"quoted"', "two\nlines", "12", "true"]},
    {"trait": "country", "in": ["A", 1, True, 2.5]},
    {"trait": "size", "in": [1, 0.1, 1234567, 1e21, 12345.678]},
    {"trait": "gift", "in": [True, False]},
    {"trait": "gift", "equals": False},
    {"trait": "country", "equals": " A, B "},
    {"trait": "country", "equals": ""},
    {"trait": " odd name", "equals": 1234567},
    {"trait": "age", "min": 0.1, "max": 1234567.25},
    {"event": " View", "count": {"min": 1234567}},
    {"event": "Order", "since": {"min": "90s", "max": "90m"}},
    {"prediction": "orders_2d", "likelihood": {"min": 0.07, "max": 0.123456789}},
    {"prediction": "orders_2d", "score": {"min": 12.345678}},
    {"not": {"any": [{"segment": "busy"}]}},
    {"not": {"segment": "busy"}},
    {"any": [{"segment": "busy"}]},
]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_no_value_is_changed_by_opening_it_or_by_touching_its_fields(
    served: ApiProcess, chromium: Browser, language: str
) -> None:
    id_ = f"odd_{language}"
    served.post("/v1/segments", {"id": id_, "name": "Odd", "filter": {"all": ODD_VALUES}})
    before = definition(served, id_)
    with Viewer(chromium, served, language=language) as viewer:
        page = viewer.open(f"/segments/{id_}/edit")
        text = page.locator("#filter")
        expect(leaves(page)).to_have_count(len(ODD_VALUES))
        assert not text.input_value().startswith("{"), "nobody has touched it: it is the YAML of the page"
        page.locator("#name").fill("Renamed")
        page.locator("button.main").click()
        page.wait_for_url(f"**/console/segments/{id_}")
        assert definition(served, id_) == {**before, "name": "Renamed"}

        viewer.open(f"/segments/{id_}/edit")
        touched = page.evaluate(_TOUCH_ALL)
        assert touched > len(ODD_VALUES)
        assert json.dumps(json.loads(text.input_value())["all"]) == json.dumps(
            _as_scripts_write(before["filter"]["all"])
        )
        page.locator("button.main").click()
        page.wait_for_url(f"**/console/segments/{id_}")
        assert definition(served, id_) == {**before, "name": "Renamed"}


_TOUCH_ALL = """() => {
  const fields = document.querySelectorAll("[data-builder] input, [data-builder] textarea");
  for (const each of fields) each.dispatchEvent(new Event("input", { bubbles: true }));
  return fields.length;
}"""


def _as_scripts_write(data: Any) -> Any:
    """Numbers as JavaScript has them: 1.0 is 1."""
    if isinstance(data, dict):
        return {key: _as_scripts_write(each) for key, each in data.items()}
    if isinstance(data, list):
        return [_as_scripts_write(each) for each in data]
    return int(data) if isinstance(data, float) and data.is_integer() and abs(data) < 1e15 else data


def test_the_builder_works_by_keyboard_alone(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open(BY_FILTER)
        page.get_by_label("Name").press("Tab")
        expect(page.get_by_label("How the conditions go together")).to_be_focused()
        page.get_by_role("button", name="Add a condition").press("Enter")
        expect(page.get_by_label("What the condition is about").nth(1)).to_be_focused()
        page.keyboard.press("Control+End")
        leaves(page).nth(1).get_by_role("button", name="Remove").press("Enter")
        expect(page.get_by_label("What the condition is about")).to_be_focused()
        leaves(page).first.get_by_role("button", name="Remove").press("Enter")
        expect(page.get_by_role("button", name="Add a condition")).to_be_focused()
        expect(page.locator("[data-count=notes]")).to_contain_text("Add a condition to begin with")
        page.get_by_label("Name").fill("Nothing")
        page.get_by_label("Name").press("Enter")
        expect(page.get_by_role("button", name="Add a condition")).to_be_focused()
        assert page.url.endswith(BY_FILTER), "nothing is made of a filter that says nothing"


@pytest.mark.parametrize(("language", "theme", "size"), [("en", "dark", WIDE), ("fr", "light", PHONE)])
def test_the_builder_is_for_everybody(
    served: ApiProcess, chromium: Browser, tmp_path: Path, language: str, theme: str, size: dict[str, int]
) -> None:
    tree = {
        "all": [
            {"prediction": "orders_2d", "score": {"min": 50, "max": 100}},
            {"any": [{"event": "View", "count": {"min": 2}, "within": "24h"}, {"trait": "country", "equals": "A"}]},
            {"event": "Order", "since": {"min": "3d"}},
        ]
    }
    id_ = f"looked_at_{language}"
    served.post("/v1/segments", {"id": id_, "name": "Looked at", "filter": tree, "min_dwell": "2h"})
    with Viewer(chromium, served, language=language, theme=theme, size=size) as viewer:
        page = viewer.open(f"/segments/{id_}/edit")
        expect(page.locator("[data-count=users]")).to_have_text(told(served, tree))
        viewer.picture("builder", tmp_path)
        viewer.check()
        assert_own_language(viewer)


def test_without_scripts_the_filter_is_written_as_text(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        cookies = viewer.context.cookies()
    plain = chromium.new_context(java_script_enabled=False, locale="en")
    plain.add_cookies([{"name": c["name"], "value": c["value"], "url": served.url} for c in cookies])
    page = plain.new_page()
    page.goto(f"{served.url}/console{BY_FILTER}")
    page.get_by_label("Name").fill("By hand")
    page.get_by_label("The filter as text").fill("any:\n- {event: View, count: {min: 3}}\n- {segment: busy}\n")
    page.get_by_role("button", name="Count the users").click()
    tree = {"any": [{"event": "View", "count": {"min": 3}}, {"segment": "busy"}]}
    expect(page.locator("[data-count=users]")).to_have_text(told(served, tree))
    page.get_by_role("button", name="Create a segment").click()
    page.wait_for_url("**/console/segments/by_hand")
    assert definition(served, "by_hand")["filter"] == tree
    plain.close()
