"""Which goal atoms an event matches: one bit per (prediction, atom), decided when the event is taken in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from config.catalog import Atom, Between, Catalog, Condition, Equals, Exists, OneOf

Test = Callable[[Mapping[str, Any]], bool]


def same_value(found: Any, wanted: str | float | bool) -> bool:
    """Equality by kind: true is not 1, 1 is 1.0, text is text."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(wanted, str):
        return isinstance(found, str) and found == wanted
    return isinstance(found, int | float) and found == wanted


def condition_holds(condition: Condition, found: Any) -> bool:
    """Whether a property's value (None when missing) fulfils a condition."""
    if isinstance(condition, Exists):
        return (found is not None) == condition.exists
    if isinstance(condition, Equals):
        return same_value(found, condition.value)
    if isinstance(condition, OneOf):
        return any(same_value(found, wanted) for wanted in condition.values)
    return _between(condition, found)


def _between(condition: Between, found: Any) -> bool:
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    above = condition.min is None or found >= condition.min
    return above and (condition.max is None or found <= condition.max)


def _test_of(atom: Atom) -> Test:
    conditions = tuple(atom.where.items())

    def test(properties: Mapping[str, Any]) -> bool:
        return all(condition_holds(condition, properties.get(name)) for name, condition in conditions)

    return test


class GoalBits:
    """Per event name, the bits that it always sets and those that depend on its properties."""

    def __init__(self, catalog: Catalog) -> None:
        self._always: dict[str, int] = {}
        self._tests: dict[str, list[tuple[int, Test]]] = {}
        bit = 0
        for prediction in catalog.predictions.values():
            for atom in prediction.goal.atoms:
                if atom.where:
                    self._tests.setdefault(atom.event, []).append((1 << bit, _test_of(atom)))
                else:
                    self._always[atom.event] = self._always.get(atom.event, 0) | 1 << bit
                bit += 1

    def of(self, name: str, properties: Mapping[str, Any] | None) -> int:
        """The bits of an event, as an integer of up to 64 bits."""
        bits = self._always.get(name, 0)
        for bit, test in self._tests.get(name, ()):
            if test(properties or {}):
                bits |= bit
        return bits
