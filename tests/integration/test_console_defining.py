"""Predictions and campaigns made and switched in a real browser, on every kind of screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.integration.api_process import ApiProcess
from tests.integration.console_world import CATALOG, PHONE, WIDE, Viewer, api_of, browser
from tests.integration.service_world import ServiceWorld, service
from tests.integration.test_console_browser import assert_own_language


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


def test_a_prediction_is_made_after_its_estimate(served: ApiProcess, chromium: Browser, tmp_path: Path) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/predictions")
        page.get_by_role("link", name="New prediction").click()
        page.get_by_label("Name").fill("Looks twice in a day")
        page.get_by_label("Event", exact=True).fill("View")
        page.get_by_role("button", name="Only with certain properties").click()
        page.get_by_label("Property", exact=True).fill("page")
        page.get_by_label("Value", exact=True).fill("sale")
        page.get_by_role("textbox", name="Window").fill("1")
        expect(page.locator("[data-count=users]")).not_to_have_text("–")
        everybody = page.locator("[data-count=users]").inner_text()
        page.get_by_role("button", name="Add a condition").click()
        page.get_by_label("What the condition is about").select_option("trait")
        page.get_by_label("Trait", exact=True).fill("country")
        page.get_by_label("Value", exact=True).last.fill("A")
        expect(page.locator("[data-count=users]")).not_to_have_text("–")
        some = page.locator("[data-count=users]").inner_text()
        assert 0 < int(some) < int(everybody)
        page.get_by_role("button", name="Estimate", exact=True).last.click()
        panel = page.locator(".estimate")
        expect(panel).to_contain_text("Audience")
        expect(panel.locator(".pairs dd").first).to_have_text(some)
        viewer.check()
        viewer.picture("prediction-estimated", tmp_path)
        page.get_by_role("button", name="Create the prediction").click()
        page.wait_for_url("**/console/predictions/looks_twice_in_a_day")
        definition = served.get("/v1/predictions/looks_twice_in_a_day/definition")["definition"]
        assert definition["goal"] == {"did": "View", "where": {"page": "sale"}}
        assert definition["audience"] == {"trait": "country", "equals": "A"}

        page.get_by_role("link", name="Take it back to a preview").click()
        viewer.check()
        viewer.picture("prediction-switch", tmp_path)
        page.get_by_role("button", name="Take it back to a preview").click()
        page.wait_for_url("**/console/predictions/looks_twice_in_a_day")
        page.get_by_role("link", name="Archive").click()
        page.get_by_role("button", name="Archive").click()
        page.wait_for_url("**/console/predictions/looks_twice_in_a_day")
        expect(page.get_by_role("button", name="Restore")).to_be_visible()
        expect(page.locator("#history + ol > li")).to_have_count(3)
        viewer.check()


@pytest.mark.parametrize(("language", "theme", "size"), [("en", "dark", WIDE), ("fr", "light", PHONE)])
def test_the_form_is_for_everybody(
    served: ApiProcess, chromium: Browser, tmp_path: Path, language: str, theme: str, size: dict[str, int]
) -> None:
    id_ = f"formed_{language}"
    goal = {"any": [{"did": "Order", "where": {"price": {"min": 10, "max": 50}}}, {"did": "View"}]}
    audience = {"event": "View", "since": {"max": "30d"}}
    body = {"id": id_, "name": "Formed", "goal": goal, "window": "36h", "audience": audience}
    served.post("/v1/predictions", body)
    with Viewer(chromium, served, language=language, theme=theme, size=size) as viewer:
        page = viewer.open(f"/predictions/{id_}/edit")
        expect(page.locator("[data-count=users]")).not_to_have_text("–")
        page.locator("details.panel > summary").click()
        viewer.check()
        assert_own_language(viewer)
        page.locator("button.main[value=estimate]").click()
        expect(page.locator(".estimate .pairs")).to_be_visible()
        viewer.picture("prediction-form", tmp_path)
        viewer.check()
        assert_own_language(viewer)
        for path in ("archive", "access"):
            viewer.open(f"/predictions/{id_}/{path}")
            viewer.check()
            assert_own_language(viewer)
    served.post(f"/v1/predictions/{id_}/archive", {})


def test_a_campaign_with_a_ladder_is_made_from_the_slider(
    served: ApiProcess, chromium: Browser, tmp_path: Path
) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/campaigns")
        if page.get_by_role("button", name="Only write them down").count():
            viewer.check()
            viewer.picture("campaigns-none", tmp_path)
            page.get_by_role("button", name="Only write them down").click()
        page = viewer.open("/predictions/orders_2d?min=40&max=60")
        suggested = page.locator("[data-suggestions] > li:visible")
        expect(suggested.first).to_be_visible()
        page.get_by_role("button", name="High").click()
        expect(page.get_by_role("link", name="Create a campaign")).to_have_attribute(
            "href", re.compile("category=high")
        )
        page.get_by_role("link", name="Create a campaign").click()
        viewer.check()
        viewer.picture("campaign-templates", tmp_path)
        page.locator(".card a").first.click()
        page.get_by_label("Name").fill("Off the slider")
        page.locator("input[name=offer][value=ladder]").check()
        page.get_by_role("button", name="Another step").click()
        page.get_by_label("Value of step 1").fill("20")
        for step, (edge, value) in enumerate((("40", "10"), ("80", "0")), 2):
            page.get_by_label(f"Score at which step {step} begins").fill(edge)
            page.get_by_label(f"Value of step {step}").fill(value)
        page.get_by_role("button", name="Create the campaign").click()
        page.wait_for_url("**/console/campaigns/*orders_2d*")
        expect(page.locator("h1")).to_have_text("Off the slider")
        offer = served.get("/v1/campaigns")["items"][-1]
        expect(page.locator(".pill.state-dry")).to_be_visible()
        page.get_by_role("button", name="Put it on").click()
        expect(page.locator(".pill.state-on")).to_be_visible()
        page.get_by_role("button", name="Dry run").click()
        expect(page.locator(".pill.state-dry")).to_be_visible()
        assert served.get(f"/v1/campaigns/{offer['id']}")["definition"]["offer"]["edges"] == [40.0, 80.0]
        viewer.check()
        viewer.picture("campaign", tmp_path)


ONCE = {"Day and time": "2027-03-01T10:00", "Time zone": "Europe/Paris"}
WEEKLY = {"Time of day": "08:30", "Time zone": "Europe/Paris"}


def test_when_a_campaign_goes_out_is_chosen_and_read_back(served: ApiProcess, chromium: Browser) -> None:
    weekly = {"every": "week", "at": "08:30", "on": ["monday", "friday"], "timezone": "Europe/Paris"}
    kinds: list[tuple[str, dict[str, str], Any]] = [
        ("exit", {}, "exit"),
        ("both", {}, "both"),
        ("event", {"What they do": "View"}, {"event": "View"}),
        ("once", ONCE, {"at": "2027-03-01 10:00", "timezone": "Europe/Paris"}),
        ("recurring", WEEKLY, weekly),
    ]
    with Viewer(chromium, served) as viewer:
        if viewer.open("/campaigns").get_by_role("button", name="Only write them down").count():
            viewer.page.get_by_role("button", name="Only write them down").click()
            viewer.page.wait_for_url("**/console/campaigns")
        for kind, fields, trigger in kinds:
            page = viewer.open("/campaigns/by-form?prediction=orders_2d")
            page.get_by_label("Name").fill(f"Goes out {kind}")
            page.get_by_label("Subject").fill("For you")
            page.get_by_label("Text", exact=True).fill("Come and look")
            page.get_by_label("When", exact=True).select_option(kind)
            for label in {*ONCE, *WEEKLY, "What they do"}:
                expect(page.get_by_label(label, exact=True)).to_be_visible(visible=label in fields)
            for label, value in fields.items():
                page.get_by_label(label, exact=True).fill(value)
            if kind == "recurring":
                expect(page.get_by_label("Days of the month")).to_be_hidden()
                page.get_by_label("Friday").check()
            page.get_by_role("button", name="Create the campaign").click()
            page.wait_for_url(f"**/console/campaigns/goes_out_{kind}")
            assert served.get(f"/v1/campaigns/goes_out_{kind}")["definition"]["trigger"] == trigger
            page = viewer.open(f"/campaigns/goes_out_{kind}/edit")
            expect(page.get_by_label("When", exact=True)).to_have_value(kind)
            for label, value in fields.items():
                expect(page.get_by_label(label, exact=True)).to_have_value(value)


@pytest.mark.parametrize(("language", "theme", "size"), [("en", "dark", WIDE), ("fr", "light", PHONE)])
def test_campaigns_are_for_everybody(
    served: ApiProcess, chromium: Browser, tmp_path: Path, language: str, theme: str, size: dict[str, int]
) -> None:
    with Viewer(chromium, served, language=language, theme=theme, size=size) as viewer:
        page = viewer.open("/campaigns")
        if page.locator("button[value=log]").count():
            page.locator("button[value=log]").click()
        page = viewer.open("/campaigns/by-form?template=incentive&prediction=orders_2d&min=30&max=70")
        page.locator("details.panel > summary").click()
        viewer.check()
        viewer.picture("campaign-form", tmp_path)
        assert_own_language(viewer)
        page.locator("button.main[value=save]").click()
        page.wait_for_url("**/console/campaigns/*incentive_orders_2d*")
        made = page.url.rpartition("/")[2]
        for name, path in (
            ("campaign", f"/campaigns/{made}?reach=1&user=user-220"),
            ("campaign-edit", f"/campaigns/{made}/edit"),
            ("campaign-archive", f"/campaigns/{made}/archive"),
            ("campaigns", "/campaigns"),
            ("campaign-templates", "/campaigns/by-template?prediction=churn_4d"),
        ):
            viewer.open(path)
            viewer.check()
            viewer.picture(name, tmp_path)
            assert_own_language(viewer)
