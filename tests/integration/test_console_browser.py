"""The console in a real browser: every page in both languages and themes and on a phone, and what people do there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from streams.api.keys import Role
from streams.console.texts import Texts, all_texts
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH
from tests.integration.api_process import ApiProcess
from tests.integration.console_world import CATALOG, PHONE, WIDE, Viewer, api_of, browser
from tests.integration.service_world import ServiceWorld, service

PAGES = {"predictions": "/predictions"}
LOOKS = [("en", "light", WIDE), ("fr", "dark", WIDE), ("fr", "light", PHONE), ("en", "dark", PHONE)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceWorld]:
    """A service with every kind of prediction: live, of churn, warming up, a preview."""
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
