"""The console in a real browser: every page in both languages and themes and on a phone, and what people do there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Dialog, Route, expect

from streams.adapters.campaign_definitions import Wanted, defined, redis_campaign_definitions, stood
from streams.adapters.redis_desks import RedisDesks
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
from tests.integration.test_console_deliveries import given_up

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
    """With a campaign and a journey, of which messages were given up."""
    with closing(RedisDesks(world.url)) as desks:
        given_up(desks, "log", "nearly", "nearly", "way")
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


def test_nobody_loses_what_is_written_by_another_language_unasked(served: ApiProcess, chromium: Browser) -> None:
    address = "/segments/new?prediction=orders_2d&min=60&max=90"
    with Viewer(chromium, served) as viewer:
        asked: list[str] = []

        def stay(dialog: Dialog) -> None:
            asked.append(dialog.message)
            dialog.dismiss()

        page = viewer.open(address)
        page.once("dialog", stay)
        page.get_by_label("Name").fill("Nearly there")
        page.click("button[value=fr]")
        expect(page.get_by_label("Name")).to_have_value("Nearly there")
        assert asked == [ENGLISH.switch_loses]
        page.locator("form.panel").evaluate("(form) => { form.noValidate = true; }")
        page.get_by_label("Name").fill("")
        page.get_by_role("button", name="Create a segment").click()
        expect(page.locator("#wrong")).to_be_visible()
        page.once("dialog", Dialog.accept)
        page.click("button[value=fr]")
        page.wait_for_url(f"**/console{address}")
        expect(page.locator("html")).to_have_attribute("lang", "fr")
        assert all("422" in each for each in viewer.complaints)
        viewer.complaints.clear()


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


def test_the_view_by_likelihood_keeps_what_is_selected_and_selects(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/predictions/orders_2d?min=62.5&max=100")
        with page.expect_response("**/estimate?*"):
            page.locator("[data-end=high]").press("ArrowLeft")
        page.get_by_role("link", name="By likelihood").click()
        expect(page).to_have_url(re.compile(r"\?view=likelihood&min=62.5&max=99$"))
        told = served.get("/v1/predictions/orders_2d/estimate?min=62.5&max=99")
        expect(page.locator("[data-told=users]")).to_have_text(str(told["users"]))
        expect(page.locator("[data-told=rank]")).to_have_text("Ranks 62.5 to 99")
        with page.expect_response("**/estimate?*"):
            page.locator("[data-end=high]").press("ArrowLeft")
        expect(page).to_have_url(re.compile(r"\?view=likelihood&min=62.5&max=98$"))
        page.get_by_role("link", name="Create a segment").click()
        expect(page.locator(".chosen")).to_contain_text("Scores 62.5 to 98")
        page.go_back()
        with page.expect_response("**/estimate?*"):
            page.get_by_role("button", name="Medium").click()
        medium = served.get("/v1/predictions/orders_2d/estimate?category=medium")["users"]
        expect(page.locator("[data-told=users]")).to_have_text(str(medium))
        buckets = served.get("/v1/predictions/orders_2d/distribution")["by_likelihood"]
        ahead = [sum(each["users"] for each in buckets[:n]) for n in range(len(buckets) + 1)]
        shown = [100 * high / ahead[-1] > 50 and 100 * low / ahead[-1] < 75 for low, high in pairwise(ahead)]
        bars = page.locator(".bucket").evaluate_all("(bars) => bars.map((bar) => !bar.classList.contains('off'))")
        assert bars == shown, "those whose ranks are in the category stand out"
        page.get_by_role("link", name="By score").click()
        expect(page.locator("[data-pick=medium]")).to_have_attribute("aria-pressed", "true")
        expect(page).to_have_url(re.compile(r"\?category=medium$"))


def test_the_slider_shows_no_figures_of_another_range(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/predictions/orders_2d?min=12.5&max=62.5")
        high = page.locator("[data-end=high]")
        assert (page.locator("[data-end=low]").input_value(), high.input_value()) == ("12.5", "62.5")
        expect(page.locator("[data-told=rank]")).to_have_text("Ranks 12.5 to 62.5")
        held: list[Route] = []
        page.route("**/estimate?*", lambda route: held.append(route))  # noqa: PLW0108  its handlers carry attributes
        with page.expect_request("**/estimate?*"):
            high.press("ArrowRight")
        assert high.input_value() == "64"
        with page.expect_event("requestfailed"):  # what is under way is of a range that is left
            high.evaluate("(end) => { end.value = 90; end.dispatchEvent(new Event('input')); }")
        expect(page.locator("[data-told=users]")).to_contain_text("≈")
        expect(page.locator("[data-told=failed]")).to_be_hidden()


@pytest.mark.parametrize("how", ["cut", "proxy"])
def test_what_cannot_be_loaded_is_told_in_the_language_of_the_page(
    served: ApiProcess, chromium: Browser, how: str
) -> None:
    def answer(route: Route) -> None:
        if how == "cut":
            route.abort("connectionrefused")
        else:
            route.fulfill(status=502, content_type="text/html", body="<html>Bad Gateway</html>")

    with Viewer(chromium, served, language="fr") as viewer:
        page = viewer.open("/predictions/orders_2d")
        page.route("**/console/**", answer)
        page.locator("[data-end=low]").press("ArrowRight")
        expect(page.locator("[data-told=failed]")).to_have_text(FRENCH.not_loaded)
        page.unroute("**/console/**")
        page.route("**/figures", answer)
        viewer.open("/segments")
        expect(page.get_by_role("alert")).to_have_text(FRENCH.not_loaded)
        assert all("Failed to load resource" in each for each in viewer.complaints)
        viewer.complaints.clear()


def test_a_page_that_waits_takes_nobodys_focus(served: ApiProcess, chromium: Browser) -> None:
    """It says three times that it waits, each time in other words, and is never left."""
    asked: list[str] = []

    def waiting(route: Route) -> None:
        asked.append(route.request.url)
        pause_ms = 50 if len(asked) < 3 else 600_000
        words = f'<p data-reload="{pause_ms}">Asked for {len(asked)} times</p><h1>'
        route.fulfill(status=200, content_type="text/html", body=route.fetch().text().replace("<h1>", words, 1))

    with Viewer(chromium, served) as viewer:
        viewer.page.route("**/segments/mixed", waiting)
        page = viewer.open("/segments/mixed")
        link = page.locator("a.trail")
        link.focus()
        page.evaluate("document.body.dataset.same = 'yes'")
        expect(page.locator("[data-reload]")).to_have_text("Asked for 3 times")
        expect(link).to_be_focused()
        assert page.evaluate("document.body.dataset.same") == "yes"


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
        page.reload()
        expect(row.first).to_be_visible()  # the latest that the filter wants, however much came of others since
        page.get_by_role("link", name="newcomer").first.click()
        expect(page.locator("h1")).to_have_text("newcomer")
        viewer.check()


def test_categories_of_a_path_follow_its_prediction(served: ApiProcess, chromium: Browser) -> None:
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/campaigns/way/edit")
        chosen = page.locator("[name=s2_path_0_category]")
        page.locator("[name=s2_path_0_prediction]").select_option("churn_4d")
        expect(chosen).to_have_accessible_name(ENGLISH.category_titles["churn"])
        expect(chosen.locator("option:checked")).to_have_text(ENGLISH.categories["churn.high"])
        page.locator("[name=s2_path_0_prediction]").select_option("orders_2d")
        expect(chosen.locator("option:checked")).to_have_text(ENGLISH.categories["event.high"])


def test_pages_of_a_moment_are_for_everybody(served: ApiProcess, chromium: Browser) -> None:
    """What is refused, and what is shown once: nobody is kept out of these either."""
    with Viewer(chromium, served, language="fr", theme="dark") as viewer:
        page = viewer.open("/campaigns")
        page.get_by_text(FRENCH.channel_another).click()
        for url, found in (("https://127.0.0.1/hook", ".wrong"), ("https://hooks.example.org/tideline", "pre")):
            page.get_by_label(FRENCH.channel_url).fill(url)
            page.get_by_role("button", name=FRENCH.channel_kinds["webhook"]).click()
            expect(page.locator(found).first).to_be_visible()
            viewer.check()
        page = viewer.open("/segments/new?prediction=orders_2d&min=60&max=90")
        page.locator("form.panel").evaluate("(form) => { form.noValidate = true; }")
        page.get_by_role("button", name=FRENCH.create_segment).click()
        expect(page.locator("#wrong")).to_be_visible()
        viewer.check()
        assert all("422" in each for each in viewer.complaints)
        viewer.complaints.clear()


def test_an_archived_campaign_is_forgotten_with_its_figures(
    world: ServiceWorld, served: ApiProcess, chromium: Browser
) -> None:
    long_ago_s = datetime.now(UTC).timestamp() - 3_600.0  # all partitions have heard of it
    definition = {key: value for key, value in CAMPAIGN.items() if key != "id"} | {"name": "Last winter"}
    with closing(redis_campaign_definitions(world.url)) as store:
        new = Wanted("campaign", "last_winter", definition, {"orders_2d": "event"}, state="paused")
        store.write(store.revision(), [defined(store.kept(), new, "a key", long_ago_s)])
        kept = store.kept()
        found = kept.find("last_winter")
        assert found is not None
        store.write(kept.revision, [stood(kept, found.head, "archive", "a key", long_ago_s + 1.0)])
    with Viewer(chromium, served) as viewer:
        page = viewer.open("/campaigns")
        page.get_by_text(re.compile(rf"^{ENGLISH.campaigns_archived}")).click()
        page.get_by_role("link", name="Last winter").click()
        page.get_by_role("link", name=ENGLISH.forget).click()
        expect(page.locator("h1")).to_have_text("Forget “Last winter”?")
        viewer.check()
        page.get_by_role("link", name=ENGLISH.cancel).click()
        page.get_by_role("link", name=ENGLISH.forget).click()
        page.get_by_role("button", name=ENGLISH.forget).click()
        page.wait_for_url("**/console/campaigns")
        expect(page.get_by_role("link", name="Last winter")).to_have_count(0)
        assert viewer.open("/campaigns/last_winter").locator("h1").inner_text() == ENGLISH.errors["not-found"][0]
        viewer.complaints.remove(NOT_FOUND)


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
