"""The shop: what its users want, how that shows, and what their traits say about them.

Everything that depends on a hidden state stands here, as rates; `process.py` does the arithmetic and `traffic.py` the
drawing. A user is of one of three kinds for ever, and in one of ten states at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.simulate.draws import F64, I64
from streams.simulate.process import Process

MARKS: Final = (
    "identify",
    "Product Viewed",
    "Products Searched",
    "Product Added",
    "Cart Viewed",
    "Order Completed",
    "Order Refunded",
)
IDENTIFY, VIEWED, SEARCHED, ADDED, CART_VIEWED, ORDERED, REFUNDED = range(7)

STATES: Final = (
    "cold",
    "browsing",
    "keen",
    "lapsed",
    "bought",
    "carted",
    "cold visit",
    "browsing visit",
    "keen visit",
    "cart visit",
)
COLD, BROWSING, KEEN, LAPSED, BOUGHT, CARTED, COLD_VISIT, BROWSING_VISIT, KEEN_VISIT, CART_VISIT = range(10)

COUNTRIES: Final = ("DE", "FR", "GB", "US", "NL", "ES")
PLANS: Final = ("free", "plus", "business")

_DAY: Final = 1.0 / 86_400.0
_MINUTE: Final = 1.0 / 60.0
_SEARCH_SHARE: Final = 0.3
"""Of the visits that do not begin with a look into the cart, those that begin with a search."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What users of a kind do more or less than others, and the traits that they are likelier to have."""

    name: str
    share: float
    visits: float
    """Factor on how often they come."""
    wants: float
    """Factor on how often they begin to want something."""
    buys: float
    """Factor on how fast they order with a filled cart."""
    leaves: float
    """Factor on how fast they lapse."""
    refunds: float
    """Factor on how often they send an order back."""
    countries: tuple[float, ...]
    plans: tuple[float, ...]
    consent: float
    """Share that agrees to get email."""


KINDS: Final = (
    Kind("looker", 0.50, 0.6, 0.5, 0.5, 1.4, 2.0, (0.20, 0.15, 0.20, 0.25, 0.05, 0.15), (0.85, 0.12, 0.03), 0.40),
    Kind("regular", 0.35, 1.0, 1.0, 1.0, 0.9, 1.0, (0.28, 0.18, 0.20, 0.15, 0.10, 0.09), (0.50, 0.42, 0.08), 0.60),
    Kind("devoted", 0.15, 1.8, 1.8, 1.6, 0.4, 0.6, (0.35, 0.20, 0.15, 0.08, 0.17, 0.05), (0.25, 0.45, 0.30), 0.80),
)
FIRST_STATES: Final = {COLD_VISIT: 0.50, BROWSING_VISIT: 0.35, KEEN_VISIT: 0.15}
"""Where the visit begins in which a user signs up."""

_VISITS_PER_DAY: Final = {COLD: 0.06, BROWSING: 0.35, KEEN: 0.90, BOUGHT: 0.10, CARTED: 0.90}
_VISIT_OF: Final = {
    COLD: COLD_VISIT,
    BROWSING: BROWSING_VISIT,
    KEEN: KEEN_VISIT,
    BOUGHT: COLD_VISIT,
    CARTED: CART_VISIT,
}
_IN_VISIT_PER_MINUTE: Final = (
    # (state, what is seen, state afterwards, rate)
    (COLD_VISIT, VIEWED, COLD_VISIT, 0.80),
    (COLD_VISIT, SEARCHED, COLD_VISIT, 0.15),
    (BROWSING_VISIT, VIEWED, BROWSING_VISIT, 1.00),
    (BROWSING_VISIT, SEARCHED, BROWSING_VISIT, 0.30),
    (BROWSING_VISIT, ADDED, CART_VISIT, 0.02),
    (KEEN_VISIT, VIEWED, KEEN_VISIT, 1.00),
    (KEEN_VISIT, SEARCHED, KEEN_VISIT, 0.30),
    (KEEN_VISIT, ADDED, CART_VISIT, 0.10),
    (CART_VISIT, VIEWED, CART_VISIT, 0.40),
    (CART_VISIT, ADDED, CART_VISIT, 0.15),
    (CART_VISIT, CART_VIEWED, CART_VISIT, 0.25),
)
_HIDDEN_IN_VISIT_PER_MINUTE: Final = (
    (COLD_VISIT, COLD, 0.50),
    (COLD_VISIT, BROWSING_VISIT, 0.02),
    (BROWSING_VISIT, BROWSING, 0.25),
    (KEEN_VISIT, KEEN, 0.20),
    (CART_VISIT, CARTED, 0.20),
)
_MOVED: Final = {
    COLD: BROWSING,
    BROWSING: KEEN,
    LAPSED: COLD,
    CARTED: CART_VISIT,
    COLD_VISIT: BROWSING_VISIT,
    BROWSING_VISIT: KEEN_VISIT,
}
"""Where a message that moves somebody leads; in other states it changes nothing."""
_ORDERS_PER_MINUTE: Final = 0.06
_REFUNDS_PER_DAY: Final = 0.02


def kind_process(kind: Kind) -> Process:
    """The ten states of users of one kind."""
    hidden = np.zeros((len(STATES), len(STATES)))
    marked = np.zeros((len(MARKS), len(STATES), len(STATES)))
    for away, per_day in _VISITS_PER_DAY.items():
        rate, visit = per_day * kind.visits * _DAY, _VISIT_OF[away]
        if away == CARTED:
            marked[CART_VIEWED, away, visit] = rate
        else:
            marked[VIEWED, away, visit] = rate * (1.0 - _SEARCH_SHARE)
            marked[SEARCHED, away, visit] = rate * _SEARCH_SHARE
    for state, mark, after, per_minute in _IN_VISIT_PER_MINUTE:
        marked[mark, state, after] = per_minute * _MINUTE
    marked[ORDERED, CART_VISIT, BOUGHT] = _ORDERS_PER_MINUTE * kind.buys * _MINUTE
    marked[REFUNDED, BOUGHT, COLD] = _REFUNDS_PER_DAY * kind.refunds * _DAY
    for state, after, per_minute in _HIDDEN_IN_VISIT_PER_MINUTE:
        hidden[state, after] = per_minute * _MINUTE
    for state, after, per_day in _moods_per_day(kind):
        hidden[state, after] = per_day * _DAY
    return Process(hidden, marked)


def _moods_per_day(kind: Kind) -> tuple[tuple[int, int, float], ...]:
    """Changes of intent while nobody looks: (state, state afterwards, rate)."""
    return (
        (COLD, BROWSING, kind.wants / 25),
        (COLD, LAPSED, kind.leaves / 120),
        (BROWSING, COLD, 1 / 6),
        (BROWSING, KEEN, kind.wants / 8),
        (BROWSING, LAPSED, kind.leaves / 300),
        (KEEN, BROWSING, 1 / 4),
        (KEEN, COLD, 1 / 20),
        (LAPSED, COLD, 1 / 120),
        (BOUGHT, COLD, 1 / 10),
        (CARTED, BROWSING, 1 / 3),
    )


@dataclass(frozen=True, slots=True)
class Shop:
    """All kinds of users in one process; state `s` of kind `c` is number `c * len(STATES) + s`."""

    process: Process
    kind_share: F64
    """[C]"""
    first: F64
    """[C, S] state in which a user of each kind begins."""
    country: F64
    """[C, countries] share of users of each kind."""
    plan: F64
    """[C, plans]"""
    consent: F64
    """[C, 2] share without, and with, consent to email."""

    @property
    def users_at_first(self) -> F64:
        """[S] shares of states among users who have just signed up."""
        shares: F64 = self.kind_share @ self.first
        return shares

    @property
    def events_per_user_s(self) -> float:
        """Visible events of one user per second, in the long run."""
        return self.process.event_rate(self.process.long_run(self.users_at_first))


def build_shop(kinds: tuple[Kind, ...] = KINDS) -> Shop:
    """The shop with these kinds of users. Raises ValueError when shares do not add up to 1."""
    size = len(STATES)
    states = size * len(kinds)
    hidden, marked = np.zeros((states, states)), np.zeros((len(MARKS), states, states))
    first = np.zeros((len(kinds), states))
    for c, kind in enumerate(kinds):
        block = slice(c * size, (c + 1) * size)
        part = kind_process(kind)
        hidden[block, block], marked[:, block, block] = part.hidden, part.marked
        for state, share in FIRST_STATES.items():
            first[c, c * size + state] = share
    tables = {
        "kind_share": np.array([kind.share for kind in kinds]),
        "first": first,
        "country": np.array([kind.countries for kind in kinds]),
        "plan": np.array([kind.plans for kind in kinds]),
        "consent": np.array([(1.0 - kind.consent, kind.consent) for kind in kinds]),
    }
    for name, shares in tables.items():
        if not np.allclose(shares.sum(axis=-1), 1.0):
            raise ValueError(f"the shares of {name} do not add up to 1: {shares.tolist()}")
    return Shop(Process(hidden, marked), **tables)


def moved_states(shop: Shop) -> I64:
    """[S] the state in which a user is right after a message that has moved them."""
    target = np.arange(len(shop.process.hidden))
    for c in range(len(shop.kind_share)):
        for state, after in _MOVED.items():
            target[c * len(STATES) + state] = c * len(STATES) + after
    return target


def belief_at_sign_up(shop: Shop, country: np.ndarray, plan: np.ndarray, consent: np.ndarray) -> F64:
    """[n, S] what is known right after a user's first event, which tells the traits (indices, [n] each)."""
    kinds = shop.kind_share * shop.country[:, country].T * shop.plan[:, plan].T * shop.consent[:, consent].T
    belief: F64 = (kinds / kinds.sum(axis=1, keepdims=True)) @ shop.first
    return belief
