"""All campaigns and journeys at once, beside a set of predictions and segments: what leads to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from config.campaigns import Campaign
from config.catalog import Catalog
from config.journeys import Journey
from config.sections import Sections
from config.written import written
from streams.adapters.campaign_definitions import (
    CAMPAIGN_KINDS,
    CampaignKind,
    KeptCampaign,
    Step,
    defined,
    shared,
    stood,
)
from streams.api.campaign_edits import By, read, read_whole_messaging
from streams.api.campaigns_view import CampaignsView, check_campaign
from streams.api.definition_body import mapping
from streams.api.definition_models import Difference, Plan, PlannedChange
from streams.api.definitions_view import invalid
from streams.api.problems import Kind, Problem
from streams.runtime.campaigns.catalog_file import wanted_of

SECTIONS: Final = ("messaging", "campaigns", "journeys")
"""Keys of a set; where it has none of the last two, campaigns and journeys stay as they are."""


class CampaignPlan(NamedTuple):
    """What it takes."""

    changes: list[PlannedChange]
    steps: list[Step]
    unchanged: int
    of_file: list[str]


NOTHING: Final = CampaignPlan([], [], 0, [])


def campaigns_planned(view: CampaignsView, by: By, data: Mapping[str, Any]) -> CampaignPlan:
    """What leads to the sections of a set; those made here that are not in it are archived.

    Raises `Problem` for what is not right, for what the catalog file defines in another way, and for what is archived.
    """
    plan, before = NOTHING, view
    differs: list[str] = []
    if data.get("messaging") is not None:
        view, plan = _messaging(view, by, data["messaging"], plan, differs)
    is_wanted = "campaigns" in data or "journeys" in data
    for kind in CAMPAIGN_KINDS if is_wanted else ():
        group = mapping(f"{kind}s", data.get(f"{kind}s", {}))
        for id_, definition in group.items():
            plan = _one(view, by, plan, differs, kind, id_, read(kind, id_, definition))
        for each in view.of(kind):
            if each.head.id not in group:
                plan = _left(view, by, plan, each)
    if differs:
        words = f"the catalog file of the service defines in another way: {', '.join(differs)}; change them there"
        raise Problem(Kind.READ_ONLY, words, differs=differs)
    _check_after(before, plan.steps)
    return plan


def with_campaigns(plan: Plan, campaigns: CampaignPlan) -> Plan:
    """Both plans as one."""
    more = {
        "changes": [*plan.changes, *campaigns.changes],
        "unchanged": plan.unchanged + campaigns.unchanged,
        "of_file": [*plan.of_file, *campaigns.of_file],
    }
    return plan.model_copy(update=more)


def exported(catalog: Catalog, view: CampaignsView) -> Catalog:
    """The catalog with all campaigns that are not archived beside it, each beginning as it stands now."""
    groups: dict[CampaignKind, dict[str, Any]] = {kind: {} for kind in CAMPAIGN_KINDS}
    for each in view.kept.campaigns:
        state = each.head.stands.state
        if state != "archived":
            groups[each.head.kind][each.head.id] = view.current(each.head.id).model_copy(update={"state": state})
    messaging = None if view.kept.common is None else view.messaging
    return catalog.model_copy().with_sections(Sections(messaging, groups["campaign"], groups["journey"]))


# --- parts -----------------------------------------------------------------------------------------------------------


def _messaging(
    view: CampaignsView, by: By, data: Any, plan: CampaignPlan, differs: list[str]
) -> tuple[CampaignsView, CampaignPlan]:
    """What they share, and the view with it: channels of the set are those that its campaigns may name."""
    wanted = read_whole_messaging(data)
    common = view.kept.common
    if common is not None and view.messaging == wanted:
        if common.source == "file":
            return view, plan._replace(of_file=[*plan.of_file, "messaging"])
        return view, plan._replace(unchanged=plan.unchanged + 1)
    if common is not None and common.source == "file":
        differs.append("messaging")
        return view, plan
    step = shared(view.kept, written(wanted), *by)
    old = {} if common is None else common.definition
    change = _change("messaging", "messaging", "create" if common is None else "edit", old, written(wanted))
    after = view.after([step])
    # The steps of all are one write: they count from the revision that is there.
    after = CampaignsView(after.kept._replace(revision=view.kept.revision), view.beside)
    return after, plan._replace(changes=[*plan.changes, change], steps=[*plan.steps, step])


def _one(
    view: CampaignsView,
    by: By,
    plan: CampaignPlan,
    differs: list[str],
    kind: CampaignKind,
    id_: str,
    wanted: Campaign | Journey,
) -> CampaignPlan:
    there = view.kept.find(id_)
    if there is not None and there.head.kind != kind:
        raise Problem(Kind.EXISTS, f"there is a {there.head.kind} {id_!r} already", id=id_)
    if there is not None and there.head.stands.state == "archived":
        raise Problem(Kind.ARCHIVED, f"the {kind} {id_!r} is archived for good: take another id")
    if there is not None and _is_same(view, there, wanted):
        if there.head.source == "file":
            return plan._replace(of_file=[*plan.of_file, f"{kind}s.{id_}"])
        return plan._replace(unchanged=plan.unchanged + 1)
    if there is not None and there.head.source == "file":
        differs.append(f"{kind}s.{id_}")
        return plan
    check_campaign(view, kind, id_, wanted)
    step = defined(view.kept, wanted_of(kind, id_, wanted, view.catalog), *by, index=len(plan.steps))
    old = {} if there is None else there.current.definition
    change = _change(kind, id_, "create" if there is None else "edit", old, written(wanted))
    return plan._replace(changes=[*plan.changes, change], steps=[*plan.steps, step])


def _left(view: CampaignsView, by: By, plan: CampaignPlan, each: KeptCampaign) -> CampaignPlan:
    """One that the set does not have."""
    head = each.head
    if head.source == "file":
        return plan._replace(of_file=[*plan.of_file, f"{head.kind}s.{head.id}"])
    if head.stands.state == "archived":
        return plan._replace(unchanged=plan.unchanged + 1)
    change = PlannedChange(kind=head.kind, id=head.id, action="archive", differences=[])
    step = stood(view.kept, head, "archive", *by)
    return plan._replace(changes=[*plan.changes, change], steps=[*plan.steps, step])


def _is_same(view: CampaignsView, there: KeptCampaign, wanted: Campaign | Journey) -> bool:
    """Whether it is defined so, and begins as was said or stands as is wanted; how the file's stand is no matter."""
    before = view.current(there.head.id)
    if wanted.model_copy(update={"state": before.state}) != before:
        return False
    return there.head.source == "file" or wanted.state in (before.state, there.head.stands.state)


def _change(kind: str, id_: str, action: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> PlannedChange:
    differences = [
        Difference(path=key, before=old.get(key), after=new.get(key))
        for key in dict.fromkeys([*old, *new])
        if old and old.get(key) != new.get(key)
    ]
    return PlannedChange(kind=kind, id=id_, action=action, differences=differences)


def _check_after(before: CampaignsView, steps: list[Step]) -> None:
    """Raises `Problem` where there would be too many, or one that stays goes by a channel that does not."""
    after = before.after(steps)
    new = [each for id_, problems in after.troubles.items() if id_ not in before.troubles for each in problems]
    if new:
        raise invalid(new)
