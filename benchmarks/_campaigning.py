"""One partition of campaigns in memory: the engine as it runs, without logs and stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from streams.adapters.memory_campaigns import MemoryCampaigns
from streams.campaigns.allowance import Allowance
from streams.campaigns.effects import Out, Place
from streams.campaigns.engine import Engine
from streams.campaigns.inputs import Due, Facts, Input
from streams.campaigns.message import Messages
from streams.campaigns.plan import Plan
from streams.campaigns.question import Tools
from streams.campaigns.state import Book, Books, Row, State

_PARTITION: Final = 0


class Campaigning:
    """Rows and books are kept between calls, and nothing else."""

    def __init__(self, plan: Plan) -> None:
        self.rows: dict[str, Row] = {}
        self.books: dict[str, Book] = {}
        self._plan = plan
        self._state = State()
        self._render = Messages(plan.messages()).render
        store = MemoryCampaigns()
        claim = store.claim(_PARTITION)
        self._place = Place(_PARTITION, claim.generation)
        self._allowance = Allowance(
            self._state, Books(self.books), store.grants(claim), generation=claim.generation, partitions=1
        )

    def take(self, inputs: Iterable[Input], now_s: float, facts: Mapping[str, Facts]) -> list[Out]:
        """Inputs in their order at this time of the wall clock, up to which everything was read; what came out."""
        books = Books(self.books)
        self._allowance.books = books
        tools = Tools(self._plan, books, self._allowance, self._render, {})
        engine = Engine(tools, self._place, self._state, self.rows, facts)
        engine.take(inputs, now_s, now_s)
        return engine.effects.out

    def let_pass(self, now_s: float, facts: Mapping[str, Facts]) -> list[Out]:
        """Whatever is due until then."""
        return self.take([Due(user) for user, row in self.rows.items() if row.next_s() <= now_s], now_s, facts)
