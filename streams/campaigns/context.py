"""What a message may name."""

from __future__ import annotations

from typing import Any, Final

from config.campaigns import Campaign, Message, Rules
from config.offers import FixedOffer, Offer
from config.times import EventTrigger
from streams.campaigns.question import Question
from streams.campaigns.state import Given

ALWAYS: Final = ("user", "remembered", "reasons", "event", "campaign")
OF_PREDICTION: Final = ("score", "likelihood", "category")
"""Known where there is a prediction that the message speaks of, and the user has a score by it."""
OF_OFFER: Final = ("offer",)
OF_RECOMMENDATIONS: Final = ("recommendations",)


def names_of(rules: Rules, offer: Offer | None, message: Message | None = None) -> tuple[str, ...]:
    """What a message with this offer may ever know by name, of some user."""
    of_prediction = () if prediction_of(rules, offer) is None else OF_PREDICTION
    asks = message is not None and message.recommendations is not None
    return (*ALWAYS, *of_prediction, *(() if offer is None else OF_OFFER), *(OF_RECOMMENDATIONS if asks else ()))


def keys_of(rules: Rules, offer: Offer | None) -> dict[str, tuple[str, ...]]:
    """Of names that a message may know: all keys that there may ever be in them. Of others nobody can tell."""
    trigger = rules.trigger if isinstance(rules, Campaign) else None
    found = {"campaign": ("id", "name"), "event": trigger.properties if isinstance(trigger, EventTrigger) else ()}
    return found if offer is None else found | {"offer": ("value", "unit")}


def context_of(q: Question, offer: Given | None) -> dict[str, Any]:
    """What a message may name. What is not known is left out, so that a template that counts on it fails."""
    facts = q.facts
    prediction = prediction_of(q.rules, q.offer)
    score = facts.scores.get(prediction) if prediction is not None else None
    said: dict[str, Any] = {}
    if score is not None:
        whole = None if score.score is None else _number(score.score)
        said = {"score": whole, "likelihood": score.likelihood, "category": score.category}
    found: dict[str, Any] = {
        **{name: value for name, value in said.items() if value is not None},
        "user": {**{name: value for name, value in facts.traits.items() if value is not None}, "id": q.user},
        "reasons": [] if score is None else list(score.reasons),
        "remembered": facts.remembered,
        "event": q.occasion.properties,
        "campaign": {"id": q.id, "name": q.rules.name},
    }
    return found if offer is None else found | {"offer": {"value": _number(offer.value), "unit": offer.unit}}


def prediction_of(rules: Rules, offer: Offer | None) -> str | None:
    """The prediction that a message speaks of: named by the definition, the offer's, or the segment's."""
    if rules.prediction is None and offer is not None and not isinstance(offer, FixedOffer):
        return offer.prediction
    return rules.speaks_of


def _number(value: float) -> float | int:
    """Whole numbers without decimals: 20, not 20.0."""
    return int(value) if value == int(value) else value
