"""Campaigns and journeys as forms have them: guided fields for what people change, a text for all the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from config.campaigns import Campaign
from config.errors import Problem as Wrong
from config.journeys import Journey
from config.written import written
from config.yaml_text import dump
from streams.api.definitions_view import invalid
from streams.console import journey_form
from streams.console.filter_form import data_of
from streams.console.journey_form import EXITS, StepForm, steps_of, steps_of_journey
from streams.console.offer_form import OTHER, OfferForm, kept_of, number
from streams.console.spans import Span

TRIGGERS: Final = ("enter", "exit", "both")
STATES: Final = ("on", "dry", "paused")
_WEEK: Final = Span("7", "d")
_MOST_PARTS: Final = 16
"""Of a message, that the form has room for."""


@dataclass(frozen=True, slots=True)
class CampaignForm:
    """What stands in the form."""

    kind: Literal["campaign", "journey"] = "campaign"
    id: str = ""
    """A proposal for a new one."""
    name: str = ""
    segment: str = ""
    trigger: str = "enter"
    channels: tuple[str, ...] = ()
    state: str = "paused"
    control: str = "10"
    """Percent."""
    message: tuple[tuple[str, str], ...] = (("subject", ""), ("body", ""))
    goal: str = ""
    """The event by which it is judged,"""
    within: Span = _WEEK
    """and how long after the message it counts."""
    offer: OfferForm = field(default_factory=OfferForm)
    steps: tuple[StepForm, ...] = ()
    """Of a journey."""
    exit_on: str = "goal_or_leaving"
    rest: str = ""
    """YAML."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> CampaignForm:
        """As it was sent."""
        new = cls()

        def one_of(name: str, known: tuple[str, ...], otherwise: str) -> str:
            return given[name] if given.get(name) in (*known, OTHER) else otherwise

        return cls(
            kind="journey" if given.get("kind") == "journey" else "campaign",
            id=given.get("id", ""),
            name=" ".join(given.get("name", "").split()),
            segment=given.get("segment", ""),
            trigger=one_of("trigger", TRIGGERS, "enter"),
            channels=tuple(name.removeprefix("channel_") for name in given if name.startswith("channel_")),
            state=one_of("state", STATES, "paused"),
            control=given.get("control", new.control),
            message=tuple(parts_of(given)),
            goal=given.get("goal", "").strip(),
            within=Span.of(given, "within", new.within),
            offer=OfferForm.of(given),
            steps=steps_of(given),
            exit_on=one_of("exit_on", EXITS, new.exit_on),
            rest=given.get("rest", ""),
        )

    @classmethod
    def of_definition(cls, id_: str, rules: Campaign | Journey) -> CampaignForm:
        """Of one that there is, or that a template gives."""
        data = written(rules)
        found = cls(
            kind="campaign" if isinstance(rules, Campaign) else "journey",
            id=id_,
            name=data.pop("name"),
            segment=data.pop("segment"),
            channels=tuple(data.pop("channels")),
            state=data.pop("state", "on"),
            control=f"{100.0 * data.pop('control', rules.control):g}",
            goal=rules.conversion.event,
            within=Span.of_s(rules.conversion.window_s),
        )
        goal = {key: value for key, value in data.pop("conversion").items() if key not in ("event", "window")}
        if goal:
            data["conversion"] = goal
        if isinstance(rules, Campaign):
            found = found._with_campaign(rules, data)
        else:
            data.pop("steps")
            found = replace(found, steps=steps_of_journey(rules), exit_on=data.pop("exit_on", rules.exit_on))
        return replace(found, rest=dump(data) if data else "")

    def _with_campaign(self, rules: Campaign, data: dict[str, Any]) -> CampaignForm:
        """What only campaigns have; what there are no fields for stays in `data`."""
        found = self
        if rules.trigger in TRIGGERS:
            found = replace(found, trigger=str(data.pop("trigger", "enter")))
        else:
            found = replace(found, trigger=OTHER)
        if not rules.message.by_channel:
            found = replace(found, message=tuple(data.pop("message")["parts"].items()))
        else:
            found = replace(found, message=())
        found = replace(found, offer=OfferForm.of_offer(rules.offer))
        if rules.offer is not None and found.offer.kind != OTHER:
            data.pop("offer")
            if kept := kept_of(rules.offer):
                data["offer"] = kept
        return found

    def after(self, action: str) -> CampaignForm:
        """After a button that changes the form itself."""
        return replace(self, offer=self.offer.after(action), steps=journey_form.after(self.steps, action))

    @property
    def definition(self) -> dict[str, Any]:
        """As a catalog has it, not checked. Raises `Problem` for what cannot even be read."""
        rest = data_of(self.rest) if self.rest.strip() else {}
        if not isinstance(rest, dict):
            raise invalid([Wrong(None, "", "a text that is no mapping", "lines such as reentry: 30d")])
        found: dict[str, Any] = {
            **rest,
            "name": self.name,
            "segment": self.segment,
            "channels": list(self.channels),
            "state": self.state,
            "control": number("control", self.control) / 100.0,
            "conversion": {**_mapping(rest, "conversion"), "event": self.goal, "window": self.within.text},
        }
        if self.kind == "campaign":
            return found | self._of_campaign(_mapping(rest, "offer"))
        # Who writes the steps as text means those.
        steps = rest["steps"] if "steps" in rest else journey_form.definition_of(self.steps)
        return {**found, "exit_on": self.exit_on, "steps": steps}

    def _of_campaign(self, left: Mapping[str, Any]) -> dict[str, Any]:
        """`left`: what the text says of the offer."""
        found: dict[str, Any] = {}
        if self.trigger != OTHER:
            found["trigger"] = self.trigger
        if self.message:
            found["message"] = {"parts": {name: text.replace("\r\n", "\n") for name, text in self.message}}
        offer = self.offer.definition(left)
        if offer is not None:
            found["offer"] = offer
        return found


def parts_of(given: Mapping[str, str], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of the parts of a message."""
    for n in range(_MOST_PARTS):
        if f"{prefix}part_{n}_name" in given:
            yield given[f"{prefix}part_{n}_name"], given.get(f"{prefix}part_{n}_text", "")


def _mapping(rest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What the text says under a key that has fields, too; its own problem is told where it is no mapping."""
    found = rest.get(key, {})
    if not isinstance(found, dict):
        raise invalid([Wrong(None, key, "a text that is no mapping", "a mapping (key: value)")])
    return found
