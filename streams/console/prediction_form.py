"""Predictions as forms have them: flat fields of a form, and the definition that they make. Pure.

Rows of the goal are numbered: `goal_0_event`, its conditions `goal_0_where_0_name` and so on. The form gets another row
by sending itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, assert_never

from config.catalog import (
    AllOfAtoms,
    AnyOfAtoms,
    Atom,
    Between,
    Condition,
    Equals,
    Exists,
    OneOf,
    Prediction,
)
from config.conditions import MAX_WHERE
from config.errors import Problem as Wrong
from config.goals import MAX_ATOMS
from config.written import written
from config.yaml_text import dump
from streams.api.definitions_view import invalid
from streams.console.filter_form import data_of
from streams.console.language import Language
from streams.console.numbers import number, shown_number
from streams.console.quoted import read_text, shown_text
from streams.console.spans import Span

OPERATIONS: Final = ("equals", "in", "range", "exists", "missing")
TYPES: Final = ("text", "number", "boolean", "mixed")
"""Of values; of `mixed` each is written as in JSON."""
_BOOLEANS: Final[dict[Language, dict[bool, str]]] = {
    "en": {True: "true", False: "false"},
    "fr": {True: "vrai", False: "faux"},
}
UNITS: Final = ("h", "d")
_WEEK: Final = Span("7", "d")
_NO_LOOKBACK: Final = Span("", "d")


@dataclass(frozen=True, slots=True)
class Where:
    """One condition on a property of the goal's event; all as somebody wrote it."""

    name: str = ""
    operation: str = "equals"
    type: str = "text"
    value: str = ""
    """Of `range` the lower end; of `in` one in each line."""
    upper: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written into it."""
        return not (self.name.strip() or self.value.strip() or self.upper.strip())

    def definition(self, where: str, language: Language) -> Any:
        """As a catalog has it. `where`: its path, for problems. Raises `Problem`."""
        match self.operation:
            case "exists" | "missing":
                return {"exists": self.operation == "exists"}
            case "range":
                ends = {"min": self.value, "max": self.upper}
                return {key: number(where, text, language) for key, text in ends.items() if text.strip()}
            case "in":
                lines = [line for line in self.value.split("\n") if line.strip()]
                return {"in": [_typed(where, line, self.type, language) for line in lines]}
            case _:
                if "\n" in self.value.strip():
                    raise invalid([Wrong(None, where, "several lines", "one value")])
                return {"equals": _typed(where, self.value, self.type, language)}


@dataclass(frozen=True, slots=True)
class Row:
    """One `did` or `did_not`."""

    event: str = ""
    negated: bool = False
    where: tuple[Where, ...] = ()


@dataclass(frozen=True, slots=True)
class PredictionForm:
    """What stands in the form."""

    name: str = ""
    kind: Literal["event", "churn"] = "event"
    rows: tuple[Row, ...] = (Row(),)
    join: Literal["", "any", "all"] = ""
    """Of a goal that is one row alone nothing, where it was not written as a list."""
    window: Span = _WEEK
    audience: str = ""
    """A filter as text; empty for everybody."""
    lookback: Span = _NO_LOOKBACK
    """Without an amount the usual one."""
    scale: str = "percentile"
    medium: str = "50"
    high: str = "75"
    hysteresis: str = "5"
    access: str = "live"
    other: dict[str, Any] = field(default_factory=dict)
    """What the form has no fields for, and leaves as it is."""
    language: Language = "en"
    """In which the numbers are written."""

    @classmethod
    def of(cls, given: Mapping[str, str], language: Language) -> PredictionForm:
        """As it was sent; what is missing is as in a new one. Raises `Problem` for what no form of ours sends."""
        new = cls()

        def text(name: str) -> str:
            return given.get(name, str(getattr(new, name))).strip()

        def one_of(name: str, known: tuple[str, ...]) -> str:
            return given[name] if given.get(name) in known else str(getattr(new, name))

        join = given.get("join")
        return cls(
            name=" ".join(given.get("name", "").split()),
            kind="churn" if given.get("kind") == "churn" else "event",
            rows=tuple(_rows_of(given)) or new.rows,
            join="all" if join == "all" else "any" if join == "any" else "",
            window=Span.of(given, "window", new.window),
            audience=given.get("filter", ""),
            lookback=Span.of(given, "lookback", new.lookback),
            scale=one_of("scale", ("percentile", "probability")),
            medium=text("medium"),
            high=text("high"),
            hysteresis=text("hysteresis"),
            access=one_of("access", ("live", "preview")),
            language=language,
        )

    @classmethod
    def of_prediction(cls, prediction: Prediction, language: Language) -> PredictionForm:
        """Of one that there is."""
        data = written(prediction)
        lookback_s = prediction.given_lookback_s
        join: Literal["", "any", "all"] = ""
        if isinstance(prediction.goal, AnyOfAtoms | AllOfAtoms):
            join = prediction.goal.join
        return cls(
            name=prediction.name,
            kind=prediction.kind,
            rows=tuple(_row_of(atom, language) for atom in prediction.goal.atoms),
            join=join,
            window=Span.of_s(prediction.window_s, language),
            audience="" if "audience" not in data else dump(data["audience"]),
            lookback=_NO_LOOKBACK if lookback_s is None else Span.of_s(lookback_s, language),
            scale=prediction.scale,
            medium=shown_number(prediction.categories.medium, language),
            high=shown_number(prediction.categories.high, language),
            hysteresis=shown_number(prediction.hysteresis, language),
            access=prediction.access,
            language=language,
        ).keeping(prediction)

    def keeping(self, prediction: Prediction) -> PredictionForm:
        """With what the form has no fields for as it is in a prediction that is edited."""
        kept = {key: value for key, value in written(prediction).items() if key in ("model", "memory_examples")}
        return replace(self, other=kept, access=prediction.access)

    def with_more(self, action: str) -> PredictionForm:
        """With another row for `row`, with another condition in row N for `where_N`; the same for anything else."""
        if action == "row" and len(self.rows) < MAX_ATOMS:
            return replace(self, rows=(*self.rows, Row(negated=self.kind == "churn")))
        for n, row in enumerate(self.rows):
            if action == f"where_{n}" and len(row.where) < MAX_WHERE:
                more = replace(row, where=(*row.where, Where()))
                return replace(self, rows=(*self.rows[:n], more, *self.rows[n + 1 :]))
            if action == f"drop_{n}" and len(self.rows) > 1:
                rows = (*self.rows[:n], *self.rows[n + 1 :])
                return replace(self, rows=rows, join=self.join if len(rows) > 1 else "")
        return self

    @property
    def definition(self) -> dict[str, Any]:
        """As a catalog has it, not checked. Raises `Problem` for what cannot even be read."""
        rows = [(n, row) for n, row in enumerate(self.rows) if row.event.strip() or row.where]
        if not rows:
            raise invalid([Wrong(None, "goal", "no event", "the name of an event")])
        atoms = [self._atom(row, f"goal.{self.join or 'any'}[{n}]") for n, row in rows]
        is_alone = len(atoms) == 1 and not self.join
        found: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "goal": atoms[0] if is_alone else {self.join or "any": atoms},
            "window": self.window.written("window", self.language),
            "scale": self.scale,
            "categories": {name: self._number("categories", getattr(self, name)) for name in ("medium", "high")},
            "hysteresis": self._number("hysteresis", self.hysteresis),
            "access": self.access,
            **self.other,
        }
        if self.audience.strip():
            found["audience"] = data_of(self.audience)
        if self.lookback.amount and self.kind == "churn":
            found["lookback"] = self.lookback.written("lookback", self.language)
        return found

    def _number(self, where: str, text: str) -> float:
        return number(where, text, self.language)

    def _atom(self, row: Row, path: str) -> dict[str, Any]:
        if not row.event.strip():
            raise invalid([Wrong(None, path, "no event", "the name of an event")])
        key = "did_not" if row.negated or self.kind == "churn" else "did"
        where: dict[str, Any] = {}
        for each in row.where:
            if each.is_empty:
                continue
            if not each.name.strip():
                raise invalid([Wrong(None, path, "a condition without a property", "the name of a property")])
            name = read_text(each.name)
            if name in where:
                raise invalid([Wrong(None, path, f"the name {name!r}"[:80], "each name once")])
            where[name] = each.definition(path, self.language)
        return {key: read_text(row.event), **({"where": where} if where else {})}


def _rows_of(given: Mapping[str, str]) -> Iterator[Row]:
    for n in range(MAX_ATOMS):
        here = f"goal_{n}"
        if f"{here}_event" in given:
            negated = given.get(f"{here}_negated") == "did_not"
            yield Row(given[f"{here}_event"], negated, tuple(_where_of(given, f"{here}_where")))


def _where_of(given: Mapping[str, str], before: str) -> Iterator[Where]:
    for n in range(MAX_WHERE):
        here = f"{before}_{n}"
        if f"{here}_name" in given:
            operation, type_ = given.get(f"{here}_operation", ""), given.get(f"{here}_type", "")
            yield Where(
                name=given[f"{here}_name"],
                operation=operation if operation in OPERATIONS else OPERATIONS[0],
                type=type_ if type_ in TYPES else TYPES[0],
                value=given.get(f"{here}_value", ""),
                upper=given.get(f"{here}_upper", ""),
            )


def _row_of(atom: Atom, language: Language) -> Row:
    where = tuple(_condition_of(name, each, language) for name, each in atom.where.items())
    return Row(shown_text(atom.event), atom.negated, where)


def _condition_of(given: str, condition: Condition, language: Language) -> Where:
    name = shown_text(given)
    match condition:
        case Equals():
            type_ = _type_of(condition.value)
            return Where(name, "equals", type_, _shown(condition.value, type_, language))
        case OneOf():
            types = {_type_of(value) for value in condition.values}
            type_ = types.pop() if len(types) == 1 else "mixed"
            return Where(name, "in", type_, "\n".join(_shown(value, type_, language) for value in condition.values))
        case Exists():
            return Where(name, "exists" if condition.exists else "missing")
        case Between():
            ends = ("" if end is None else shown_number(end, language) for end in (condition.min, condition.max))
            return Where(name, "range", "number", *ends)
        case _:
            assert_never(condition)


def _type_of(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _shown(value: str | float | bool, type_: str, language: Language) -> str:
    if type_ == "mixed":
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return _BOOLEANS[language][value]
    return shown_text(value) if isinstance(value, str) else shown_number(value, language)


def _typed(where: str, text: str, type_: str, language: Language) -> str | float | bool:
    """A value as its type has it. Raises `Problem`."""
    given = text.strip()
    if not given:
        raise invalid([Wrong(None, where, "nothing", "a value")])
    match type_:
        case "number":
            return number(where, given, language)
        case "boolean":
            said = {each: value for words in _BOOLEANS.values() for value, each in words.items()}
            if given.lower() not in said:
                names = ", ".join(_BOOLEANS[language].values())
                raise invalid([Wrong(None, where, repr(given)[:80], f"one of {names}")])
            return said[given.lower()]
        case "mixed":
            return _of_json(where, given)
        case _:
            return read_text(given)


def _of_json(where: str, given: str) -> str | float | bool:
    try:
        found = json.loads(given)
    except ValueError:
        found = None
    if not isinstance(found, str | bool | int | float):
        raise invalid([Wrong(None, where, repr(given)[:80], "text in quotes, a number, true or false")])
    return found
