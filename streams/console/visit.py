"""One request of a person: who it is, in which language, with which form; and how an answer is made for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from streams.api.keys import Caller, Role
from streams.api.problems import Kind, Problem
from streams.console.language import Format, Language
from streams.console.pages import Pages
from streams.console.sessions import Session

BASE: Final = "/console"
Theme = Literal["auto", "light", "dark"]
_MOST_FORM_BYTES: Final = 262_144
_MOST_FIELDS: Final = 2_000
"""A journey of as many steps as there may be has some fifty for each."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Handed to whatever answers a page."""

    request: Request
    pages: Pages
    language: Language
    theme: Theme
    caller: Caller | None = None
    """None before signing in."""
    session: Session | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    """The fields of a form that was sent; each once."""

    @property
    def format(self) -> Format:
        return Format(self.language)

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def may_write(self) -> bool:
        """Whether actions that change definitions are offered."""
        return self.caller is not None and self.caller.role.allows(Role.WRITE)

    def path(self, name: str) -> str:
        """A part of the path."""
        found: str = self.request.path_params[name]
        return found

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """A page."""
        return self.pages.render(self, template, status, context)

    def go(self, path: str) -> Response:
        """On to another page of the console, with a GET."""
        return RedirectResponse(BASE + path, 303)


def local(address: str | None) -> str:
    """Where to go on: an address of the console's own; its first page for anything else."""
    home = f"{BASE}/predictions"
    if not address or not address.startswith(f"{BASE}/") or "\\" in address or any(c < " " for c in address):
        return home
    parts = urlsplit(address)
    return home if parts.scheme or parts.netloc else address


def is_own(request: Request) -> bool:
    """Whether a form that was sent without a session comes from a page of this site, as far as the browser says."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, each with its last value. Raises `Problem` for one that is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            raise Problem(Kind.TOO_LARGE, "a form of the console is smaller")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Problem(Kind.INVALID_BODY, "this is no form of the console") from error
    return {name: values[-1] for name, values in fields.items()}
