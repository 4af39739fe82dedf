"""One request of a person: who it is, in which language, with which form; and how an answer is made for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from config.campaigns import MAX_PARTS
from config.conditions import MAX_WHERE
from config.goals import MAX_ATOMS
from config.journeys import MAX_PATHS, MAX_STEPS
from config.offers import MAX_RUNGS
from streams.api.keys import Caller, Role
from streams.api.problems import Kind, Problem
from streams.console.language import Format, Language
from streams.console.pages import Pages
from streams.console.sessions import Session

BASE: Final = "/console"
Theme = Literal["auto", "light", "dark"]
_MOST_FORM_BYTES: Final = 2_097_152
"""A definition of as many bytes as it may have, of which a form sends each as three, with the names of its fields."""
_MOST_FIELDS: Final = MAX_STEPS * (MAX_PATHS * 9 + MAX_PARTS * 2 + MAX_RUNGS * 2 + 32) + MAX_ATOMS * (MAX_WHERE * 5 + 2)
"""As many as the largest journey and the largest goal would have together, one step with the fields of every kind."""
_MOST_BARE_BYTES: Final = 16_384
_MOST_BARE_FIELDS: Final = 32
"""Of forms that are sent before signing in."""


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

    @property
    def holds_input(self) -> bool:
        """Whether a page shows what somebody has sent, which is kept nowhere else."""
        return self.caller is not None and bool(self.form)

    @property
    def address(self) -> str:
        """Of the page; of one that answers a form, that of the page on which the form was."""
        own = _address(self.request.url)
        if self.request.method != "POST":
            return own
        before = URL(self.request.headers.get("referer", ""))
        is_ours = before.netloc == self.request.headers.get("host") and before.path.startswith(f"{BASE}/")
        return _address(before) if is_ours else own

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


def _address(url: URL) -> str:
    return url.path + (f"?{url.query}" if url.query else "")


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


async def form_of(request: Request, *, is_signed_in: bool = True) -> dict[str, str]:
    """The fields of a form, each with its last value. Raises `Problem` for one that is too large."""
    most_bytes, most_fields = (
        (_MOST_FORM_BYTES, _MOST_FIELDS) if is_signed_in else (_MOST_BARE_BYTES, _MOST_BARE_FIELDS)
    )
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise Problem(Kind.TOO_LARGE, "a form of the console is smaller")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=most_fields)
    except ValueError as error:
        raise Problem(Kind.INVALID_BODY, "this is no form of the console") from error
    return {name: values[-1] for name, values in fields.items()}
