"""The console of a real API over a service that has worked a month, and a real Chromium in front of it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, Self

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright
from pydantic import SecretStr

from benchmarks._ports import free_port
from config.loader import loads
from config.settings import Settings
from streams.api.keys import Role
from streams.console.visit import BASE
from tests.conftest import need
from tests.integration.api_process import ApiProcess
from tests.integration.service_world import LEDGER_SECRET, ServiceWorld

CATALOG: Final = loads("""
version: 1
name: Shop
features: {events: [View, Order], traits: {country: {values: [A, B, C]}}}
history: [View]
predictions:
  orders_2d: {name: Orders within two days, goal: {did: Order}, window: 2d, hysteresis: 0}
  churn_4d: {name: Does not order for four days, kind: churn, goal: {did_not: Order}, window: 4d}
  return_7d: {name: Sends something back, goal: {did: Return}, window: 7d}
  shown_2d: {name: Orders <b>&amp;</b> previewed, goal: {did: Order}, window: 2d, access: preview}
segments:
  upper: {name: From 62.5 up, filter: {prediction: orders_2d, score: {min: 62.5}}}
  busy: {name: Looked twice within two days, filter: {event: View, count: {min: 2}, within: 48h}}
  mixed:
    name: Likely buyers of A and B
    filter:
      all:
        - {prediction: orders_2d, category: [medium, high]}
        - any: [{trait: country, in: [A, B]}, {segment: busy}]
        - not: {event: View, since: {min: 3d}}
limits: {batch_events: 512}
""")
_PROGRAM: Final = (
    "from benchmarks._warmup import short_warmup; from streams.cli.app import main\nwith short_warmup(): main()"
)
"""`tideline`, which reads models that have warmed up as shortly as those of the service here."""
WIDE: Final = {"width": 1360, "height": 900}
PHONE: Final = {"width": 390, "height": 844}
_SERIOUS: Final = ("serious", "critical")


def chromium_path() -> str:
    """Debian's Chromium; a test that needs it fails in CI where it is missing, and is skipped elsewhere."""
    found = shutil.which("chromium")
    need(found, "the program chromium", "apt-get install chromium")
    return str(found)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = chromium_path()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


class Served(Protocol):
    """A console, and keys for it."""

    @property
    def url(self) -> str: ...
    @property
    def keys(self) -> dict[Role, str]: ...


class Viewer:
    """Somebody in front of a browser, who has signed in. What goes wrong unseen is kept in `complaints`."""

    def __init__(
        self, browser: Browser, api: Served, *, role: Role = Role.WRITE, language: str = "en", theme: str = "light",
        size: dict[str, int] = WIDE,
    ) -> None:  # fmt: skip
        self.url = api.url
        self.language, self.theme = language, theme
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(
            viewport={"width": size["width"], "height": size["height"]},
            locale=language,
            color_scheme="dark" if theme == "dark" else "light",
            timezone_id="Europe/Paris",
        )
        self.context.set_default_timeout(15_000)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda said: self._console(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._requested)
        self._key = api.keys[role]

    def __enter__(self) -> Self:
        self.open("/predictions")
        self.page.fill("#key", self._key)
        self.page.click("button.main")
        self.page.wait_for_url(f"**{BASE}/predictions")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert not self.complaints, self.complaints

    def open(self, path: str) -> Page:
        """A page of the console, with everything that it asks for afterwards."""
        self.page.goto(f"{self.url}{BASE}{path}")
        expect(self.page.locator(".waits")).to_have_count(0)
        return self.page

    def check(self) -> None:
        """Nobody is kept out of the page: axe finds nothing serious; and it is not wider than the window."""
        results = Axe().run(self.page, options={"resultTypes": ["violations"]})
        found = [
            (each["id"], [node["html"][:200] for node in each["nodes"]])
            for each in results.response["violations"]
            if each["impact"] in _SERIOUS
        ]
        assert not found, found
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), self.page.url

    def picture(self, name: str, folder: Path) -> None:
        """A picture of the whole page, for people to look at."""
        phone = "phone" if (self.page.viewport_size or WIDE)["width"] == PHONE["width"] else "wide"
        given = os.environ.get("TIDELINE_TEST_PICTURES")
        target = Path(given) if given else folder
        target.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=target / f"{name}-{self.language}-{self.theme}-{phone}.png", full_page=True)

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def _requested(self, request: Request) -> None:
        if not re.match(rf"{re.escape(self.url)}/|data:|blob:", request.url):
            self.complaints.append(f"asked elsewhere: {request.url}")


@contextmanager
def api_of(world: ServiceWorld) -> Iterator[ApiProcess]:
    """`tideline api` over the service's store and log."""
    port = free_port()
    settings = Settings(
        redis_url=world.url, data_dir=world.data_dir, api_port=port, deletion_key=SecretStr(LEDGER_SECRET)
    )
    program = (sys.executable, "-c", _PROGRAM)
    with ApiProcess(settings, world.data_dir, port, program=program) as api:
        yield api
