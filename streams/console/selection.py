"""What somebody has selected of a prediction, as an address has it: `min` and `max`, or a `category`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from streams.api.views import PredictionView
from streams.console.language import Format
from streams.console.pages import TEXTS
from streams.console.prediction_words import KindWord
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


def selection_words(visit: Visit, kind: KindWord, selection: Selection, *, is_rank: bool) -> str:
    """`Top 25%`: what a range of ranks is called; for other scores themselves. As the slider's script says it."""
    t, f, (low, high, _) = TEXTS[visit.language], visit.format, selection
    if low <= 0.0 and high >= 100.0:
        return t.rank_everybody
    if not is_rank:
        return t.rank_scores.format(low=f.edge(low), high=f.edge(high))
    if high >= 100.0:
        return t.rank_top[kind].format(share=_share(f, 100.0 - low))
    if low <= 0.0:
        return t.rank_bottom[kind].format(share=_share(f, high))
    return t.rank_between.format(low=f.edge(low), high=f.edge(high))


def _share(f: Format, scores: float) -> str:
    """`25%`, or `37.5%`: of ranks as many digits as they have, up to one."""
    return f.percent(scores / 100.0, 0 if round(scores, 1) == round(scores) else 1)


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
