"""Conditions on one value and whether an event matches an atom of a goal, over the dictionaries of the catalog."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from streams.core.events import Event


def plain(definition: BaseModel | dict[str, Any]) -> dict[str, Any]:
    """A goal or filter of the catalog as the dictionary that was written; dictionaries as they are."""
    if isinstance(definition, BaseModel):
        return definition.model_dump(by_alias=True, exclude_none=True)
    return definition


def same(found: Any, wanted: Any) -> bool:
    """Whether two scalars are equal: numbers as numbers (1 is 1.0), but true is not 1 and text is never a number."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return isinstance(found, bool) and isinstance(wanted, bool) and found == wanted
    if isinstance(found, str) or isinstance(wanted, str):
        return isinstance(found, str) and isinstance(wanted, str) and found == wanted
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return found == wanted
    return False


def holds(condition: dict[str, Any], found: Any) -> bool:
    """Whether a value fulfils `{equals}`, `{in}`, `{min, max}` (ends included) or `{exists}`; None is "not there"."""
    if "exists" in condition:
        return bool(condition["exists"]) == (found is not None)
    if found is None:
        return False
    if "equals" in condition:
        return same(found, condition["equals"])
    if "in" in condition:
        return any(same(found, wanted) for wanted in condition["in"])
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    low, high = condition.get("min"), condition.get("max")
    return (low is None or found >= low) and (high is None or found <= high)


def atom_event(atom: dict[str, Any]) -> str:
    """The event name that a `did` or `did_not` atom is about."""
    return str(atom["did"] if "did" in atom else atom["did_not"])


def matches(atom: dict[str, Any], event: Event) -> bool:
    """Whether the event is one that the atom is about: its name, and every condition of `where`."""
    if event.name is None or event.name != atom_event(atom):
        return False
    properties = event.properties or {}
    return all(holds(condition, properties.get(name)) for name, condition in atom.get("where", {}).items())


def goal_atoms(goal: dict[str, Any]) -> list[dict[str, Any]]:
    """All atoms of a goal, in order."""
    if "any" in goal:
        return list(goal["any"])
    if "all" in goal:
        return list(goal["all"])
    return [goal]


def goal_reached(goal: dict[str, Any], events: list[Event]) -> bool:
    """The label: `events` are those of the user inside the window, and nothing else."""
    truths = []
    for atom in goal_atoms(goal):
        happened = any(matches(atom, event) for event in events)
        truths.append(happened if "did" in atom else not happened)
    return any(truths) if "any" in goal else all(truths)
