"""The console as a part of the API's app: below `/console`, with errors as pages, and with what browsers are told."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, MutableMapping
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, Final, Literal, cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from config.errors import BrokerError, NotStored, StoreFull, StoreUnavailable, TidelineError
from streams.adapters.redis_sessions import RedisSessions
from streams.api.app import Extension, Parts
from streams.api.campaign_definer import CampaignDefiner
from streams.api.keys import Role
from streams.api.limits import Receive, Send
from streams.api.problems import Kind, Problem, request_id_of
from streams.api.today import Today
from streams.console.campaign_failures import CampaignFailures
from streams.console.campaigns import CampaignPages
from streams.console.channel_pages import ChannelPages
from streams.console.cookies import LANGUAGE_COOKIE, SESSION_COOKIE, THEME_COOKIE
from streams.console.language import Language, chosen, is_language
from streams.console.led_to import LedToPages
from streams.console.live import LivePages
from streams.console.pages import TEXTS, Pages
from streams.console.prediction import PredictionPages
from streams.console.prediction_forms import PredictionForms
from streams.console.predictions import PredictionsPages
from streams.console.routing import Handler
from streams.console.segment_forms import SegmentForms
from streams.console.segments import SegmentPages
from streams.console.sessions import Sessions, SessionStore
from streams.console.signing_in import SigningIn
from streams.console.system import SystemPages
from streams.console.users import UserPages
from streams.console.visit import BASE, Theme, Visit, form_of

_LOG: Final = logging.getLogger(__name__)
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def console(store: SessionStore) -> Extension:
    """What adds the console to an API."""

    def add(parts: Parts) -> None:
        made = Console(parts, store)
        parts.app.mount(BASE, made.app, name="console")

        @parts.app.get("/", include_in_schema=False)
        def home() -> Response:
            return RedirectResponse(f"{BASE}/predictions", 307)

        @parts.app.get(BASE, include_in_schema=False)
        def bare() -> Response:
            return RedirectResponse(f"{BASE}/predictions", 307)

    return add


@contextmanager
def console_at(url: str, prefix: str) -> Iterator[Extension]:
    """The same with its sessions in the store at an address; for `streams.api.serve.run_api`."""
    with closing(RedisSessions(url, prefix=prefix)) as store:
        yield console(store)


class Console:
    """The app below `/console`, and who may open what."""

    def __init__(self, parts: Parts, store: SessionStore) -> None:
        self.pages = Pages(BASE)
        self._authenticator = parts.authenticator
        self._sessions = Sessions(store, parts.services.wall)
        signing = SigningIn(parts.authenticator, self._sessions)
        self.routes: list[BaseRoute] = [
            Route("/static/{name}", self._static, name="static"),
            self._open("/sign-in", signing.show, "GET"),
            self._open("/sign-in", signing.sign_in, "POST"),
            self._open("/preferences", signing.prefer, "POST"),
            self._page("/sign-out", signing.sign_out, Role.READ, "POST"),
            Route("/", _to_predictions),
        ]
        services, today = parts.services, Today(parts.services)
        campaigns = CampaignDefiner(services.campaigns, parts.definer, services.wall, services.clock)
        led, failures = LedToPages(parts, campaigns), CampaignFailures(parts, campaigns)
        groups = (
            PredictionsPages(parts, today),
            PredictionForms(parts, campaigns),
            PredictionPages(parts),
            SegmentForms(parts),
            SegmentPages(parts, today, campaigns),
            ChannelPages(parts, campaigns),
            CampaignPages(parts, campaigns, failures),
            failures,
            LivePages(parts),
            led,
            UserPages(parts, led),
            SystemPages(parts),
        )
        self.routes += [
            self._page(page.path, page.handler, page.role, page.method) for group in groups for page in group.routes()
        ]
        self.routes.append(self._page("/{rest:path}", _nothing_here, Role.READ, "GET"))
        app = Starlette(
            routes=self.routes,
            exception_handlers={HTTPException: self._failed, TidelineError: self._failed, Exception: self._failed},
        )
        self.app = _Told(app)  # outside of all, so that the page of a bug has the headers, too

    # --- routes ------------------------------------------------------------------------------------------------------

    async def _static(self, request: Request) -> Response:
        found = self.pages.static.response(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return found

    def _open(self, path: str, handler: Handler, method: Literal["GET", "POST"]) -> Route:
        """A route for everybody."""

        async def endpoint(request: Request) -> Response:
            request.state.route = BASE + path
            form = await form_of(request, is_signed_in=False) if method == "POST" else {}
            return await _answered(handler, self._visit(request, form=form))

        return Route(path, endpoint, methods=[method])

    def _page(self, path: str, handler: Handler, role: Role, method: str) -> Route:
        """A route for those who have signed in with a key that may do it; forms have to be of their session."""

        async def endpoint(request: Request) -> Response:
            request.state.route = BASE + path
            session = await run_in_threadpool(self._sessions.find, request.cookies.get(SESSION_COOKIE, ""))
            caller = None if session is None else await self._authenticator.known(session.key_id)
            if session is None or caller is None or not caller.role.allows(Role.READ):
                return _to_sign_in(request)
            form = await form_of(request) if method == "POST" else {}
            visit = self._visit(request, caller=caller, session=session, form=form)
            if is_language(spoken := form.get("written_in")):
                # Numbers are read as the page has shown them, also where somebody has switched elsewhere since.
                visit = replace(visit, language=cast("Language", spoken))
            request.state.visit = visit
            if method == "POST" and not session.is_token(form.get("token", "")):
                raise Problem(Kind.FORBIDDEN, "the form is not of this session", reason="form")
            if not caller.role.allows(role):
                raise Problem(Kind.FORBIDDEN, f"this needs a key of the role {role}")
            return await _answered(handler, visit)

        return Route(path, endpoint, methods=[method])

    def _visit(self, request: Request, **more: Any) -> Visit:
        language = chosen(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language"))
        theme = request.cookies.get(THEME_COOKIE)
        known = cast("Theme", theme) if theme in ("light", "dark") else "auto"
        return Visit(request, self.pages, language, known, **more)

    # --- errors ------------------------------------------------------------------------------------------------------

    async def _failed(self, request: Request, error: Exception) -> Response:
        """Any error, as a page that says what to do; for a script, as a text for the page that it is on."""
        kind, status = _kind_of(error)
        if kind is Kind.INTERNAL:
            _LOG.error("request %s failed", request_id_of(request), exc_info=error)
        elif status >= 500:
            _LOG.warning("request %s: %s", request_id_of(request), error)
        known: Visit | None = getattr(request.state, "visit", None)
        # Nothing of a form is shown on it.
        visit = self._visit(request) if known is None else replace(known, form={})
        texts = TEXTS[visit.language]
        title, words = texts.errors[kind.slug] if kind.slug in texts.errors else texts.errors["internal"]
        if isinstance(error, Problem) and error.members.get("reason") == "form":
            title, words = texts.errors["form"]
        if request.headers.get("accept") == "application/json":
            return JSONResponse({"error": f"{title}. {words}"}, status)
        return visit.render("error.html", status=status, title=title, words=words, request_id=request_id_of(request))


async def _answered(handler: Handler, visit: Visit) -> Response:
    if inspect.iscoroutinefunction(handler):
        return cast("Response", await handler(visit))
    return cast("Response", await run_in_threadpool(handler, visit))


def _kind_of(error: Exception) -> tuple[Kind, int]:
    if isinstance(error, Problem):
        return error.kind, error.status_code
    if isinstance(error, HTTPException):
        kind = {404: Kind.NOT_FOUND, 405: Kind.NOT_FOUND}.get(error.status_code, Kind.BAD_REQUEST)
        return kind, error.status_code
    if isinstance(error, NotStored):
        return Kind.NOT_FOUND, 404
    if isinstance(error, StoreUnavailable | StoreFull | BrokerError):
        return Kind.UNAVAILABLE, 503
    return Kind.INTERNAL, 500


async def _nothing_here(_visit: Visit) -> Response:
    """For those who have signed in: within the frame, from which they can go on."""
    raise HTTPException(404)


async def _to_predictions(_request: Request) -> Response:
    return RedirectResponse(f"{BASE}/predictions", 307)


def _to_sign_in(request: Request) -> Response:
    """A page that was asked for is shown after signing in; what a form or a script wanted is not."""
    if request.headers.get("accept") == "application/json":
        return JSONResponse({"signed_out": True}, 401)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = request.url.replace(path=f"{BASE}/sign-in", query="")
    if request.method == "GET":
        target = target.include_query_params(next=here)
    return RedirectResponse(f"{target.path}{'?' + target.query if target.query else ''}", 303)


class _Told:
    """Tells browsers what pages of the console may do; what has no rule of its own is not kept anywhere."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, told)
