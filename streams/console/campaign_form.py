"""Campaigns and journeys as forms have them: guided fields for what people change, a text for all the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from config.campaigns import MAX_PARTS, Campaign
from config.errors import Problem as Wrong
from config.journeys import Journey
from config.written import written
from config.yaml_text import dump
from streams.api.definitions_view import invalid
from streams.console import journey_form
from streams.console.filter_form import data_of
from streams.console.journey_form import EXITS, StepForm, is_typed, steps_of, steps_of_journey
from streams.console.language import Language
from streams.console.numbers import share, shown_percent
from streams.console.offer_form import OfferForm, kept_of
from streams.console.quoted import read_text, shown_text
from streams.console.spans import Span
from streams.console.trigger_form import TriggerForm
from streams.console.trigger_form import kept_of as kept_of_trigger

STATES: Final = ("on", "dry", "paused")
_WEEK: Final = Span("7", "d")
_WHOLE_OFFER: Final = frozenset({"value", "values", "most"})
"""Of an offer that somebody has written as text, not only what there are no fields for."""


@dataclass(frozen=True, slots=True)
class CampaignForm:
    """What stands in the form."""

    kind: Literal["campaign", "journey"] = "campaign"
    id: str = ""
    """A proposal for a new one."""
    name: str = ""
    segment: str = ""
    trigger: TriggerForm = field(default_factory=TriggerForm)
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
    language: Language = "en"
    """In which the numbers are written."""

    @classmethod
    def of(cls, given: Mapping[str, str], language: Language) -> CampaignForm:
        """As it was sent."""
        new = cls()

        def one_of(name: str, known: tuple[str, ...], otherwise: str) -> str:
            return given[name] if given.get(name) in known else otherwise

        return cls(
            kind="journey" if given.get("kind") == "journey" else "campaign",
            id=given.get("id", ""),
            name=" ".join(given.get("name", "").split()),
            segment=given.get("segment", ""),
            trigger=TriggerForm.of(given),
            channels=tuple(name.removeprefix("channel_") for name in given if name.startswith("channel_")),
            state=one_of("state", STATES, "paused"),
            control=given.get("control", new.control),
            message=tuple(parts_of(given)),
            goal=given.get("goal", ""),
            within=Span.of(given, "within", new.within),
            offer=OfferForm.of(given, language=language),
            steps=steps_of(given, language),
            exit_on=one_of("exit_on", EXITS, new.exit_on),
            rest=given.get("rest", ""),
            language=language,
        )

    @classmethod
    def of_definition(cls, id_: str, rules: Campaign | Journey, language: Language) -> CampaignForm:
        """Of one that there is, or that a template gives."""
        data = written(rules)
        found = cls(
            kind="campaign" if isinstance(rules, Campaign) else "journey",
            id=id_,
            name=data.pop("name"),
            segment=data.pop("segment"),
            channels=tuple(data.pop("channels")),
            state=data.pop("state", "on"),
            control=shown_percent(data.pop("control", rules.control), language),
            goal=shown_text(rules.conversion.event),
            within=Span.of_s(rules.conversion.window_s, language),
            language=language,
        )
        goal = {key: value for key, value in data.pop("conversion").items() if key not in ("event", "window")}
        if goal:
            data["conversion"] = goal
        if isinstance(rules, Campaign):
            found = found._with_campaign(rules, data)
        else:
            data.pop("steps")
            steps = steps_of_journey(rules, language)
            found = replace(found, steps=steps, exit_on=data.pop("exit_on", rules.exit_on))
        return replace(found, rest=dump(data) if data else "")

    def _with_campaign(self, rules: Campaign, data: dict[str, Any]) -> CampaignForm:
        """What only campaigns have; what there are no fields for stays in `data`."""
        data.pop("trigger", None)
        if kept := kept_of_trigger(rules.trigger):
            data["trigger"] = kept
        message: tuple[tuple[str, str], ...] = ()
        if all(is_typed(text) for text in rules.message.parts.values()):
            message = tuple(data["message"].pop("parts").items())
            if not data["message"]:
                del data["message"]
        data.pop("offer", None)
        if rules.offer is not None and (left := kept_of(rules.offer)):
            data["offer"] = left
        offer = OfferForm.of_offer(rules.offer, self.language)
        return replace(self, trigger=TriggerForm.of_trigger(rules.trigger), message=message, offer=offer)

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
            "control": share("control", self.control, self.language),
            "conversion": {**_mapping(rest, "conversion"), "event": read_text(self.goal), "window": self._within},
        }
        if self.kind == "campaign":
            return found | self._of_campaign(rest)
        # Who writes the steps as text means those.
        steps = rest["steps"] if "steps" in rest else journey_form.definition_of(self.steps, self.language)
        return {**found, "exit_on": self.exit_on, "steps": steps}

    @property
    def _within(self) -> str:
        return self.within.written("conversion.window", self.language)

    def _of_campaign(self, rest: Mapping[str, Any]) -> dict[str, Any]:
        """`rest`: what stands as text."""
        found: dict[str, Any] = {"trigger": self.trigger.definition(_mapping(rest, "trigger"))}
        if self.message:
            parts = {name: text.replace("\r\n", "\n") for name, text in self.message}
            found["message"] = {**_mapping(rest, "message"), "parts": parts}
        left = _mapping(rest, "offer")
        offer = self.offer.definition(left)
        if offer is not None or (left and not _WHOLE_OFFER & left.keys()):
            found["offer"] = offer
        return found


def parts_of(given: Mapping[str, str], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of the parts of a message."""
    for n in range(MAX_PARTS):
        if f"{prefix}part_{n}_name" in given:
            yield given[f"{prefix}part_{n}_name"], given.get(f"{prefix}part_{n}_text", "")


def _mapping(rest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What the text says under a key that has fields, too; its own problem is told where it is no mapping."""
    found = rest.get(key, {})
    if not isinstance(found, dict):
        raise invalid([Wrong(None, key, "a text that is no mapping", "a mapping (key: value)")])
    return found
