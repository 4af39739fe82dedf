"""Decisions that were so close that a rounding error could have turned them.

Two correct programs add the same numbers in another order and differ in the last bits. Where such a number is then
compared with an edge, everything after it may differ. The reference notes those places; a property test leaves out a
log that has one instead of widening its tolerance for all.
"""

from __future__ import annotations


class Margins:
    """Collects comparisons of `value` with `edge` that are nearer than `closeness` (relative to 1) but not equal.

    Equal ones are not close: they come from whole numbers and halves, which every order of sums gives alike.
    """

    def __init__(self, closeness: float = 1e-7) -> None:
        self.closeness = closeness
        self.close_calls: list[str] = []

    def note(self, what: str, value: float, edge: float) -> None:
        """Remember the comparison if it was close."""
        distance = abs(value - edge)
        if 0.0 < distance < self.closeness * max(1.0, abs(edge)):
            self.close_calls.append(f"{what}: {value!r} against {edge!r}")
