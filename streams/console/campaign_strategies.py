"""The strategies for a prediction, as people choose them: each with the scores that it is meant for."""

from __future__ import annotations

from typing import NamedTuple

from streams.api.views import PredictionView
from streams.campaigns.strategies.make import Described, described
from streams.console.pages import TEXTS
from streams.console.prediction_words import kind_of
from streams.console.selection import Selection, selection_of
from streams.console.visit import Visit


class Suggestion(NamedTuple):
    """A strategy, and the scores that it is for."""

    name: str
    title: str
    text: str
    makes: str
    own: Selection
    """Whom it is meant for."""

    @property
    def low(self) -> float:
        return self.own.low

    @property
    def high(self) -> float:
        """Beyond 100 where 100 is included."""
        return self.own.high if self.own.high < 100.0 else 101.0


class Card(NamedTuple):
    """A strategy to choose, and the scores that its link fills in."""

    strategy: Suggestion
    address: str
    whom: str
    """The same scores in words."""


def suggestions(visit: Visit, prediction: PredictionView) -> list[Suggestion]:
    """The strategies for a prediction, with the scores that each is for."""
    return [
        Suggestion(
            each.name, each.titles[visit.language], each.texts[visit.language], each.makes, _own(each, prediction)
        )
        for each in described()
        if each.kind == kind_of(prediction)
    ]


def _own(each: Described, prediction: PredictionView) -> Selection:
    """What a strategy is for."""
    if not isinstance(each.scores, str):
        return Selection(*each.scores, None)
    category = next(found for found in prediction.categories if found.id == each.scores)
    return Selection(category.low, category.high, category.id)


def meant_for(template: str, prediction: PredictionView) -> Selection:
    """What the strategy of that name is for; of one that there is not, which is refused later, anything."""
    found = next((each for each in described() if each.name == template), None)
    return selection_of({}, prediction) if found is None else _own(found, prediction)


def cards_of(visit: Visit, prediction: PredictionView, selection: Selection | None) -> tuple[list[Card], list[Card]]:
    """The strategies for a selection, filled in with it; and the others, each with the scores that it is meant for.

    What is good for some is bad for others, such as a large discount for those who buy anyway: so no strategy takes
    scores that are not its own, unless somebody has selected them.
    """
    fitting, others = list[Card](), list[Card]()
    for each in suggestions(visit, prediction):
        if selection is not None and each.low <= (selection.low + selection.high) / 2.0 < each.high:
            fitting.append(Card(each, selection.address, _whom(visit, prediction, selection)))
        else:
            others.append(Card(each, each.own.address, _whom(visit, prediction, each.own)))
    return fitting, others


def _whom(visit: Visit, prediction: PredictionView, selection: Selection) -> str:
    """A selection in words."""
    t, f = TEXTS[visit.language], visit.format
    scores = t.rank_scores.format(low=f.edge(selection.low), high=f.edge(selection.high))
    if selection.category is None:
        return scores
    return f"{t.categories[f'{kind_of(prediction)}.{selection.category}']} · {scores}"
