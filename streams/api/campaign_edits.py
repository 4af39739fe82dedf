"""What a request wants to become of campaigns: from what somebody wrote to steps. Pure; refusals are `Problem`s."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from config.campaign_checks import problems_of_campaigns, read_campaign, read_journey, read_messaging
from config.campaigns import Campaign, Messaging
from config.errors import CatalogError
from config.errors import Problem as Wrong
from config.journeys import Journey
from config.written import written
from streams.adapters.campaign_definitions import Action, CampaignKind, Step, defined, gone, shared, stood
from streams.api.campaigns_view import RUNNING, CampaignsView, check_campaign, unusable
from streams.api.definition_body import Body, given_id, mapping, needed_id
from streams.api.definitions_view import invalid
from streams.api.problems import Kind, Problem
from streams.campaigns.state import Book
from streams.runtime.campaigns.catalog_file import wanted_of

MAX_BYTES: Final = 131_072
"""Of one campaign or journey that is made through the API, as JSON: a definition is much less, and has texts."""
SETTLED_S: Final = 600.0
"""So long after it was archived every partition has heard of it, and has stored what it did before."""
MAX_VERSIONS: Final = 100
"""Of one campaign that are kept. Those that nobody is in any more go by themselves."""


class By(NamedTuple):
    """Who changes something, and when."""

    key_id: str
    now_s: float
    """Seconds since 1970 UTC."""


Find = Callable[[CampaignsView, By], list[Step]]


def created(view: CampaignsView, by: By, kind: CampaignKind, data: Any) -> Step:
    """A new campaign or journey, with its id in the data."""
    body = read_body(kind, data)
    id_ = needed_id(body)
    campaign = read(kind, id_, body.definition)
    return _new(view, by, kind, id_, campaign)


def edited(view: CampaignsView, by: By, kind: CampaignKind, id_: str, data: Any) -> list[Step]:
    """A new version in the place of the one in force; nothing where it is the same.

    `state` stays as it was said where it is left out: it says how it begins, and other routes change how it stands.
    """
    found = view.editable(kind, id_)
    if found.head.stands.state == "archived":
        raise _is_archived(kind, id_)
    body = read_body(kind, data)
    if body.id not in (None, id_):
        raise invalid([Wrong(None, "id", repr(body.id), f"{id_!r}, as in the path: an id never changes")])
    before = view.current(id_)
    after = read(kind, id_, {"state": before.state} | body.definition)
    if before == after:
        return []
    check_campaign(view, kind, id_, after)
    if len(found.versions) >= MAX_VERSIONS:
        words = f"{MAX_VERSIONS} versions of it are still needed by users who are in them; duplicate it instead"
        raise Problem(Kind.TOO_MANY, words)
    return [defined(view.kept, wanted_of(kind, id_, after, view.catalog), *by)]


def archived(view: CampaignsView, by: By, kind: CampaignKind, id_: str) -> list[Step]:
    """One that sends nothing any more, for good: it can be duplicated."""
    head = view.editable(kind, id_).head
    return [] if head.stands.state == "archived" else [stood(view.kept, head, "archive", *by)]


def forgotten(
    view: CampaignsView, by: By, kind: CampaignKind, id_: str, books_of: Callable[[str], Iterable[Book]]
) -> list[Step]:
    """One that is archived, and that nobody is in any more: nothing is kept of it but its id. Raises `Problem`."""
    found = view.editable(kind, id_)
    if found.head.stands.state != "archived":
        raise Problem(Kind.NOT_OVER, f"the {kind} {id_!r} is not archived; DELETE /v1/{kind}s/{id_} does it")
    if by.now_s - found.head.stands.since_s < SETTLED_S:
        words = f"the {kind} {id_!r} was archived just now: try again in {SETTLED_S / 60.0:g} minutes"
        raise Problem(Kind.NOT_OVER, words)
    if users := sum(sum(book.open.values()) + sum(book.inside.values()) for book in books_of(id_)):
        words = (
            f"{users:,} users got a message of the {kind} {id_!r} within its window, and are counted when that is over"
        )
        raise Problem(Kind.NOT_OVER, words)
    return [gone(found, *by)]


def stands(view: CampaignsView, by: By, kind: CampaignKind, id_: str, action: Action) -> list[Step]:
    """One that is paused, resumed or put on a dry run; also one of the catalog file, which says only how it begins."""
    head = view.get(kind, id_).head
    if head.stands.state == "archived":
        raise _is_archived(kind, id_)
    wanted = {"pause": "paused", "resume": "on", "dry": "dry"}[action]
    if head.stands.state == wanted:
        return []
    if wanted in RUNNING:
        check_campaign(view, kind, id_, view.current(id_))
    return [stood(view.kept, head, action, *by)]


def duplicated(view: CampaignsView, by: By, kind: CampaignKind, id_: str, data: Any) -> Step:
    """The same under another id, paused: two that are on would both send."""
    original = view.current(view.get(kind, id_).head.id)
    given = mapping("", data)
    if unknown := [key for key in given if key not in ("id", "name")]:
        raise invalid([Wrong(None, "", f"the unknown key {unknown[0][:80]!r}", "id, and name if it is to be another")])
    name = {"name": given["name"]} if "name" in given else {}
    copy = read(kind, new := given_id(given.get("id")), written(original) | name | {"state": "paused"})
    return _new(view, by, kind, new, copy)


def messaging_edited(view: CampaignsView, by: By, data: Any) -> list[Step]:
    """What all of them share."""
    common = view.kept.common
    if common is not None and common.source == "file":
        words = "messaging is defined in the catalog file of the service; change it there"
        raise Problem(Kind.READ_ONLY, words, source="file")
    after = read_shared(view, data)
    if common is not None and common.definition == written(after):
        return []
    return [shared(view.kept, written(after), *by)]


def paused_with(view: CampaignsView, by: By) -> list[Step]:
    """Those that are on and rest on what nobody may target any more, paused with the reason."""
    found = unusable(view)
    heads = [each.head for each in view.kept.campaigns if each.head.id in found]
    return [stood(view.kept, head, "pause", *by, found[head.id]) for head in heads]


# --- what somebody wrote ---------------------------------------------------------------------------------------------


def read_body(kind: CampaignKind, data: Any) -> Body:
    """A body taken apart: what stands in a catalog, with its id beside it. Raises `Problem`."""
    definition = dict(mapping(f"{kind}s", data))
    return Body(given_id(definition.pop("id")) if "id" in definition else None, definition)


def read(kind: CampaignKind, id_: str, data: Any) -> Campaign | Journey:
    """A definition that somebody wrote. Raises `Problem` (invalid-definition) with everything that is wrong."""
    try:
        found = read_campaign(id_, data) if kind == "campaign" else read_journey(id_, data)
    except CatalogError as error:
        raise invalid(error.problems) from error
    if len(json.dumps(data, ensure_ascii=False).encode()) > MAX_BYTES:
        raise invalid([Wrong(None, f"{kind}s.{id_}", "a larger definition", f"at most {MAX_BYTES:,} bytes of JSON")])
    return found


def read_whole_messaging(data: Any) -> Messaging:
    """What all are to share, by itself. Raises `Problem`."""
    try:
        return read_messaging(data)
    except CatalogError as error:
        problems = [Wrong(p.line, p.path.removeprefix("campaigns."), p.found, p.expected) for p in error.problems]
        raise invalid(problems) from error


def read_shared(view: CampaignsView, data: Any) -> Messaging:
    """What all are to share. Raises `Problem`, also where a campaign that is not archived goes by a channel less."""
    found = read_whole_messaging(data)
    running = {each.head.id: view.current(each.head.id) for each in view.kept.campaigns
               if each.head.stands.state != "archived"}  # fmt: skip
    campaigns = {id_: each for id_, each in running.items() if isinstance(each, Campaign)}
    journeys = {id_: each for id_, each in running.items() if isinstance(each, Journey)}
    before = {str(each) for each in problems_of_campaigns(view.catalog, view.messaging, campaigns, journeys)}
    problems = problems_of_campaigns(view.catalog, found, campaigns, journeys)
    # What was wrong before must not keep anybody from putting it right.
    if new := [each for each in problems if str(each) not in before]:
        raise invalid(new)
    return found


def _new(view: CampaignsView, by: By, kind: CampaignKind, id_: str, campaign: Campaign | Journey) -> Step:
    if id_ in view.kept.forgotten:
        words = f"there was a campaign or journey {id_!r}, which was forgotten; users are known by it: take another id"
        raise Problem(Kind.EXISTS, words, id=id_)
    there = view.kept.find(id_)
    if there is not None:
        words = f"there is a {there.head.kind} {id_!r} already; PUT changes one made here"
        raise Problem(Kind.EXISTS, words, id=id_)
    check_campaign(view, kind, id_, campaign)
    return defined(view.kept, wanted_of(kind, id_, campaign, view.catalog), *by)


def _is_archived(kind: CampaignKind, id_: str) -> Problem:
    words = f"the {kind} {id_!r} is archived for good; POST /v1/{kind}s/{id_}/duplicate makes a new one of it"
    return Problem(Kind.ARCHIVED, words)
