"""Signing in with an API key, signing out, and what a visitor prefers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from streams.api.auth import Authenticator
from streams.api.keys import Role
from streams.api.problems import Kind, Problem
from streams.console.cookies import LANGUAGE_COOKIE, SESSION_COOKIE, THEME_COOKIE, set_cookie
from streams.console.language import is_language
from streams.console.sessions import LONGEST_S, Sessions
from streams.console.visit import BASE, Visit, is_own, local

_YEAR_S: Final = 365 * 86_400
_MOST_KEY: Final = 200


class SigningIn:
    """The pages."""

    def __init__(self, authenticator: Authenticator, sessions: Sessions) -> None:
        self._authenticator = authenticator
        self._sessions = sessions

    async def show(self, visit: Visit) -> Response:
        """The form; who has signed in already goes on. Raises StoreError."""
        target = local(visit.query.get("next"))
        if await self._is_signed_in(visit):
            # Browsers carry what is behind the # of this address on to the next one, and it may be a key.
            return RedirectResponse(target if "#" in target else f"{target}#content", 303)
        return visit.render("sign_in.html", next=target, wrong=None)

    async def _is_signed_in(self, visit: Visit) -> bool:
        session = await run_in_threadpool(self._sessions.find, visit.request.cookies.get(SESSION_COOKIE, ""))
        caller = None if session is None else await self._authenticator.known(session.key_id)
        return caller is not None and caller.role.allows(Role.READ)

    async def sign_in(self, visit: Visit) -> Response:
        """Raises `Problem` for a form of another site, and beyond the key's rate; StoreError."""
        if not is_own(visit.request):
            raise Problem(Kind.FORBIDDEN, "the form comes from another site", reason="form")
        target, key = local(visit.form.get("next")), visit.form.get("key", "").strip()[:_MOST_KEY]
        try:
            caller = await self._authenticator.caller(f"Bearer {key}", Role.READ, basic=False)
        except Problem as problem:
            if problem.kind not in (Kind.UNAUTHORIZED, Kind.FORBIDDEN):
                raise
            wrong = "unknown" if problem.kind is Kind.UNAUTHORIZED else "weak"
            return visit.render("sign_in.html", status=HTTPStatus.FORBIDDEN, next=target, wrong=wrong)
        session = await run_in_threadpool(self._sessions.begin, caller.key_id)
        answer = RedirectResponse(target, 303)
        set_cookie(visit.request, answer, SESSION_COOKIE, session.id, LONGEST_S)
        return answer

    async def sign_out(self, visit: Visit) -> Response:
        """Raises StoreError."""
        assert visit.session is not None
        await run_in_threadpool(self._sessions.end, visit.session.id)
        answer = visit.go("/sign-in")
        answer.delete_cookie(SESSION_COOKIE, path=BASE, httponly=True, samesite="lax")
        return answer

    async def prefer(self, visit: Visit) -> Response:
        """A language or a theme, kept in the browser. Raises `Problem` for a form of another site."""
        if not is_own(visit.request):
            raise Problem(Kind.FORBIDDEN, "the form comes from another site", reason="form")
        answer = RedirectResponse(local(visit.form.get("next")), 303)
        language, theme = visit.form.get("language"), visit.form.get("theme")
        if language is not None and is_language(language):
            set_cookie(visit.request, answer, LANGUAGE_COOKIE, language, _YEAR_S)
        if theme in ("auto", "light", "dark"):
            set_cookie(visit.request, answer, THEME_COOKIE, theme, _YEAR_S)
        return answer
