"""How pages change definitions: in the name of who has signed in, through what the API does it with."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from config.definitions import Kind as What
from streams.api.campaign_definer import CampaignDefiner
from streams.api.campaigns_view import campaigns_on
from streams.api.changing import Ask, Told
from streams.api.definer import Definer, Work
from streams.api.definitions_view import DefinitionsView
from streams.console.visit import Visit


def change(definer: Definer, visit: Visit, work: Callable[[DefinitionsView], Work]) -> None:
    """Make a change that `work` finds for what is there. Raises `Problem`, StoreError."""
    assert visit.caller is not None, "only who has signed in gets to a form"
    definer.change(Ask(visit.caller.key_id, None, b""), work)


def nothing_told(_view: DefinitionsView) -> Told:
    """The next page shows what there is."""
    return Told(HTTPStatus.OK, "", {})


def campaign_names(campaigns: CampaignDefiner, kind: What, id_: str) -> list[tuple[str, str]]:
    """(id, name) of the campaigns and journeys that are paused where a definition ends. Raises StoreError."""
    view = campaigns.view()
    return [(each.head.id, view.current(each.head.id).name) for each in campaigns_on(view, kind, id_)]
