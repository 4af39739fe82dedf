"""Draws what every user does, one slice of time after another, in whole columns.

The process is Markov, so the only memory between slices is one row per user (70 bytes). Slices may be cut
anywhere: draws belong to users (draws.py), so the rows are the same, and a slice is sorted by time in itself.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from streams.simulate.draws import F64, I64, pick, uniform, user_keys
from streams.simulate.process import HIDDEN, Jumps
from streams.simulate.shop import ADDED, CART_VIEWED, IDENTIFY, ORDERED, Shop, moved_states

PRODUCTS: Final = 400
MAX_LINES: Final = 4
"""Lines of a cart; one more takes the place of the oldest."""
MAX_QUANTITY: Final = 3
_DRAWS_PER_JUMP: Final = 4
_NEXT_TIME, _CHOICE, _ITEM = range(3)
_SIGN_UP, _KIND, _COUNTRY, _PLAN, _CONSENT, _LOOKS, _FIRST_JUMP = range(7)
"""Draws that happen once per user; `_FIRST_JUMP` and up are those of jumps."""
_FIRST_NUDGE: Final = 1 << 40
"""Draws that say whom a message moves: no user ever has so many jumps."""

I8 = npt.NDArray[np.int8]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]


def prices_cents() -> I64:
    """[PRODUCTS] from 3 to 200, the same in every run."""
    draw = uniform(user_keys(0, PRODUCTS), np.zeros(PRODUCTS, np.int64))
    return np.round(300.0 * (20_000.0 / 300.0) ** draw).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Rows:
    """`n` jumps in the order of (ms, user, number): the visible ones are events.

    What is in an event beside its kind and time is a function of earlier events and of draws that know no hidden
    state, so it says nothing about what comes.
    """

    user: I64
    """[n] number of the user, from 0 on."""
    ms: I64
    """[n] whole milliseconds since the start."""
    jump: I32
    """[n] number of the jump of this user, from 0 on."""
    number: I32
    """[n] how many events the user has had before this one."""
    mark: I8
    """[n] kind of the event (shop.MARKS), or HIDDEN."""
    state: I16
    """[n] hidden state after the jump."""
    item: I16
    """[n] product and quantity, as product * (MAX_QUANTITY + 1) + quantity; also picks the words of a search."""
    cart: I16
    """[n, MAX_LINES] items in the cart that is viewed or ordered."""
    lines: I8
    """[n] how many of them there are."""
    order: I32
    """[n] how many orders the user has had, this one included."""
    cents: I64
    """[n] what is paid or paid back."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: I64 | npt.NDArray[np.bool_]) -> Self:
        """Some of the rows."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Several, one behind another."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @classmethod
    def none(cls) -> Self:
        """No rows."""
        i64, i32 = np.zeros(0, np.int64), np.zeros(0, np.int32)
        i16, i8 = np.zeros(0, np.int16), np.zeros(0, np.int8)
        carts = np.zeros((0, MAX_LINES), np.int16)
        return cls(i64, i64, i32, i32, i8, i16, i16, carts, i8, i32, i64)

    @property
    def visible(self) -> npt.NDArray[np.bool_]:
        """[n] which of them are events."""
        seen: npt.NDArray[np.bool_] = self.mark != HIDDEN
        return seen


class Traffic:
    """All users of a shop; they sign up evenly over the first `arrive_s` seconds."""

    def __init__(self, shop: Shop, users: int, *, seed: int, arrive_s: float) -> None:
        self.shop = shop
        self.users = users
        self.keys = user_keys(seed, users)
        self._jumps = Jumps.of(shop.process)
        self._prices = prices_cents()
        self._first = _cumulative(shop.first)
        self._kind: I8 = self._once_of(_KIND, shop.kind_share[None], np.zeros(users, np.int8))
        self.country = self._once_of(_COUNTRY, shop.country, self._kind)
        self.plan = self._once_of(_PLAN, shop.plan, self._kind)
        self.consent = self._once_of(_CONSENT, shop.consent, self._kind)
        self.look_phase = self._once(_LOOKS)
        self._next_s: F64 = self._once(_SIGN_UP) * arrive_s
        self.sign_up_ms: I64 = np.floor(self._next_s * 1_000.0).astype(np.int64)
        self._state = np.full(users, -1, np.int16)
        self._jump = np.zeros(users, np.int32)
        self._number = np.zeros(users, np.int32)
        self._cart = np.zeros((users, MAX_LINES), np.int16)
        self._lines = np.zeros(users, np.int32)
        self._orders = np.zeros(users, np.int32)
        self._cents = np.zeros(users, np.int64)
        self._nudges = np.zeros(users, np.int32)

    def until(self, end_ms: int) -> Rows:
        """Everything from where the last call ended up to, and without, `end_ms`."""
        end_s = end_ms / 1_000.0
        users = np.flatnonzero(self._next_s < end_s)
        parts = [Rows.none()]
        while len(users):
            parts.append(self._step(users))
            users = users[self._next_s[users] < end_s]
        rows = Rows.joined(parts)
        return rows.take(np.lexsort((rows.jump, rows.user, rows.ms)))

    @property
    def states(self) -> I16:
        """[users] hidden state in which each is where the last call of `until` ended; -1 before signing up."""
        return self._state.copy()

    def nudge(self, users: I64, at_ms: int, share: F64) -> Rows:
        """A message comes to these users, each once, who have signed up; it moves each with probability `share` [n].

        `at_ms`: where the last call of `until` ended. Whoever is moved is in another state from then on
        (`shop.moved_states`), which nobody sees; the rows are those hidden jumps. As all times until the next jump are
        exponential, the rest of the user's life is drawn anew from there, and follows the law of that state.
        """
        draw = uniform(self.keys[users], _FIRST_NUDGE + self._nudges[users].astype(np.int64))
        self._nudges[users] += 1
        target = moved_states(self.shop)[self._state[users]].astype(np.int16)
        is_moved = (draw < share) & (target != self._state[users])
        users, target = users[is_moved], target[is_moved]
        self._next_s[users] = at_ms / 1_000.0
        rows = Rows(
            users, np.full(len(users), at_ms, np.int64), self._jump[users], self._number[users],
            np.full(len(users), HIDDEN, np.int8), target, np.zeros(len(users), np.int16), self._cart[users],
            np.zeros(len(users), np.int8), self._orders[users], self._cents[users],
        )  # fmt: skip
        self._enter(users, target)
        return rows

    def _once(self, what: int) -> F64:
        return uniform(self.keys, np.full(self.users, what))

    def _once_of(self, what: int, shares: F64, group: I8) -> I8:
        """[users] a choice by the shares [groups, choices] of each user's group."""
        draw, cumulative = self._once(what), _cumulative(shares)
        found = np.zeros(self.users, np.int8)
        for row in range(len(shares)):
            there = group == row
            found[there] = np.searchsorted(cumulative[row], draw[there], side="right")
        return found

    def _draw(self, users: I64, what: int) -> F64:
        """A draw of the users' present jump."""
        number = self._jump[users].astype(np.int64) * _DRAWS_PER_JUMP + (_FIRST_JUMP + what)
        return uniform(self.keys[users], number)

    def _step(self, users: I64) -> Rows:
        """The next jump of every one of these users."""
        state, mark = self._choose(users)
        seen = mark != HIDDEN
        ms = np.floor(self._next_s[users] * 1_000.0).astype(np.int64)
        jump, number = self._jump[users], self._number[users]
        item = self._items(users)
        lines = self._shop(users, mark, item)
        rows = Rows(
            users, ms, jump, number, mark, state, item,
            self._cart[users], lines, self._orders[users], self._cents[users],
        )  # fmt: skip
        self._lines[users[mark == ORDERED]] = 0
        self._number[users] += seen
        self._enter(users, state)
        return rows

    def _enter(self, users: I64, state: I16) -> None:
        """A jump has led there: draw when the next one is, from the time of this one."""
        self._next_s[users] -= np.log(self._draw(users, _NEXT_TIME)) * self._jumps.mean_s[state]
        self._state[users] = state
        self._jump[users] += 1

    def _choose(self, users: I64) -> tuple[I16, I8]:
        """State after the jump, and its mark. The first jump is signing up."""
        draw, state = self._draw(users, _CHOICE), self._state[users]
        new = np.flatnonzero(state < 0)
        choice = pick(self._jumps.cumulative[state], draw)
        target, mark = self._jumps.target[state, choice], self._jumps.mark[state, choice]
        target[new] = pick(self._first[self._kind[users[new]]], draw[new])
        mark[new] = IDENTIFY
        return target, mark

    def _items(self, users: I64) -> I16:
        """A product, small numbers likelier than large ones, and how many of it."""
        draw = self._draw(users, _ITEM)
        product = np.floor(PRODUCTS * draw * draw)
        quantity = 1.0 + (draw * 1e6 % 1.0 > 0.75) + (draw * 1e6 % 1.0 > 0.95)
        item: I16 = (product * (MAX_QUANTITY + 1) + quantity).astype(np.int16)
        return item

    def _shop(self, users: I64, mark: I8, item: I16) -> I8:
        """Fill carts and pay; how many lines the cart has in every row that shows it."""
        added = mark == ADDED
        adding = users[added]
        self._cart[adding, self._lines[adding] % MAX_LINES] = item[added]
        self._lines[adding] += 1
        lines = np.minimum(self._lines[users], MAX_LINES).astype(np.int8)
        lines[(mark != CART_VIEWED) & (mark != ORDERED)] = 0
        ordered = np.flatnonzero(mark == ORDERED)
        buying = users[ordered]
        cart = self._cart[buying].astype(np.int64)
        paid = self._prices[cart // (MAX_QUANTITY + 1)] * (cart % (MAX_QUANTITY + 1))
        paid[np.arange(MAX_LINES) >= lines[ordered, None]] = 0
        self._cents[buying] = paid.sum(axis=1)
        self._orders[buying] += 1
        return lines


def _cumulative(shares: F64) -> F64:
    """Cumulative shares that end at exactly 1, so that no draw falls behind the end."""
    sums = np.cumsum(shares, axis=-1)
    sums[..., -1] = 1.0
    # Choices behind the last possible one must not be picked through rounding either.
    sums[sums >= 1.0 - 1e-12] = 1.0
    return sums
