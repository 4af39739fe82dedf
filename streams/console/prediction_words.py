"""What the console says of any prediction: its kind, its status and its categories, as texts can be asked for them."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from streams.api.read_predictions import LEARNING, NO_EVENTS
from streams.api.views import PredictionView

KindWord = Literal["event", "churn"]
_STAGES: Final = (NO_EVENTS, LEARNING, "archived", "warming up", "going live")


class CategoryShare(NamedTuple):
    """One category as a part of a bar."""

    id: str
    text: str
    """Of `Texts.categories`."""
    low: float
    high: float
    users: int
    share: float
    """Of the audience."""
    left: float
    """Sum of the shares before it."""


def kind_of(view: PredictionView) -> KindWord:
    """Whether its words are those of churn."""
    return "churn" if view.kind == "churn" else "event"


def stage_of(view: PredictionView) -> str:
    """Where its model stands, whatever its access is: the API says both in one text."""
    return next((stage for stage in _STAGES if stage in view.status), "live")


def shares_of(view: PredictionView) -> list[CategoryShare]:
    """Its categories from low to high."""
    total = sum(category.users for category in view.categories)
    found, left = list[CategoryShare](), 0.0
    for category in view.categories:
        share = category.users / total if total else 0.0
        text = f"{kind_of(view)}.{category.id}"
        found.append(CategoryShare(category.id, text, category.low, category.high, category.users, share, left))
        left += share
    return found
