"""What is wrong with the form of a campaign, told by its fields: their names in words, and which of them to mark."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from streams.api.problems import Kind, Problem
from streams.console.campaign_form import CampaignForm
from streams.console.pages import TEXTS
from streams.console.texts import Texts
from streams.console.visit import Visit
from streams.console.wrong import MOST_PLACES, Named, Wrong, wrong_of

_OWN: Final = re.compile(r"(?:campaigns|journeys)\.[^.\[]+(?:\.|$)")
"""Where a definition begins in the path of a problem."""
_OTHER: Final = re.compile(r"(?:segments|predictions|messaging)[.\[]")
"""Begins the path of a problem with something else."""

_PLAIN: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("name", "segment_name"),
    "segment": ("segment", "campaign_segment"),
    "trigger": ("trigger", "trigger"),
    "channels": ("channels", "channels"),
    "state": ("state", "campaign_begin"),
    "control": ("control", "control_percent"),
}
"""Key of a definition -> the field of the form, and the name of the text that stands at it."""
_OFFER: Final[Mapping[str, tuple[str, str]]] = {
    "unit": ("unit", "unit"),
    "value": ("value", "offer_value"),
    "order_value": ("order_value", "order_value"),
    "budget": ("budget", "budget"),
    "prediction": ("offer_prediction", "ladder"),
    "edges": ("steps", "ladder"),
    "values": ("steps", "ladder"),
}


def campaign_wrong(visit: Visit, problem: Problem, form: CampaignForm) -> Wrong:
    """A problem with what somebody wrote; any other one is raised again."""
    found = wrong_of(visit, problem)
    if problem.kind is not Kind.INVALID_DEFINITION:
        return found
    told = list(problem.members["problems"][:MOST_PLACES])
    own = [each for each in told if not _OTHER.match(each["path"])]
    places = [place for place, each in zip(found.places, told, strict=True) if each not in own]
    named = tuple(named_of(TEXTS[visit.language], form, each) for each in own)
    return Wrong(found.words, places, named)


def named_of(t: Texts, form: CampaignForm, told: Mapping[str, str]) -> Named:
    """One problem (its `path`, what was `found` there, and what is `expected`) by the field that it belongs to."""
    path = _OWN.sub("", told["path"], count=1)
    what = f"found {told['found']}; expected {told['expected']}"
    field, label = next(_fields(t, form, path, told["found"]))
    # Fields say themselves what they hold; in the text for all the rest the path is what people look for.
    return Named(field, label, f"{path}: {what}" if field == "rest" and path else what)


def _fields(t: Texts, form: CampaignForm, path: str, found: str) -> Iterator[tuple[str, str]]:
    """(name of the field in the form, what it is called), the best first; the last one is there for everything."""
    inner = path.partition(".")[2]
    head = re.split(r"[.\[]", path)[0]
    if head == "message" and form.message:
        for number, (part, _) in enumerate(form.message):
            if re.match(rf"{re.escape(part)}\b", found) or inner == f"parts.{part}":
                yield f"part_{number}_text", f"{t.message} · {t.message_parts.get(part, part)}"
        yield "part", t.message
    if head == "offer" and form.offer not in ("none", "other"):
        field, text = _OFFER.get(re.split(r"[.\[]", inner)[0], ("offer", "offer"))
        yield field, getattr(t, text)
    if head in _PLAIN and (head != "trigger" or form.trigger != "other"):
        field, text = _PLAIN[head]
        yield field, getattr(t, text)
    yield "rest", t.campaign_rest
