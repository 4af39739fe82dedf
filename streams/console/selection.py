"""What somebody has selected of a prediction, as an address has it: `min` and `max`, or a `category`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from streams.api.views import PredictionView
from streams.console.pages import TEXTS
from streams.console.visit import Visit


class Selection(NamedTuple):
    """Scores [low, high), closed at 100; of a category, those at its edges."""

    low: float
    high: float
    category: str | None

    @property
    def address(self) -> str:
        """As it stands in an address."""
        if self.category is not None:
            return urlencode({"category": self.category})
        return urlencode({"min": f"{self.low:g}", "max": f"{self.high:g}"})

    @property
    def definition(self) -> dict[str, object]:
        """As the API takes it for a segment, without its prediction."""
        if self.category is not None:
            return {"category": self.category}
        return {"min": self.low, "max": self.high}


def selection_of(query: Mapping[str, str], view: PredictionView) -> Selection:
    """What an address selects; the highest category where it selects nothing that there is."""
    highest = view.categories[-1]
    return chosen_selection(query, view) or Selection(highest.low, highest.high, highest.id)


def chosen_selection(query: Mapping[str, str], view: PredictionView) -> Selection | None:
    """What an address selects; None where it selects nothing that there is."""
    for category in view.categories:
        if category.id == query.get("category"):
            return Selection(category.low, category.high, category.id)
    low, high = _score(query.get("min"), 0.0), _score(query.get("max"), 100.0)
    if ("min" in query or "max" in query) and low is not None and high is not None and low < high:
        return Selection(low, high, None)
    return None


def _score(text: str | None, otherwise: float) -> float | None:
    try:
        value = otherwise if text is None else float(text)
    except ValueError:
        return None
    return value if 0.0 <= value <= 100.0 else None


def hints_against(visit: Visit, view: PredictionView, stage: str) -> str | None:
    """Why nothing may be made of a selection, in words; None where it may."""
    t = TEXTS[visit.language]
    if view.access != "live":
        return t.access_help[view.access]
    if stage == "archived":
        return t.status_help[stage]
    return None if visit.may_write else t.key_may_only_look
