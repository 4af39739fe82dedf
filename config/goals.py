"""Goals: what a prediction asks about the events inside its window."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from config.base import EventName, Model, Name, Tup, branch
from config.conditions import MAX_WHERE, Condition

MAX_ATOMS: Final = 64
"""Of one goal."""


class Did(Model):
    """At least one event of this name in the window, with every condition of ``where`` true for the same event."""

    negated: ClassVar[bool] = False
    join: ClassVar[Literal["any", "all"]] = "all"

    event: EventName = Field(alias="did")
    """Name of the event."""
    where: dict[Name, Condition] = Field(default_factory=dict, max_length=MAX_WHERE)
    """Conditions on properties of the event; all must hold for the same event. A bare value means equals."""

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """The goal as a list of atoms: itself."""
        return (self,)


class DidNot(Model):
    """No event of this name in the window that fulfils ``where``."""

    negated: ClassVar[bool] = True
    join: ClassVar[Literal["any", "all"]] = "all"

    event: EventName = Field(alias="did_not")
    """Name of the event."""
    where: dict[Name, Condition] = Field(default_factory=dict, max_length=MAX_WHERE)
    """Conditions on properties of the event; all must hold for the same event. A bare value means equals."""

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """The goal as a list of atoms: itself."""
        return (self,)


def _atom_kind(value: Any) -> str | None:
    return branch(value, {"did": "~did", "did_not": "~did_not"}, {"~did": Did, "~did_not": DidNot})


def _goal_kind(value: Any) -> str | None:
    keys = {"any": "~any", "all": "~all", "did": "~did", "did_not": "~did_not"}
    return branch(value, keys, {"~did": Did, "~did_not": DidNot, "~any": AnyOfAtoms, "~all": AllOfAtoms})


Atom: TypeAlias = Annotated[
    Annotated[Did, Tag("~did")] | Annotated[DidNot, Tag("~did_not")],
    Discriminator(
        _atom_kind, custom_error_type="expected", custom_error_message="{did: EVENT NAME} or {did_not: EVENT NAME}"
    ),
]


class AnyOfAtoms(Model):
    """At least one atom is true."""

    join: ClassVar[Literal["any", "all"]] = "any"
    atoms: Tup[Atom] = Field(alias="any", min_length=1, max_length=MAX_ATOMS)
    """List of did and did_not, 1 to 64."""


class AllOfAtoms(Model):
    """Every atom is true."""

    join: ClassVar[Literal["any", "all"]] = "all"
    atoms: Tup[Atom] = Field(alias="all", min_length=1, max_length=MAX_ATOMS)
    """List of did and did_not, 1 to 64."""


# Every kind of goal has `.atoms` and `.join`, so no reader needs to tell them apart.
Goal: TypeAlias = Annotated[
    Annotated[Did, Tag("~did")]
    | Annotated[DidNot, Tag("~did_not")]
    | Annotated[AnyOfAtoms, Tag("~any")]
    | Annotated[AllOfAtoms, Tag("~all")],
    Discriminator(
        _goal_kind,
        custom_error_type="expected",
        custom_error_message="{did: EVENT NAME}, {did_not: EVENT NAME}, {any: [...]} or {all: [...]}",
    ),
]
