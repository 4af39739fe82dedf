"""Pages from templates: everything that they hold of others is escaped, and what they ask for has to be there."""

from __future__ import annotations

import secrets
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from streams.console.language import LANGUAGES, Language
from streams.console.static_files import StaticFiles
from streams.console.texts import Texts
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH

if TYPE_CHECKING:
    from streams.console.visit import Visit

TEXTS: Final[dict[Language, Texts]] = {"en": ENGLISH, "fr": FRENCH}
_TEMPLATES: Final = Path(__file__).parent / "templates"


class Place(NamedTuple):
    """An entry of the navigation: its address below the console, the name of its text, its picture."""

    path: str
    text: str
    icon: str


NAVIGATION: Final = (
    Place("/predictions", "nav_predictions", "predictions"),
    Place("/segments", "nav_segments", "segments"),
    Place("/campaigns", "nav_campaigns", "campaigns"),
    Place("/live", "nav_live", "live"),
    Place("/users", "nav_users", "users"),
    Place("/system", "nav_system", "system"),
)


class Pages:
    """Renders templates."""

    def __init__(self, base: str) -> None:
        self.static = StaticFiles(f"{base}/static")
        self._base = base
        self._jinja = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.filters["date"] = date.fromisoformat
        self._jinja.globals["once"] = lambda: secrets.token_urlsafe(16)
        self._jinja.filters["path"] = lambda text: quote(str(text), safe="")

    def render(self, visit: Visit, template: str, status: int, context: dict[str, Any]) -> Response:
        """One page as an answer."""
        text = self._jinja.get_template(template).render(
            visit=visit,
            t=TEXTS[visit.language],
            f=visit.format,
            base=self._base,
            static=self.static.address,
            navigation=NAVIGATION,
            languages=LANGUAGES,
            here=visit.address,
            **context,
        )
        return HTMLResponse(text, status)
