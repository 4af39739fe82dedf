"""Cookies of the console: what they are called, and how they are set."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from streams.console.visit import BASE

SESSION_COOKIE: Final = "tideline_session"
LANGUAGE_COOKIE: Final = "tideline_language"
THEME_COOKIE: Final = "tideline_theme"


def is_secure(request: Request) -> bool:
    """Whether the browser came over https, also through a proxy that ends it.

    Of several proxies in a row the first one met the browser, and its word comes first in the header. A header that
    somebody else made up could only keep their own cookie from being sent back over http.
    """
    met_by = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return request.url.scheme == "https" or met_by == "https"


def set_cookie(request: Request, answer: Response, name: str, value: str, lasts_s: int) -> None:
    """For this console alone, out of reach of scripts and of other sites."""
    answer.set_cookie(name, value, max_age=lasts_s, path=BASE, httponly=True, samesite="lax", secure=is_secure(request))
