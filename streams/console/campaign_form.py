"""Campaigns and journeys as forms have them: guided fields for what people change, a text for all the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from config.campaigns import Campaign
from config.errors import Problem as Wrong
from config.journeys import Journey
from config.offers import FixedOffer, LadderOffer
from config.written import written
from config.yaml_text import dump
from streams.api.definitions_view import invalid
from streams.console.filter_form import data_of

TRIGGERS: Final = ("enter", "exit", "both")
STATES: Final = ("on", "dry", "paused")
OFFERS: Final = ("none", "fixed", "ladder")
_OTHER: Final = "other"
"""What is not one of the choices stays in the text."""
_OFFER_KEYS: Final = frozenset({"unit", "value", "prediction", "edges", "values", "order_value", "budget"})
_MOST: Final = 12
"""Steps of a ladder, and parts of a message, that the form has room for."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a ladder: from this score on, this much; as somebody wrote it."""

    edge: str = ""
    """Of the lowest step nothing: it begins at 0."""
    value: str = ""


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
    offer: str = "none"
    unit: str = "percent"
    value: str = ""
    offer_prediction: str = ""
    order_value: str = ""
    budget: str = ""
    steps: tuple[Step, ...] = (Step(), Step())
    rest: str = ""
    """YAML."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> CampaignForm:
        """As it was sent."""
        new = cls()

        def one_of(name: str, known: tuple[str, ...], otherwise: str) -> str:
            return given[name] if given.get(name) in (*known, _OTHER) else otherwise

        parts = [(given[f"part_{n}_name"], given.get(f"part_{n}_text", "")) for n in _numbers(given, "part_{}_name")]
        steps = [
            Step(given.get(f"step_{n}_edge", ""), given[f"step_{n}_value"]) for n in _numbers(given, "step_{}_value")
        ]
        return cls(
            kind="journey" if given.get("kind") == "journey" else "campaign",
            id=given.get("id", ""),
            name=" ".join(given.get("name", "").split()),
            segment=given.get("segment", ""),
            trigger=one_of("trigger", TRIGGERS, "enter"),
            channels=tuple(name.removeprefix("channel_") for name in given if name.startswith("channel_")),
            state=one_of("state", STATES, "paused"),
            control=given.get("control", new.control),
            message=tuple(parts),
            offer=one_of("offer", OFFERS, "none"),
            unit="amount" if given.get("unit") == "amount" else "percent",
            value=given.get("value", ""),
            offer_prediction=given.get("offer_prediction", ""),
            order_value=given.get("order_value", ""),
            budget=given.get("budget", ""),
            steps=tuple(steps) or new.steps,
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
        )
        if isinstance(rules, Campaign):
            found = found._with_campaign(rules, data)
        return replace(found, rest=dump(data) if data else "")

    def _with_campaign(self, rules: Campaign, data: dict[str, Any]) -> CampaignForm:
        """What only campaigns have; what there are no fields for stays in `data`."""
        found = self
        if rules.trigger in TRIGGERS:
            found = replace(found, trigger=str(data.pop("trigger", "enter")))
        else:
            found = replace(found, trigger=_OTHER)
        if not rules.message.by_channel:
            found = replace(found, message=tuple(data.pop("message")["parts"].items()))
        else:
            found = replace(found, message=())
        offer = rules.offer
        if isinstance(offer, FixedOffer | LadderOffer):
            fields = _offer_fields(offer)
            kept = {"budget"} if offer.budget is not None and not fields["budget"] else set()
            left = {key: value for key, value in data.pop("offer").items() if key in kept or key not in _OFFER_KEYS}
            if left:
                data["offer"] = left
            return replace(found, **fields)
        return replace(found, offer="none" if offer is None else _OTHER)

    def with_step(self) -> CampaignForm:
        """With another step of the ladder."""
        return self if len(self.steps) >= _MOST else replace(self, offer="ladder", steps=(*self.steps, Step()))

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
            "control": _number("control", self.control) / 100.0,
        }
        if self.kind == "campaign":
            found |= self._of_campaign(rest.get("offer", {}))
        return found

    def _of_campaign(self, left: dict[str, Any]) -> dict[str, Any]:
        """`left`: what the text says of the offer."""
        found: dict[str, Any] = {}
        if self.trigger != _OTHER:
            found["trigger"] = self.trigger
        if self.message:
            found["message"] = {"parts": {name: text.replace("\r\n", "\n") for name, text in self.message}}
        if self.offer not in ("none", _OTHER):
            found["offer"] = {**left, **dict(self._offer())}
        return found

    def _offer(self) -> Iterator[tuple[str, Any]]:
        yield "unit", self.unit
        if self.order_value.strip():
            yield "order_value", _number("offer.order_value", self.order_value)
        if self.budget.strip():
            yield "budget", {"amount": _number("offer.budget", self.budget)}
        if self.offer == "fixed":
            yield "value", _number("offer.value", self.value)
            return
        filled = [step for step in self.steps if step.value.strip()]
        yield "prediction", self.offer_prediction
        yield "edges", [_number("offer.edges", step.edge) for step in filled[1:]]
        yield "values", [_number("offer.values", step.value) for step in filled]


def _offer_fields(offer: FixedOffer | LadderOffer) -> dict[str, Any]:
    found: dict[str, Any] = {
        "unit": offer.unit,
        "order_value": "" if offer.order_value is None else f"{offer.order_value:g}",
        "budget": "" if offer.budget is None or offer.budget.per != "total" else f"{offer.budget.amount:g}",
    }
    if isinstance(offer, FixedOffer):
        return {**found, "offer": "fixed", "value": f"{offer.value:g}"}
    edges = ("", *(f"{edge:g}" for edge in offer.edges))
    steps = tuple(Step(edge, f"{value:g}") for edge, value in zip(edges, offer.values, strict=True))
    return {**found, "offer": "ladder", "offer_prediction": offer.prediction, "steps": steps}


def _numbers(given: Mapping[str, str], name: str) -> Iterator[int]:
    return (number for number in range(_MOST) if name.format(number) in given)


def _number(where: str, text: str) -> float:
    """Raises `Problem` for what is none."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError as error:
        raise invalid([Wrong(None, where, repr(text)[:80], "a number")]) from error
    return int(value) if value.is_integer() else value
