"""The console in a real browser: every page in both languages and themes and on a phone, and what people do there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect

from streams.api.keys import Role
from streams.console.language import Format
from streams.console.texts import Texts, all_texts
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH
from streams.runtime.records import Record
from tests.integration.api_process import ApiProcess
from tests.integration.console_world import CATALOG, PHONE, WIDE, Viewer, api_of, browser
from tests.integration.kill_world import client_of
from tests.integration.service_world import DAYS, START_S, ServiceWorld, service

PAGES = {
    "predictions": "/predictions",
    "prediction": "/predictions/orders_2d",
    "churn": "/predictions/churn_4d",
    "likelihood": "/predictions/orders_2d?view=likelihood",
    "preview": "/predictions/shown_2d",
    "segments": "/segments",
    "segment": "/segments/mixed",
    "segment-of-category": "/segments/churn_4d.high",
    "segment-new": "/segments/new?prediction=orders_2d&min=60&max=90",
    "live": "/live",
    "users": "/users?q=user-1",
    "user": "/users/one?id=user-220",
    "user-delete": "/users/delete?id=user-220",
    "system": "/system",
    "system-refused": "/system/refused",
    "failures": "/system/failures?kind=channel&id=log",
    "campaigns": "/campaigns",
    "campaign": "/campaigns/nearly?reach=1&user=user-220",
    "campaign-edit": "/campaigns/nearly/edit",
    "campaign-archive": "/campaigns/nearly/archive",
    "journey": "/campaigns/way",
    "journey-edit": "/campaigns/way/edit",
    "campaign-templates": "/campaigns/by-template?prediction=orders_2d&min=60&max=90",
    "campaign-sliding": "/campaigns/by-form?template=sliding_scale&prediction=orders_2d",
    "journey-new": "/campaigns/by-form?prediction=churn_4d&kind=journey",
    "prediction-new": "/predictions/by-goal",
    "nothing": "/nothing",
}
NOT_FOUND = "error: Failed to load resource: the server responded with a status of 404 (Not Found)"
LOOKS = [("en", "light", WIDE), ("fr", "dark", WIDE), ("fr", "light", PHONE), ("en", "dark", PHONE)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceWorld]:
    """A service with every kind of prediction: live, of churn, warming up, a preview."""
    with service(tmp_path_factory.mktemp("service"), CATALOG) as found:
        refused = Record(found.shards[0].position.offset, START_S + 1e8, b'{"type":"track","event":"Order"}')
        found.shards[0].step([refused], found.models, None)
        yield found


CAMPAIGN = {
    "id": "nearly",
    "name": "A ladder for those who are nearly there",
    "segment": "orders_2d.medium",
    "conversion": {"event": "Order", "window": "2d"},
    "channels": ["log"],
    "message": {"parts": {"subject": "{{ offer.value }} % for you", "body": "Take {{ offer.value }} % off."}},
    "offer": {
        "unit": "percent",
        "prediction": "orders_2d",
        "edges": [60, 70],
        "values": [20, 10, 0],
        "order_value": 50,
    },
}
JOURNEY = {
    "id": "way",
    "name": "Two words and a way between",
    "segment": "orders_2d.low",
    "conversion": {"event": "Order", "window": "2d"},
    "channels": ["log"],
    "steps": {
        "first": {"send": {"parts": {"subject": "Hello", "body": "Come and look"}}},
        "hope": {"wait_until": {"event": "View"}, "at_most": "3d", "otherwise": "fork"},
        "fork": {
            "split": [
                {"when": {"prediction": "orders_2d", "category": ["high"]}, "then": "end"},
                {"when": {"segment": "busy"}, "then": "chance"},
            ]
        },
        "last": {"send": {"parts": {"body": "Bye"}}, "offer": {"unit": "percent", "value": 10}, "then": "end"},
        "chance": {"random_split": [{"share": 0.5, "then": "last"}, {"share": 0.5, "then": "end"}]},
    },
}


@pytest.fixture(scope="module")
def served(world: ServiceWorld) -> Iterator[ApiProcess]:
    """With a campaign and a journey."""
    with api_of(world) as api:
        with client_of(api.url, api.keys[Role.ADMIN]) as client:
            client.edit_messaging({"channels": {"log": {"kind": "log"}}}, client.messaging().etag)
            client.create_campaign("campaign", CAMPAIGN)
            client.create_campaign("journey", JOURNEY)
        yield api


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


def phrases(texts: Texts) -> set[str]:
    """What could stand on a page in this language only: texts of several words without placeholders."""
    return {text for text in all_texts(texts) if " " in text and "{" not in text}


def assert_own_language(viewer: Viewer) -> None:
    """Nothing on the page, or in what is read out of it, is of the other language."""
    other = {"en": FRENCH, "fr": ENGLISH}[viewer.language]
    own = {"en": ENGLISH, "fr": FRENCH}[viewer.language]
    shown = viewer.page.content()
    assert [text for text in phrases(other) - phrases(own) if text in shown] == []


@pytest.mark.parametrize(("language", "theme", "size"), LOOKS)
def test_every_page_is_for_everybody(
    served: ApiProcess, chromium: Browser, tmp_path: Path, language: str, theme: str, size: dict[str, int]
) -> None:
    with Viewer(chromium, served, language=language, theme=theme, size=size) as viewer:
        for name, path in PAGES.items():
            viewer.open(path)
            assert viewer.page.locator("html").get_attribute("lang") == language
            viewer.check()
            viewer.picture(name, tmp_path)
            assert_own_language(viewer)
        viewer.complaints.remove(NOT_FOUND)
        viewer.page.click(".account button")
        expect(viewer.page.locator("#key")).to_be_focused()
        viewer.check()
        viewer.picture("sign-in", tmp_path)


def test_who_has_no_good_key_is_told_and_a_shared_address_is_opened_after_signing_in(
    served: ApiProcess, chromium: Browser
) -> None:
    viewer = Viewer(chromium, served)
    page = viewer.open("/predictions?from=mail")
    page.fill("#key", "tl_admin_nonsense")
    page.click("button.main")
    expect(page.locator("#wrong")).to_contain_text("not known, or was revoked")
    page.fill("#key", served.keys[Role.INGEST])
    page.click("button.main")
    expect(page.locator("#wrong")).to_contain_text("may only send events")
    page.fill("#key", served.keys[Role.READ])
    page.click("button.main")
    page.wait_for_url("**/console/predictions?from=mail")
    assert all("403" in words for words in viewer.complaints), "the two refusals"
    viewer.context.close()


def test_a_link_that_brings_its_key_signs_in_with_one_click_and_hides_it(served: ApiProcess, chromium: Browser) -> None:
    viewer = Viewer(chromium, served)
    page = viewer.open(f"/sign-in#key={served.keys[Role.READ]}")
    expect(page.locator("button.main")).to_be_focused()
    assert page.url.endswith("/console/sign-in"), "nobody who looks at the screen or the history reads it"
    page.click("button.main")
    page.wait_for_url("**/console/predictions")
    assert viewer.complaints == []
    viewer.context.close()


@pytest.mark.parametrize(("language", "size"), [("en", WIDE), ("fr", PHONE)])
def test_a_record_that_could_not_be_used_is_looked_into_and_corrected(
    served: ApiProcess, chromium: Browser, tmp_path: Path, language: str, size: dict[str, int]
) -> None:
    with Viewer(chromium, served, role=Role.ADMIN, language=language, size=size) as viewer:
        page = viewer.open("/system/refused")
        page.click("table a")
        text = page.locator("#record-text")
        expect(text).to_have_value('{"type":"track","event":"Order"}')
        viewer.check()
        viewer.picture("system-refused-one", tmp_path)
        page.click("form button.main >> nth=-1")
        expect(page.locator("#wrong")).to_contain_text("no user id")
        expect(text).to_have_attribute("aria-invalid", "true")
        viewer.check()
        viewer.complaints.clear()  # the refusal


@pytest.mark.parametrize(("language", "zone"), [("en", "CES?T"), ("fr", r"UTC\+[12]")])
def test_times_are_written_as_the_server_writes_them_in_the_zone_of_the_viewer(
    served: ApiProcess, chromium: Browser, language: str, zone: str
) -> None:
    with Viewer(chromium, served, language=language) as viewer:
        times = viewer.open("/segments/mixed").locator("time[data-time]")
        assert times.count() > 0
        for time in times.all():
            moment = datetime.fromisoformat(str(time.get_attribute("datetime"))).astimezone(ZoneInfo("Europe/Paris"))
            day = Format("fr" if language == "fr" else "en").day(moment.date())
            expect(time).to_have_text(re.compile(rf"^{re.escape(f'{day}, {moment:%H:%M}')} {zone}$"))


def test_language_and_appearance_are_chosen_on_the_page(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.page
        page.click("button[value=fr]")
        expect(page.locator("h1")).to_have_text("Prédictions")
        page.click("button[value=dark]")
        assert page.locator("html").get_attribute("data-theme") == "dark"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(12, 18, 23)"


def test_cards_show_what_the_api_says(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/predictions")
        for view in served.get("/v1/predictions")["items"]:
            card = page.locator(".card", has=page.get_by_role("link", name=view["name"], exact=True))
            expect(card).to_contain_text(f"{view['audience']}\u00a0users")
            expected = served.get(f"/v1/predictions/{view['id']}/estimate")["expected"]
            assert abs(float(card.locator(".big").inner_text()) - expected) <= 0.5


def test_the_slider_estimates_while_it_moves_and_asks_once_when_it_rests(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/predictions/orders_2d")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "/estimate?" in request.url else None)
        expect(page.locator("[data-told=rank]")).to_have_text("Top 25%")
        thumb = page.locator("[data-end=low]")
        box = thumb.bounding_box()
        assert box is not None
        x, y = box["x"] + 11 + (box["width"] - 22) * 0.75, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - (box["width"] - 22) * 0.35, y, steps=20)
        expect(page.locator("[data-told=users]")).to_contain_text("≈")
        assert asked == [], "no request per pixel"
        low = thumb.input_value()
        assert 35 <= float(low) <= 45
        page.mouse.up()
        expect(page.locator("[data-told=users]")).not_to_contain_text("≈")
        assert len(asked) == 1
        told = served.get(f"/v1/predictions/orders_2d/estimate?min={low}&max=100")
        expect(page.locator("[data-told=users]")).to_have_text(str(told["users"]))
        assert page.url.endswith(f"?min={low}&max=100"), "it can be shared"
        thumb.press("ArrowRight")
        expect(page.locator("[data-told=users]")).not_to_contain_text("≈")
        assert float(thumb.input_value()) == float(low) + 1
        page.get_by_role("button", name="Medium").click()
        medium = served.get("/v1/predictions/orders_2d/estimate?category=medium")["users"]
        expect(page.locator("[data-told=users]")).to_have_text(str(medium))
        expect(page.locator("[data-told=rank]")).to_have_text("Ranks 50 to 75")
        page.reload()
        expect(page.locator("[data-pick=medium]")).to_have_attribute("aria-pressed", "true")


def test_a_segment_is_made_from_the_slider(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/predictions/orders_2d?min=60&max=90")
        page.get_by_role("link", name="Create a segment").click()
        page.get_by_label("Name").fill("Nearly there")
        page.get_by_role("button", name="Create a segment").click()
        page.wait_for_url("**/console/segments/nearly_there")
        expect(page.locator("h1")).to_have_text("Nearly there")
        definition = served.get("/v1/segments/nearly_there/definition")
        assert definition["definition"]["filter"]["score"] == {"min": 60.0, "max": 90.0}
        page.get_by_role("link", name="Archive").click()
        viewer.check()
        page.get_by_role("button", name="Archive").click()
        page.wait_for_url("**/console/segments")
        assert served.get("/v1/segments/nearly_there/definition")["archived"]


def test_scores_of_members_are_in_sight_on_a_phone(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served, size=PHONE) as viewer:
        page = viewer.open("/segments/mixed")
        cells = page.locator(".members tbody tr").first.locator("th, td")
        assert cells.count() == 4
        for cell in cells.all():
            box = cell.bounding_box()
            assert box is not None
            assert 0 <= box["x"] < box["x"] + box["width"] <= PHONE["width"]


def test_nothing_is_made_of_a_preview(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/predictions/shown_2d")
        expect(page.get_by_role("button", name="Create a segment")).to_be_disabled()
        expect(page.locator("#against")).to_contain_text("it is a preview on your own data")


def test_crossings_show_up_as_they_happen_and_wait_while_it_is_paused(
    world: ServiceWorld, served: ApiProcess, chromium: Browser
) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/live?user=newcomer")
        state = page.locator("[data-live-state]")
        expect(state).to_have_text("Live")
        expect(page.locator("[data-live-empty]")).to_be_visible()
        world.take([viewed("newcomer", 1), viewed("newcomer", 2)])
        row = page.locator("tr", has=page.get_by_role("link", name="Looked twice within two days"))
        expect(row).to_contain_text("Entered")
        expect(row).to_contain_text("an event")
        page.get_by_role("button", name="Pause").click()
        shown = page.locator(".crossings tbody tr").count()
        world.take([{**viewed("newcomer", 3), "event": "Order"}, *(viewed("newcomer", n) for n in range(4, 60))])
        expect(state).to_contain_text("Paused (")
        assert page.locator(".crossings tbody tr").count() == shown
        viewer.check()
        page.get_by_role("button", name="Go on").click()
        expect(state).to_have_text("Live")
        assert page.locator(".crossings tbody tr").count() > shown
        page.get_by_role("link", name="newcomer").first.click()
        expect(page.locator("h1")).to_have_text("newcomer")
        viewer.check()


def viewed(user: str, number: int) -> dict[str, Any]:
    """A visit, some minutes after the month of the service."""
    time_s = START_S + DAYS * 86_400 + 60 * number
    return {
        "type": "track",
        "userId": user,
        "event": "View",
        "messageId": f"live-{user}-{number}",
        "timestamp": datetime.fromtimestamp(time_s, UTC).isoformat(),
    }
