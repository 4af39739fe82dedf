"""How pages change definitions: in the name of who has signed in, through what the API does it with."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from config.definitions import Kind as What
from streams.api.campaign_definer import CampaignDefiner
from streams.api.campaigns_view import campaigns_on
from streams.api.changing import Ask, Told
from streams.api.definer import Definer, Work
from streams.api.definitions_view import DefinitionsView
from streams.console.visit import Visit

_NOT_ASKED: Final = frozenset({"token", "once"})
"""Fields that say nothing of what is to be made."""


def ask_of(visit: Visit, part: str = "") -> Ask:
    """Who asks, and under which name: a form that makes something new has one, so that it is made once.

    `part`: of a form that makes several things, which of them.
    """
    assert visit.caller is not None, "only who has signed in gets to a form"
    once = visit.form.get("once")
    asked = sorted((name, value) for name, value in visit.form.items() if name not in _NOT_ASKED)
    content = json.dumps([visit.request.url.path, part, asked]).encode()
    return Ask(visit.caller.key_id, f"console {part} {once}" if once else None, content)


def change(definer: Definer, visit: Visit, work: Callable[[DefinitionsView], Work], part: str = "") -> Response:
    """Make a change that `work` finds for what is there, or answer as before. Raises `Problem`, StoreError."""
    return definer.change(ask_of(visit, part), work)


def nothing_told(_view: object) -> Told:
    """The next page shows what there is."""
    return Told(HTTPStatus.OK, "{}", {})


def id_told(id_: str) -> Callable[[object], Told]:
    """Which one was made; the next page is that of it."""
    return lambda _view: Told(HTTPStatus.OK, json.dumps({"id": id_}), {})


def id_of(answer: Response) -> str:
    """The id that was told, now or when the same form was sent before."""
    found: str = json.loads(bytes(answer.body))["id"]
    return found


def campaign_names(campaigns: CampaignDefiner, kind: What, id_: str) -> list[tuple[str, str]]:
    """(id, name) of the campaigns and journeys that are paused where a definition ends. Raises StoreError."""
    view = campaigns.view()
    return [(each.head.id, view.current(each.head.id).name) for each in campaigns_on(view, kind, id_)]
