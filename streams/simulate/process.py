"""A hidden Markov process in continuous time whose jumps may leave a visible mark, and what can be known about it.

A marked Markovian arrival process: `hidden[i, j]` is the rate at which state i jumps to j without anybody seeing it,
`marked[k, i, j]` that with which it does so while leaving a visible event of kind k (j may be i). Rates are per second.
With D0 = hidden - diag(all rates out of i), which is the generator of what happens between two visible events:

    P(no goal within w | state i)        = row i of exp((D0 + sum of marked[k], k not the goal) w) 1
    belief after dt without an event     ~ belief exp(D0 dt)
    belief after an event of kind k      ~ belief marked[k]

docs/simulate.md derives them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm

from streams.simulate.draws import F64, I64

HIDDEN: Final = -1
"""The mark of a jump that nobody sees."""
_MS: Final = 0.001
_BASE: Final = 64
_DIGITS: Final = 7
"""A span between two events in ms has so many digits to that base at most: 139 years."""
_AT_ONCE: Final = 1_024
"""Beliefs that are moved together; each takes a matrix of its own along."""


@dataclass(frozen=True, slots=True)
class Process:
    """`S` hidden states, `K` kinds of events. Raises ValueError for shapes that do not fit or negative rates."""

    hidden: F64
    """[S, S] rates per second of jumps that nobody sees; the diagonal is 0."""
    marked: F64
    """[K, S, S] rates per second of jumps that leave an event of kind k."""

    def __post_init__(self) -> None:
        states = len(self.hidden)
        if self.hidden.shape != (states, states) or self.marked.shape[1:] != (states, states):
            raise ValueError(f"hidden must be [S, S] and marked [K, S, S], not {self.hidden.shape, self.marked.shape}")
        if (self.hidden < 0).any() or (self.marked < 0).any() or np.diagonal(self.hidden).any():
            raise ValueError("rates must not be negative, and a hidden jump must lead elsewhere")

    @property
    def out(self) -> F64:
        """[S] rate at which anything happens."""
        rates: F64 = self.hidden.sum(axis=1) + self.marked.sum(axis=(0, 2))
        return rates

    @property
    def silent(self) -> F64:
        """[S, S] D0: the generator of what happens while nothing is seen."""
        generator: F64 = self.hidden - np.diag(self.out)
        return generator

    def goal_likelihood(self, goal: int, window_s: float) -> F64:
        """[S] probability of at least one event of kind `goal` within the window, in every state."""
        others = self.silent + self.marked.sum(axis=0) - self.marked[goal]
        never: F64 = expm(others * window_s).sum(axis=1)
        likelihood: F64 = np.clip(1.0 - never, 0.0, 1.0)
        return likelihood

    def long_run(self, start: F64) -> F64:
        """[S] shares of states after a very long time, from the shares `start` (which decides between closed parts)."""
        century_s = 100 * 365.25 * 86_400.0
        shares: F64 = start @ expm((self.silent + self.marked.sum(axis=0)) * century_s)
        shares /= shares.sum()
        return shares

    def event_rate(self, shares: F64) -> float:
        """Visible events per second of a population with these shares of states."""
        return float(shares @ self.marked.sum(axis=(0, 2)))


@dataclass(frozen=True, slots=True)
class Jumps:
    """What can happen next in every state, for drawing: `J` is the largest number of choices of a state."""

    cumulative: F64
    """[S, J] cumulative shares of the choices, 1 behind the last."""
    target: npt.NDArray[np.int16]
    """[S, J] state after the jump."""
    mark: npt.NDArray[np.int8]
    """[S, J] kind of the visible event, or HIDDEN."""
    mean_s: F64
    """[S] mean time until anything happens."""

    @classmethod
    def of(cls, process: Process) -> Jumps:
        """The jumps of a process. Raises ValueError for a state that is never left and shows nothing."""
        rates = np.concatenate([process.hidden[None], process.marked])
        choices = [np.argwhere(rates[:, state, :] > 0) for state in range(rates.shape[1])]
        most = max(len(found) for found in choices)
        shape = (len(choices), most)
        cumulative = np.ones(shape)
        target, mark = np.zeros(shape, np.int16), np.full(shape, HIDDEN, np.int8)
        for state, found in enumerate(choices):
            if not len(found):
                raise ValueError(f"state {state} is never left")
            share = np.cumsum(rates[found[:, 0], state, found[:, 1]])
            cumulative[state, : len(found) - 1] = share[:-1] / share[-1]
            target[state, : len(found)] = found[:, 1]
            mark[state, : len(found)] = found[:, 0] - 1
        return cls(cumulative, target, mark, 1.0 / process.out)


class Observer:
    """The best that can be known of hidden states from a user's own events: the forward filter.

    Beliefs are [n, S], one distribution over the states for each of n users.
    """

    def __init__(self, process: Process, goal: int, window_s: float) -> None:
        self._marked = process.marked
        self.by_state = process.goal_likelihood(goal, window_s)
        """[S] the true likelihood in every state."""
        # exp(D0 dt) of any whole number of ms is a product of one matrix per digit, none with a negative entry: nothing
        # cancels, and rates of seconds beside rates of months do no harm.
        self._powers = [_powers(expm(process.silent * (_MS * _BASE**digit))) for digit in range(_DIGITS)]

    def after_silence(self, belief: F64, silent_ms: I64) -> F64:
        """Beliefs after so many ms (0 to 2^42 - 1) without an event."""
        parts = [
            self._after_silence(belief[at : at + _AT_ONCE], silent_ms[at : at + _AT_ONCE])
            for at in range(0, len(belief), _AT_ONCE)
        ]
        return np.concatenate(parts) if parts else belief

    def _after_silence(self, belief: F64, silent_ms: I64) -> F64:
        rest = silent_ms
        for powers in self._powers:
            if not rest.any():
                break
            rest, digit = np.divmod(rest, _BASE)
            belief = (belief[:, None, :] @ powers[digit])[:, 0, :]
        return _normalised(belief)

    def after_event(self, belief: F64, mark: npt.NDArray[np.int8]) -> F64:
        """Beliefs right after an event of these kinds."""
        belief = belief.copy()
        for kind in np.unique(mark):
            rows = np.flatnonzero(mark == kind)
            belief[rows] = _normalised(belief[rows] @ self._marked[kind])
        return belief

    def likelihood(self, belief: F64) -> F64:
        """[n] the probability of the goal within the window: no score made from the user's own events is better."""
        found: F64 = belief @ self.by_state
        return found


def _powers(matrix: F64) -> F64:
    """[_BASE, S, S] the powers 0, 1, 2, ... of a matrix."""
    found = [np.eye(len(matrix))]
    while len(found) < _BASE:
        found.append(found[-1] @ matrix)
    return np.stack(found)


def _normalised(belief: F64) -> F64:
    """Rows that add up to 1; a row of zeros, which is no belief yet, stays."""
    total = belief.sum(axis=1, keepdims=True)
    shares: F64 = np.divide(belief, total, out=np.zeros_like(belief), where=total > 0)
    return shares
