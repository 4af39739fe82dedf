"""Definitions of campaigns and journeys that are only asked about: read, and looked at beside all that is defined."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from config.campaign_checks import problems_of_campaigns, read_campaign, read_journey
from config.campaigns import Campaign, Messaging
from config.catalog import Filter, Segment
from config.dependents import references
from config.errors import CatalogError
from config.journeys import Journey
from streams.api.campaigns_view import check_targets
from streams.api.definition_body import UNNAMED, mapping
from streams.api.definitions_view import DefinitionsView, check_target, invalid
from streams.campaigns.offers import Kind
from streams.campaigns.plan import Definitions, Plan, Standing
from streams.runtime.campaigns.definitions import kinds_of

_GROUP: Final = "campaigns"


class AskedAbout(NamedTuple):
    """A definition beside what it rests on."""

    id: str
    rules: Campaign | Journey
    messaging: Messaging
    kinds: dict[str, Kind]
    """Of each prediction."""

    def plan(self, standing: Standing | None = None) -> Plan:
        """A plan in which there is nothing else. `standing`: of one that exists."""
        campaigns = {self.id: {1: self.rules}} if isinstance(self.rules, Campaign) else {}
        journeys = {self.id: {1: self.rules}} if isinstance(self.rules, Journey) else {}
        standings = {} if standing is None else {self.id: standing}
        return Plan(Definitions(self.messaging, campaigns, journeys, standings, self.kinds))


def asked_about(data: Any, view: DefinitionsView, messaging: Messaging, *, segment: Filter | None = None) -> AskedAbout:
    """A definition as a person writes it, with or without an id; one that has steps is a journey.

    `segment`: the filter of the segment that it names, where that is yet to be made. Raises `Problem`: not-targetable
    for what nobody may target, as where a campaign is made; invalid-definition with all else that is wrong with it.
    """
    catalog = view.whole
    definition = dict(mapping(_GROUP, data))
    given = definition.pop("id", UNNAMED)
    id_ = given if isinstance(given, str) else UNNAMED
    try:
        read = read_journey if "steps" in definition else read_campaign
        rules = read(id_, definition)
    except CatalogError as error:
        raise invalid(error.problems) from error
    check_targets(view, rules)
    if segment is not None:
        for kind, named in references(segment):
            check_target(view, kind, named)
        made = Segment(name=rules.name, filter=segment)
        catalog = catalog.model_copy(update={"segments": {**catalog.segments, rules.segment: made}})
    campaigns = {id_: rules} if isinstance(rules, Campaign) else {}
    journeys = {id_: rules} if isinstance(rules, Journey) else {}
    found = problems_of_campaigns(catalog, messaging, campaigns, journeys)
    # What all of them share is judged where it is changed.
    if problems := [problem for problem in found if problem.path.startswith(("campaigns.", "journeys."))]:
        raise invalid(problems)
    return AskedAbout(id_, rules, messaging, kinds_of(catalog))
