"""What a message may name."""

from __future__ import annotations

from typing import Any

from config.offers import FixedOffer
from streams.campaigns.question import Question
from streams.campaigns.state import Given


def context_of(q: Question, offer: Given | None) -> dict[str, Any]:
    """What a message may name. What is not known is left out, so that a template that counts on it fails."""
    facts = q.facts
    prediction = _prediction_of(q)
    score = facts.scores.get(prediction) if prediction is not None else None
    said = {} if score is None else {"score": score.score, "likelihood": score.likelihood, "category": score.category}
    found: dict[str, Any] = {
        **{name: value for name, value in said.items() if value is not None},
        "user": {**{name: value for name, value in facts.traits.items() if value is not None}, "id": q.user},
        "reasons": [] if score is None else list(score.reasons),
        "remembered": facts.remembered,
        "event": q.occasion.properties,
        "campaign": {"id": q.id, "name": q.rules.name},
    }
    return found if offer is None else found | {"offer": {"value": _number(offer.value), "unit": offer.unit}}


def _prediction_of(q: Question) -> str | None:
    """The prediction that a message speaks of: named by the definition, the offer's, or the segment's."""
    if q.rules.prediction is None and q.offer is not None and not isinstance(q.offer, FixedOffer):
        return q.offer.prediction
    return q.rules.speaks_of


def _number(value: float) -> float | int:
    """Whole numbers without decimals: 20, not 20.0."""
    return int(value) if value == int(value) else value
