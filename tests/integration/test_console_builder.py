"""The builder of filters in a real browser: mouse and keyboard, both languages, on a phone, and without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

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
        trait.get_by_label("Values").fill("A, B")
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
