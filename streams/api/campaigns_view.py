"""Campaigns and journeys at one moment beside what they rest on, as the API looks at them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from config.campaign_checks import problems_of_campaigns
from config.campaign_references import campaign_references, segment_names
from config.campaigns import Campaign, Messaging
from config.catalog import Catalog
from config.catalog_file import MAX_CAMPAIGNS
from config.definitions import Kind as What
from config.dependents import resting
from config.errors import Problem
from config.journeys import Journey
from config.yaml_text import path_text
from streams.adapters.campaign_definitions import (
    CAMPAIGN_KINDS,
    CampaignKind,
    KeptCampaign,
    KeptCampaigns,
    State,
    Step,
    applied,
)
from streams.api.definitions_view import DefinitionsView, check_target, invalid
from streams.api.problems import Kind
from streams.api.problems import Problem as Refusal
from streams.api.read_predictions import require
from streams.api.targets import below
from streams.campaigns.plan import Definitions, Plan
from streams.campaigns.texts_check import check_texts
from streams.runtime.campaigns.definitions import kinds_of, troubles_of

MAX_KEPT: Final = 1_000
"""Campaigns and journeys that are kept at all, with archived ones."""
RUNNING: Final[tuple[State, ...]] = ("on", "dry")


@dataclass(frozen=True)  # without slots: what is costly to find out is found out once
class CampaignsView:
    """What is kept of campaigns, and what is defined beside it. May be used by several threads."""

    kept: KeptCampaigns
    beside: DefinitionsView

    @cached_property
    def definitions(self) -> Definitions:
        """All of them. Raises StoreIncompatible for what cannot be read."""
        return self.kept.definitions(kinds_of(self.catalog))

    @property
    def catalog(self) -> Catalog:
        """What shards work with."""
        return self.beside.in_force

    @property
    def messaging(self) -> Messaging:
        """What they share."""
        return self.definitions.messaging

    @cached_property
    def troubles(self) -> dict[str, list[Problem]]:
        """Those that do not fit the catalog as it is, and are paused for as long."""
        return troubles_of(self.kept, self.definitions, self.catalog)

    @cached_property
    def plan(self) -> Plan:
        """As it is decided by."""
        return Plan(self.definitions)

    def of(self, kind: CampaignKind) -> list[KeptCampaign]:
        """Those of a kind, in the order in which they were made."""
        return [each for each in self.kept.campaigns if each.head.kind == kind]

    def get(self, kind: CampaignKind, id_: str) -> KeptCampaign:
        """Raises NotStored where there is none."""
        known = {each.head.id: each for each in self.of(kind)}
        require(kind, id_, known)
        return known[id_]

    def current(self, id_: str) -> Campaign | Journey:
        """The version in force."""
        return self.plan.current(id_)[1]

    def editable(self, kind: CampaignKind, id_: str) -> KeptCampaign:
        """Raises NotStored, and `Refusal` for one of the catalog file."""
        found = self.get(kind, id_)
        if found.head.source == "file":
            words = f"the {kind} {id_!r} is defined in the catalog file of the service; change it there"
            raise Refusal(Kind.READ_ONLY, words, source="file")
        return found

    def after(self, steps: Sequence[Step]) -> CampaignsView:
        """The view after changes. Raises `Refusal` where there would be too many."""
        view = CampaignsView(applied(self.kept, steps), self.beside)
        for kind in CAMPAIGN_KINDS:
            count = sum(each.head.stands.state != "archived" for each in view.of(kind))
            if count > MAX_CAMPAIGNS:
                raise Refusal(Kind.TOO_MANY, f"at most {MAX_CAMPAIGNS} {kind}s that are not archived")
        if len(view.kept.campaigns) > MAX_KEPT:
            words = (
                f"at most {MAX_KEPT:,} campaigns and journeys are kept, archived ones among them: let go of one that "
            )
            raise Refusal(Kind.TOO_MANY, words + "is archived, with its figures, by POST /v1/campaigns/ID/forget")
        return view


def etag(each: KeptCampaign) -> str:
    """Of one campaign or journey: it changes whenever its definition or its standing does, and never back."""
    return f'"{each.head.changed}"'


def check_campaign(view: CampaignsView, kind: CampaignKind, id_: str, campaign: Campaign | Journey) -> None:
    """Whether it may send: all that it rests on can be targeted, and it fits catalog, channels and template language.

    Raises `Refusal`: 409 for what may only be looked at, with what to do about it; 422 with every other problem.
    """
    check_targets(view.beside, campaign)
    campaigns = {id_: campaign} if isinstance(campaign, Campaign) else {}
    journeys = {id_: campaign} if isinstance(campaign, Journey) else {}
    found = problems_of_campaigns(view.catalog, view.messaging, campaigns, journeys)
    # What all of them share is judged where it is changed.
    found = [problem for problem in found if problem.path.startswith(f"{kind}s.")]
    found += [
        Problem(None, path_text(place), wrong, expected)
        for place, wrong, expected in check_texts(id_, campaign, view.messaging.channels)
    ]
    if found:
        raise invalid(found)


def check_targets(view: DefinitionsView, campaign: Campaign | Journey) -> None:
    """Raises `Refusal` for what nobody may target; never for what there is not."""
    names = [*segment_names(campaign), *(id_ for kind, id_ in campaign_references(campaign) if kind == "segment")]
    rests: list[tuple[What, str]] = [(kind, id_) for kind, id_ in campaign_references(campaign) if kind == "prediction"]
    rests += [each for name in dict.fromkeys(names) for each in below(view, name)]
    # Predictions first: to restore a segment is of no use while one that it rests on is no target.
    for kind, id_ in sorted(dict.fromkeys(rests), key=lambda each: each[0] == "segment"):
        check_target(view, kind, id_)


def campaigns_on(view: CampaignsView, kind: What, id_: str) -> list[KeptCampaign]:
    """Those that rest on a definition, also through segments; no archived ones."""
    on: set[tuple[What, str]] = {(kind, id_)}
    on |= {("segment", name) for name in resting(view.beside.whole, kind, id_)}
    return [
        each
        for each in view.kept.campaigns
        if each.head.stands.state != "archived" and on & set(campaign_references(view.current(each.head.id)))
    ]


def unusable(view: CampaignsView) -> dict[str, str]:
    """Campaign or journey that is on and rests on what nobody may target -> why."""
    found: dict[str, str] = {}
    for each in view.kept.campaigns:
        if each.head.stands.state in RUNNING:
            try:
                check_targets(view.beside, view.current(each.head.id))
            except Refusal as refusal:
                found[each.head.id] = str(refusal.detail)
    return found
