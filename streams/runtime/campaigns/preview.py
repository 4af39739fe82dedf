"""What a preview asks of stored users, as columns: their segments, scores and likelihoods, and whom rules leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from config.campaigns import Campaign, Messaging
from config.errors import NotKept
from config.filters import Filter
from config.journeys import Journey
from config.offers import FixedOffer
from streams.campaigns.preview import (
    Answer,
    Basis,
    Columns,
    audience_filter,
    of_conversion,
    offers_of,
    withheld_filters,
)
from streams.runtime.everybody import ShardState, UserPage
from streams.runtime.selecting import Flags, Selector
from streams.runtime.stored import StoredState

_Asked = Selector | bool | None
"""`preview.Answer` with a compiled filter."""


class _Compiled(NamedTuple):
    """What is asked of the users of one shard."""

    audience: Selector
    withheld: Mapping[str, _Asked]


class PageColumns:
    """Makes columns of pages of users."""

    def __init__(
        self,
        states: Sequence[ShardState],
        rules: Campaign | Journey,
        messaging: Messaging,
        *,
        basis: Basis | None = None,
        instead: Filter | None = None,
    ) -> None:
        """`basis`: by whose likelihood it is told who does it anyway. `instead`: of the segment, if it is yet to be.

        Raises NotKept where it cannot be told who is in the audience, or a prediction of an offer does not exist.
        """
        self._basis = basis
        self._laddered = [each.offer.prediction for each in offers_of(rules) if not isinstance(each.offer, FixedOffer)]
        audience, withheld = audience_filter(rules, instead), withheld_filters(rules, messaging)
        self._compiled = {
            id(state): _Compiled(
                Selector.of(state, audience), {reason: _asked(state, each) for reason, each in withheld.items()}
            )
            for _, state in states
        }
        for _, state in states:
            for name in self._predictions():
                _place(state, name)

    def of(self, page: UserPage) -> Columns:
        """Of the users of one page."""
        compiled = self._compiled[id(page.state)]
        return Columns(
            inside=compiled.audience.chosen(page.users, page.said),
            withheld={reason: _flags(asked, page) for reason, asked in compiled.withheld.items()},
            scores={name: self._score(page, name) for name in self._laddered},
            likelihood=self._likelihood(page),
        )

    def _predictions(self) -> list[str]:
        return [*self._laddered, *([self._basis.prediction] if self._basis is not None else [])]

    def _score(self, page: UserPage, name: str) -> npt.NDArray[np.float64]:
        """NaN outside of the audience, and until the user's turn, as `StoredShardFacts` has no score then."""
        p = _place(page.state, name)
        scores: npt.NDArray[np.float64] = np.where(page.said.inside[:, p], page.said.score[:, p], np.nan)
        return scores

    def _likelihood(self, page: UserPage) -> npt.NDArray[np.float64] | None:
        if self._basis is None:
            return None
        return of_conversion(self._basis, page.said.likelihood[:, _place(page.state, self._basis.prediction)])


def _place(state: StoredState, name: str) -> int:
    known = state.definitions.prediction_ids
    if name not in known:
        raise NotKept(f"there is no prediction {name!r}")
    return known.index(name)


def _asked(state: StoredState, answer: Answer) -> _Asked:
    """None also for a filter on what is not kept of users: the rule itself asks the log, one user at a time."""
    if answer is None or isinstance(answer, bool):
        return answer
    try:
        return Selector.of(state, answer)
    except NotKept:
        return None


def _flags(asked: _Asked, page: UserPage) -> Flags | None:
    if isinstance(asked, Selector):
        return asked.chosen(page.users, page.said)
    return None if asked is None else np.full(len(page.users), asked)
