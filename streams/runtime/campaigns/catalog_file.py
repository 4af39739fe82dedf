"""What the catalog file says of campaigns, brought into the store: one place says what is in force."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from config.campaign_references import priced_by
from config.campaigns import Campaign
from config.catalog import Catalog
from config.errors import CatalogError, Problem, StoreIncompatible
from config.journeys import Journey
from config.written import written
from streams.adapters.campaign_definitions import (
    CampaignDefinitions,
    CampaignKind,
    KeptCampaign,
    KeptCampaigns,
    Source,
    Step,
    Wanted,
    defined,
    shared,
    stood,
)
from streams.adapters.documents import DefinitionsChanged
from streams.campaigns.offers import Kind

_LOG: Final = logging.getLogger(__name__)
FILE: Final = "file"
"""Whose change it was, in the history."""


def take_file(store: CampaignDefinitions, file: Catalog, wall: Callable[[], float] = time.time) -> bool:
    """Bring what is kept to what the file says of campaigns; False where that was so already.

    What is not in the file any more is archived, and what they share is left as it is, from then on to be changed
    through the API. Raises CatalogError for an id that the file gives to something else, and what the store raises.
    """
    while True:
        kept = store.kept()
        steps = file_steps(kept, file, wall())
        if not steps:
            return False
        try:
            store.write(kept.revision, steps)
        except DefinitionsChanged:
            continue
        return True


def take_or_tell(store: CampaignDefinitions, file: Catalog) -> None:
    """`take_file` for who scores: a mistake in messaging is told in the log, and what was in force before stays.

    So are mistakes in the texts of messages (as `tideline check` tells them), which stop nothing but those messages.
    Raises what the store raises, but for what another version has written there.
    """
    _tell_wrong_texts(file)
    try:
        take_file(store, file)
    except (CatalogError, StoreIncompatible) as error:
        _LOG.error(
            "campaigns, journeys and messaging of the catalog file are not taken: those of before stay, and scoring "
            "goes on. Mend this and start the workers again; `tideline campaigns` does not start until then. %s",
            error,
        )


def _tell_wrong_texts(file: Catalog) -> None:
    if not file.sections.campaigns and not file.sections.journeys:
        return
    from streams.campaigns.texts_check import problems_of_texts  # with Jinja, which others need not load

    for problem in problems_of_texts(file):
        line = "" if problem.line is None else f"line {problem.line}, "
        words = "the catalog file, %s%s: found %s; expected %s. Who comes to that place is sent nothing"
        _LOG.error(words, line, problem.path, problem.found, problem.expected)


def refuse_clashes(store: CampaignDefinitions, file: Catalog) -> None:
    """For who runs campaigns: what workers could not take. Raises CatalogError, and what the store raises."""
    _refuse_other_kinds(store.kept(), file)


def file_steps(kept: KeptCampaigns, file: Catalog, now_s: float) -> list[Step]:
    """What leads to what the file says. Raises CatalogError; pure."""
    _refuse_other_kinds(kept, file)
    sections = file.sections
    steps = [*_messaging_steps(kept, file, now_s)]
    for kind, id_, campaign in _defined_by(file):
        found = kept.find(id_)
        wanted = wanted_of(kind, id_, campaign, file, source="file")
        if found is None or not _is_so(found, wanted):
            is_back = found is not None and found.head.stands.state == "archived"
            wanted = wanted._replace(state=campaign.state if is_back else None)
            steps.append(defined(kept, wanted, FILE, now_s, len(steps)))
    known = {**sections.campaigns, **sections.journeys}
    gone = [each.head for each in kept.campaigns if each.head.source == "file" and each.head.id not in known]
    return steps + [stood(kept, head, "archive", FILE, now_s, source="api") for head in gone]


def _defined_by(file: Catalog) -> Iterator[tuple[CampaignKind, str, Campaign | Journey]]:
    groups: list[tuple[CampaignKind, Mapping[str, Campaign | Journey]]] = [
        ("campaign", file.sections.campaigns),
        ("journey", file.sections.journeys),
    ]
    return ((kind, id_, each) for kind, group in groups for id_, each in group.items())


def _refuse_other_kinds(kept: KeptCampaigns, file: Catalog) -> None:
    """An id stays what it is: its history and figures are of one kind. Raises CatalogError with all that are not."""
    problems = [
        Problem(None, f"{kind}s.{id_}", f"the id of a {found.head.kind} that was made before", "an id of its own")
        for kind, id_, _ in _defined_by(file)
        if (found := kept.find(id_)) is not None and found.head.kind != kind
    ]
    problems += [
        Problem(
            None, f"{kind}s.{id_}", "the id of one that was forgotten, by which users are known", "an id of its own"
        )
        for kind, id_, _ in _defined_by(file)
        if id_ in kept.forgotten
    ]
    if problems:
        raise CatalogError(problems, "the catalog file")


def wanted_of(
    kind: CampaignKind, id_: str, campaign: Campaign | Journey, catalog: Catalog, *, source: Source = "api"
) -> Wanted:
    """A definition as it is kept, with the kinds of the predictions that its offers go by."""
    kinds: dict[str, Kind] = {
        name: catalog.predictions[name].kind for name in priced_by(campaign) if name in catalog.predictions
    }
    return Wanted(kind, id_, written(campaign), kinds, source)


def _messaging_steps(kept: KeptCampaigns, file: Catalog, now_s: float) -> Iterator[Step]:
    common, messaging = kept.common, file.sections.messaging
    if messaging is not None:
        wanted = written(messaging)
        if common is None or (common.definition, common.source) != (wanted, "file"):
            yield shared(kept, wanted, FILE, now_s, source="file")
    elif common is not None and common.source == "file":
        yield shared(kept, common.definition, FILE, now_s)


def _is_so(found: KeptCampaign, wanted: Wanted) -> bool:
    return (
        found.head.source == "file" and found.head.stands.state != "archived" and found.is_defined_as(wanted.definition)
    )
