"""Who is let into the console, what browsers are told of its pages, and how it fails."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Route

from config.errors import StoreUnavailable
from streams.adapters.memory_sessions import MemorySessions
from streams.api.app import Extension, Parts
from streams.api.auth import CACHE_S
from streams.api.keys import Role, id_of
from streams.console.app import Console, console
from streams.console.cookies import LANGUAGE_COOKIE, SESSION_COOKIE
from streams.console.pages import TEXTS
from streams.console.sessions import Session
from streams.console.visit import BASE, local
from tests.unit.api_world import NOW_S, ApiWorld

OPEN = {"/static/{name}", "/sign-in", "/preferences", "/"}
"""For everybody; whatever else there is needs a session, and a new page is tested by being there."""


@dataclass
class ConsoleWorld:
    """An API with a console, and what a browser keeps."""

    sessions: MemorySessions = field(default_factory=MemorySessions)
    parts: list[Parts] = field(default_factory=list)
    cookies: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api = ApiWorld(extensions=(self.parts.append, console(self.sessions)))

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"accept-language": "en", **more.pop("headers", {})}
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.api.ask(method, BASE + path, headers=headers, **more)
        for name, value in answer.cookies.items():
            self.cookies[name] = value
        return answer

    def sign_in(self, role: Role, **more: Any) -> httpx.Response:
        return self.ask("POST", "/sign-in", data={"key": self.api.made[role], **more.pop("data", {})}, **more)

    @property
    def token(self) -> str:
        return Session(self.cookies[SESSION_COOKIE], "").token


@pytest.fixture
def world() -> ConsoleWorld:
    return ConsoleWorld()


def routes() -> list[tuple[str, str]]:
    """(method, path) of all that needs a session."""
    world = ConsoleWorld()
    made = Console(world.parts[0], world.sessions)
    found = [(m, r.path) for r in made.routes if isinstance(r, Route) and r.path not in OPEN for m in r.methods or ()]
    return [(method, re.sub(r"\{\w+(:path)?\}", "x", path)) for method, path in found if method != "HEAD"]


GUARDED = routes()


def test_the_console_is_where_people_come_first(world: ConsoleWorld) -> None:
    for path in ("/", BASE, f"{BASE}/"):
        answer = world.api.ask("GET", path)
        assert (answer.status_code, answer.headers["location"]) == (307, f"{BASE}/predictions")
    assert [r.path for r in world.api.app.routes if isinstance(r, Mount)] == [BASE]
    assert BASE not in world.api.ask("GET", "/openapi.json").text


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_session_nobody_gets_in(world: ConsoleWorld, method: str, path: str) -> None:
    for cookie in (None, "nonsense", "0" * 64):
        if cookie is not None:
            world.cookies[SESSION_COOKIE] = cookie
        answer = world.ask(method, path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith(f"{BASE}/sign-in")
        assert world.ask(method, path, headers={"accept": "application/json"}).status_code == 401


@pytest.mark.parametrize(("method", "path"), [each for each in GUARDED if each[0] == "POST"])
def test_forms_of_nobody_and_of_another_session_do_nothing(world: ConsoleWorld, method: str, path: str) -> None:
    world.sign_in(Role.ADMIN)
    other = ConsoleWorld(sessions=world.sessions)
    other.api.keys.records |= world.api.keys.records
    other.ask("POST", "/sign-in", data={"key": world.api.made[Role.ADMIN]})
    for data in ({}, {"token": ""}, {"token": other.token}, {"token": "é"}):
        answer = world.ask(method, path, data=data)
        assert answer.status_code == 403
        assert "no longer valid" in answer.text
    assert world.ask("GET", "/predictions").status_code == 503, "still signed in; there is no store"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(world: ConsoleWorld) -> None:
    answer = world.sign_in(Role.READ)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/predictions")
    given = answer.headers["set-cookie"]
    assert re.fullmatch(
        rf"{SESSION_COOKIE}=[0-9a-f]{{64}}; HttpOnly; Max-Age=2592000; Path={BASE}; SameSite=lax", given
    )
    assert world.api.made[Role.READ] not in given
    over_https = world.sign_in(Role.READ, headers={"x-forwarded-proto": "https"})
    assert over_https.headers["set-cookie"].endswith("; Secure")
    for proxies, is_secure in (("https, http", True), ("HTTPS ,http", True), ("http, https", False)):
        answer = world.sign_in(Role.READ, headers={"x-forwarded-proto": proxies})
        assert answer.headers["set-cookie"].endswith("; Secure") == is_secure, proxies


def test_who_has_signed_in_goes_on_from_the_sign_in_page_and_leaves_a_key_behind(world: ConsoleWorld) -> None:
    assert world.ask("GET", "/sign-in").status_code == 200
    world.sign_in(Role.READ)
    answer = world.ask("GET", "/sign-in")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/predictions#content")
    answer = world.ask("GET", "/sign-in", params={"next": f"{BASE}/live?user=ann"})
    assert answer.headers["location"] == f"{BASE}/live?user=ann#content", "a browser would carry on #key=..."
    world.cookies[SESSION_COOKIE] = "0" * 64
    assert world.ask("GET", "/sign-in").status_code == 200


def test_wrong_and_weak_keys_are_told_and_get_no_session(world: ConsoleWorld) -> None:
    for key in ("", "tl_admin_x", world.api.made[Role.ADMIN][:-1] + "x"):
        answer = world.ask("POST", "/sign-in", data={"key": key})
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
        assert "was revoked" in answer.text
    answer = world.sign_in(Role.INGEST)
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert "only send events" in answer.text


def test_a_session_ends_with_its_key_and_by_signing_out(world: ConsoleWorld) -> None:
    world.sign_in(Role.READ)
    assert world.ask("GET", "/predictions").status_code == 503
    world.api.keys.revoked[id_of(world.api.made[Role.READ]) or ""] = NOW_S
    world.api.now_s += CACHE_S + 1
    assert world.ask("GET", "/predictions").status_code == 303
    world.sign_in(Role.WRITE)
    before = world.cookies[SESSION_COOKIE]
    answer = world.ask("POST", "/sign-out", data={"token": world.token})
    assert answer.headers["location"] == f"{BASE}/sign-in"
    world.cookies[SESSION_COOKIE] = before
    assert world.ask("GET", "/predictions").status_code == 303


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (f"{BASE}/segments?q=1", f"{BASE}/segments?q=1"),
        ("https://evil.example/console/", None),
        ("//evil.example/console/", None),
        (f"{BASE}/\\evil", None),
        (f"{BASE}/\r\nSet-Cookie: a=b", None),
        ("/v1/users", None),
        (None, None),
    ],
)
def test_signing_in_leads_nowhere_else(address: str | None, target: str | None) -> None:
    assert local(address) == (target or f"{BASE}/predictions")


def test_a_page_that_was_asked_for_is_shown_after_signing_in(world: ConsoleWorld) -> None:
    to = world.ask("GET", "/predictions?a=b&c=d").headers["location"]
    form = world.ask("GET", to.removeprefix(BASE)).text
    assert f'name="next" value="{BASE}/predictions?a=b&amp;c=d"' in form
    answer = world.sign_in(Role.READ, data={"next": f"{BASE}/predictions?a=b&c=d"})
    assert answer.headers["location"] == f"{BASE}/predictions?a=b&c=d"


def test_forms_that_need_no_session_come_from_here(world: ConsoleWorld) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert world.sign_in(Role.READ, headers=headers).status_code == 403
        assert world.ask("POST", "/preferences", data={"language": "fr"}, headers=headers).status_code == 403
    assert world.cookies == {}
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": "http://api"}, {}):
        assert world.ask("POST", "/preferences", data={"language": "fr"}, headers=headers).status_code == 303
    assert world.cookies == {LANGUAGE_COOKIE: "fr"}
    world.ask("POST", "/preferences", data={"language": "de", "theme": "pink"})
    assert world.cookies == {LANGUAGE_COOKIE: "fr"}


def test_every_answer_says_what_its_page_may_do(world: ConsoleWorld) -> None:
    static = re.findall(rf'(?:href|src)="{BASE}(/static/[^"]+)"', world.ask("GET", "/sign-in").text)
    assert len(static) >= 3
    answers = [world.ask("GET", path) for path in ("/sign-in", "/nope", "/predictions", *static)]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert (answer.headers["x-frame-options"], answer.headers["x-content-type-options"]) == ("DENY", "nosniff")
        kept = "immutable" in answer.headers["cache-control"]
        assert kept == str(answer.url.path).startswith(f"{BASE}/static/")
        if "text/html" in answer.headers.get("content-type", ""):
            assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|<style", answer.text)
            assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text)
    assert world.ask("GET", static[0].replace(".", ".0", 1)).status_code == 404


def test_errors_are_pages_in_the_language_of_the_visitor(world: ConsoleWorld) -> None:
    world.sign_in(Role.READ)
    for language in ("en", "fr"):
        world.cookies[LANGUAGE_COOKIE] = language
        gone, away = world.ask("GET", "/nope"), world.ask("GET", "/predictions")
        assert (gone.status_code, away.status_code) == (404, 503)
        for answer, slug in ((gone, "not-found"), (away, "unavailable")):
            title, words = TEXTS[language].errors[slug]
            assert f'<html lang="{language}"' in answer.text
            assert title in answer.text
            assert words in answer.text
        json = world.ask("GET", "/predictions/figures", headers={"accept": "application/json"})
        assert (json.status_code, json.json()["error"].startswith(TEXTS[language].errors["internal"][0])) == (
            503,
            False,
        )


def test_a_store_of_sessions_that_is_away_is_told(world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("redis://inside:6379 does not answer")

    world.sign_in(Role.READ)
    monkeypatch.setattr(world.sessions, "take_up", away)
    answer = world.ask("GET", "/predictions")
    assert (answer.status_code, "inside" in answer.text) == (503, False)


def test_a_bug_is_logged_and_shows_nothing_of_the_inside(
    world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    world.sign_in(Role.READ)
    monkeypatch.setattr(world.sessions, "take_up", broken)
    with caplog.at_level(logging.ERROR):
        answer = world.ask("GET", "/predictions")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "secret detail" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text
    assert answer.headers["x-request-id"] in answer.text


def test_a_form_has_a_bound(world: ConsoleWorld) -> None:
    assert world.ask("POST", "/sign-in", content=b"key=" + b"x" * 270_000).status_code == 413
    assert world.ask("POST", "/sign-in", content=b"key=\xff").status_code == 400
    assert world.ask("POST", "/sign-in", content=b"&".join(b"a=1" for _ in range(2_100))).status_code == 400


def test_pages_are_counted_by_their_template(world: ConsoleWorld) -> None:
    world.ask("GET", "/sign-in")
    told = world.api.ask("GET", "/metrics", headers=world.api.headers(Role.READ)).text
    assert 'route="/console/sign-in"' in told
    assert 'route="/console/nope"' not in told


def test_extensions_see_the_parts(world: ConsoleWorld) -> None:
    extension: Extension = world.parts.append
    assert callable(extension)
    assert world.parts[0].app is world.api.app
