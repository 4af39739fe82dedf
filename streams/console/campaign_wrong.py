"""What is wrong with the form of a campaign, told by its fields: their names in words, and which of them to mark."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from streams.api.problems import Problem
from streams.console.campaign_form import CampaignForm
from streams.console.offer_wrong import offer_field
from streams.console.step_wrong import step_field
from streams.console.texts import Texts
from streams.console.trigger_form import TriggerForm
from streams.console.visit import Visit
from streams.console.wrong import Wrong, wrong_by_field

_OWN: Final = re.compile(r"(?:campaigns|journeys)\.[^.\[]+(?:\.|$)")
"""Where a definition begins in the path of a problem."""
_ELSEWHERE: Final = re.compile(r"(?:segments|predictions|messaging)[.\[]")
"""Begins the path of a problem with something else."""

_PLAIN: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("name", "segment_name"),
    "segment": ("segment", "campaign_segment"),
    "channels": ("channels", "channels"),
    "state": ("state", "campaign_begin"),
    "control": ("control", "control_percent"),
}
"""Key of a definition -> the field of the form, and the name of the text that stands at it."""
_GOAL: Final[Mapping[str, tuple[str, str]]] = {
    "event": ("goal", "campaign_goal"),
    "window": ("within", "campaign_goal_within"),
}


_TRIGGERS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "event": {"event": ("trigger_event", "trigger_event")},
    "once": {"at": ("trigger_at", "trigger_at"), "timezone": ("trigger_zone", "trigger_zone")},
    "recurring": {
        "at": ("trigger_time", "trigger_time"),
        "on": ("trigger_on", "trigger_on"),
        "timezone": ("trigger_zone", "trigger_zone"),
    },
}
"""The same of when it goes out, by its kind."""


def trigger_field(path: str, form: TriggerForm) -> tuple[str, str]:
    """(name of the field, name of its text) of a problem at a path within a trigger."""
    fields = _TRIGGERS.get(form.kind, {})
    head = re.split(r"[.\[]", path)[0]
    # A rule between several fields is one of the days.
    return fields.get(head or "on", ("trigger", "trigger"))


def campaign_wrong(visit: Visit, problem: Problem, form: CampaignForm) -> Wrong:
    """A problem with what somebody wrote; any other one is raised again."""
    return wrong_by_field(visit, problem, lambda t, told: field_of(t, form, told))


def field_of(t: Texts, form: CampaignForm, told: Mapping[str, str]) -> tuple[str, str] | None:
    """(name of the field, what it is called) of one problem; None where it is of something else."""
    if _ELSEWHERE.match(told["path"]):
        return None
    path = _OWN.sub("", told["path"], count=1)
    field, label = next(_fields(t, form, path, told))
    # Fields say themselves what they hold; in the text for all the rest the path is what people look for.
    return field, f"{label} · {path}" if field == "rest" and path else label


def _fields(t: Texts, form: CampaignForm, path: str, told: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name of the field in the form, what it is called), the best first; the last one is there for everything."""
    inner = path.partition(".")[2]
    head = re.split(r"[.\[]", path)[0]
    if head == "message" and form.message:
        for number, (part, _) in enumerate(form.message):
            if re.match(rf"{re.escape(part)}\b", told["found"]) or inner == f"parts.{part}":
                yield f"part_{number}_text", f"{t.message} · {t.message_parts.get(part, part)}"
        yield "part", t.message
    if head == "trigger" and form.kind == "campaign":
        field, text = trigger_field(inner, form.trigger)
        yield field, getattr(t, text)
    if head == "offer" and form.offer.kind != "none":
        field, text = offer_field(inner, told["expected"])
        yield field, getattr(t, text)
    if head == "conversion" and inner in _GOAL:
        field, text = _GOAL[inner]
        yield field, getattr(t, text)
    if head == "steps" and form.kind == "journey":
        yield step_field(t, form.steps, path, told["expected"])
    if head == "" and form.kind == "journey" and "step" in told["expected"]:
        yield "steps", t.steps
    if head == "exit_on" and form.kind == "journey":
        yield "exit_on", t.exit_on
    if head in _PLAIN:
        field, text = _PLAIN[head]
        yield field, getattr(t, text)
    yield "rest", t.campaign_rest
