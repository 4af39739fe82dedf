"""Rows as records of the Segment spec: one JSON object each, as `(user id, bytes)`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import numpy as np

from streams.simulate.draws import I64
from streams.simulate.shop import (
    ADDED,
    CART_VIEWED,
    COUNTRIES,
    IDENTIFY,
    MARKS,
    ORDERED,
    PLANS,
    REFUNDED,
    SEARCHED,
    VIEWED,
)
from streams.simulate.traffic import MAX_QUANTITY, PRODUCTS, Rows, Traffic, prices_cents

Record = tuple[str, bytes]
"""(user id, JSON): the user id is the key under which a log keeps a user's events in order."""

CURRENCY: Final = "EUR"
_THINGS: Final = ("Lamp", "Chair", "Mug", "Kettle", "Blanket", "Basket", "Clock", "Vase", "Tray", "Shelf")
_COLOURS: Final = ("blue", "green", "red", "white", "black", "oak", "brass", "grey")
_CATEGORIES: Final = ("Living", "Kitchen", "Office", "Garden")
_ITEM: Final = MAX_QUANTITY + 1
_DAY_MS: Final = 86_400_000


def user_id(number: int) -> str:
    """The id of a user."""
    return f"user-{number:07d}"


def product_id(product: int) -> str:
    """The id of a product."""
    return f"p-{product:03d}"


class Clock:
    """Turns milliseconds since the start into ISO 8601 text, from tables: ten times faster than numpy's own."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._time = [f"T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(86_400)]
        self._ms = [f".{ms:03d}Z" for ms in range(1_000)]
        self._days: dict[int, str] = {}

    def texts(self, ms: I64) -> list[str]:
        """[n] such as 2024-01-01T08:15:30.123Z."""
        day, rest = np.divmod(ms + self._start_ms, _DAY_MS)
        second, part = np.divmod(rest, 1_000)
        days, time, parts = self._days, self._time, self._ms
        for new in {*np.unique(day).tolist()} - days.keys():
            days[new] = datetime.fromtimestamp(new * 86_400, UTC).strftime("%Y-%m-%d")
        return [
            days[d] + time[s] + parts[m] for d, s, m in zip(day.tolist(), second.tolist(), part.tolist(), strict=True)
        ]


class Writer:
    """Turns rows into records. `start_ms`: milliseconds since 1970 UTC at which the traffic begins.

    `named` gives the id of a user by number; it has no character that JSON writes in another way.
    """

    def __init__(self, traffic: Traffic, *, seed: int, start_ms: int, named: Callable[[int], str] = user_id) -> None:
        self._traffic = traffic
        self._named = named
        self._seed = seed
        self._clock = Clock(start_ms)
        prices = [f"{cents / 100:.2f}" for cents in prices_cents().tolist()]
        self._prices = prices
        self._product = [_product(number, price) for number, price in enumerate(prices)]
        # Indexed by item: the product together with a quantity.
        self._line = [f'{self._product[item // _ITEM]},"quantity":{item % _ITEM}' for item in range(PRODUCTS * _ITEM)]
        self._query = [
            f"{_COLOURS[item % len(_COLOURS)]} {_THINGS[item // _ITEM % len(_THINGS)].lower()}"
            for item in range(PRODUCTS * _ITEM)
        ]
        self._by_mark: dict[int, Callable[[Rows], Iterator[str]]] = {
            VIEWED: self._viewed,
            SEARCHED: self._searched,
            ADDED: self._added,
            CART_VIEWED: self._cart_viewed,
            ORDERED: self._ordered,
            REFUNDED: self._refunded,
        }

    def records(self, rows: Rows, sent_ms: I64) -> list[Record]:
        """One record for every row, which must all be events. `sent_ms`: [n] when they are sent, as in `rows.ms`."""
        ids = [self._named(user) for user in rows.user.tolist()]
        times = self._clock.texts(rows.ms)
        late = np.flatnonzero(sent_ms != rows.ms)
        sent = times.copy()
        for row, text in zip(late.tolist(), self._clock.texts(sent_ms[late]), strict=True):
            sent[row] = text
        bodies: list[str] = [""] * len(rows)
        for mark in np.unique(rows.mark).tolist():
            at = np.flatnonzero(rows.mark == mark)
            for row, body in zip(at.tolist(), self._bodies(mark, rows.take(at)), strict=True):
                bodies[row] = body
        seed = self._seed
        return [
            (
                who,
                f'{{"messageId":"s{seed}-{who}-{number}","userId":"{who}","timestamp":"{time}","sentAt":"{send}",{body}}}'.encode(),
            )
            for who, number, time, send, body in zip(ids, rows.number.tolist(), times, sent, bodies, strict=True)
        ]

    def _bodies(self, mark: int, rows: Rows) -> Iterator[str]:
        if mark == IDENTIFY:
            yield from self._identified(rows)
            return
        head = f'"type":"track","event":"{MARKS[mark]}","properties":'
        for properties in self._by_mark[mark](rows):
            yield head + properties

    def _identified(self, rows: Rows) -> Iterator[str]:
        traffic = self._traffic
        for user in rows.user.tolist():
            consent = "true" if traffic.consent[user] else "false"
            yield (
                f'"type":"identify","traits":{{"email":"{self._named(user)}@shop.example","country":"'
                f'{COUNTRIES[traffic.country[user]]}","plan":"{PLANS[traffic.plan[user]]}","email_consent":{consent}}}'
            )

    def _viewed(self, rows: Rows) -> Iterator[str]:
        for item in rows.item.tolist():
            yield f"{{{self._product[item // _ITEM]}}}"

    def _searched(self, rows: Rows) -> Iterator[str]:
        for item in rows.item.tolist():
            yield f'{{"query":"{self._query[item]}"}}'

    def _added(self, rows: Rows) -> Iterator[str]:
        for order, item in zip(rows.order.tolist(), rows.item.tolist(), strict=True):
            yield f'{{"cart_id":"c-{order + 1}",{self._line[item]}}}'

    def _lines(self, rows: Rows) -> Iterator[str]:
        for cart, lines in zip(rows.cart.tolist(), rows.lines.tolist(), strict=True):
            yield "[" + ",".join(f"{{{self._line[item]}}}" for item in cart[:lines]) + "]"

    def _cart_viewed(self, rows: Rows) -> Iterator[str]:
        for order, products in zip(rows.order.tolist(), self._lines(rows), strict=True):
            yield f'{{"cart_id":"c-{order + 1}","products":{products}}}'

    def _ordered(self, rows: Rows) -> Iterator[str]:
        for order, cents, user, products in zip(
            rows.order.tolist(), rows.cents.tolist(), rows.user.tolist(), self._lines(rows), strict=True
        ):
            yield (
                f'{{"order_id":"o-{user:07d}-{order}","revenue":{cents / 100:.2f},"currency":"{CURRENCY}",'
                f'"products":{products}}}'
            )

    def _refunded(self, rows: Rows) -> Iterator[str]:
        for order, cents, user in zip(rows.order.tolist(), rows.cents.tolist(), rows.user.tolist(), strict=True):
            yield f'{{"order_id":"o-{user:07d}-{order}","total":{cents / 100:.2f},"currency":"{CURRENCY}"}}'


def _product(number: int, price: str) -> str:
    """The fields of a product without the braces around them."""
    name = f"{_COLOURS[number % len(_COLOURS)]} {_THINGS[number % len(_THINGS)].lower()}".capitalize()
    fields = {"product_id": product_id(number), "name": name, "category": _CATEGORIES[number % len(_CATEGORIES)]}
    return json.dumps(fields, separators=(",", ":"))[1:-1] + f',"price":{price}'
