"""Predictions as forms have them: flat fields of a form, and the definition that they make. Pure.

Rows of the goal are numbered: `goal_0_event`, its conditions `goal_0_where_0_name` and so on. The form gets another row
by sending itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, assert_never

from config.catalog import (
    AnyOfAtoms,
    Atom,
    Between,
    Condition,
    Equals,
    Exists,
    OneOf,
    Prediction,
)
from config.durations import HOUR_S, format_duration
from config.errors import Problem as Wrong
from config.written import written
from config.yaml_text import dump
from streams.api.definitions_view import invalid
from streams.console.filter_form import data_of

OPERATIONS: Final = ("equals", "in", "range", "exists", "missing")
TYPES: Final = ("text", "number", "boolean")
UNITS: Final = ("h", "d")
_MOST_ROWS: Final = 8
"""Of a goal, and conditions of one of them, that the form has room for."""
_UNIT_S: Final = {"h": HOUR_S, "d": 24 * HOUR_S}


@dataclass(frozen=True, slots=True)
class Where:
    """One condition on a property of the goal's event; all as somebody wrote it."""

    name: str = ""
    operation: str = "equals"
    type: str = "text"
    value: str = ""
    """Of `range` the lower end; of `in` several with commas between them."""
    upper: str = ""

    @property
    def definition(self) -> Any:
        """As a catalog has it. Raises `Problem`."""
        match self.operation:
            case "exists" | "missing":
                return {"exists": self.operation == "exists"}
            case "range":
                ends = {"min": self.value, "max": self.upper}
                return {key: _number(text) for key, text in ends.items() if text.strip()}
            case "in":
                return {"in": [_typed(text, self.type) for text in self.value.split(",")]}
            case _:
                return {"equals": _typed(self.value, self.type)}


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
    join: Literal["any", "all"] = "any"
    window: str = "7"
    window_unit: str = "d"
    audience: str = ""
    """A filter as text; empty for everybody."""
    lookback: str = ""
    lookback_unit: str = "d"
    scale: str = "percentile"
    medium: str = "50"
    high: str = "75"
    hysteresis: str = "5"
    access: str = "live"
    other: dict[str, Any] = field(default_factory=dict)
    """What the form has no fields for, and leaves as it is."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> PredictionForm:
        """As it was sent; what is missing is as in a new one."""
        new = cls()

        def text(name: str) -> str:
            return given.get(name, str(getattr(new, name))).strip().replace(",", ".")

        def one_of(name: str, known: tuple[str, ...]) -> str:
            return given[name] if given.get(name) in known else str(getattr(new, name))

        return cls(
            name=" ".join(given.get("name", "").split()),
            kind="churn" if given.get("kind") == "churn" else "event",
            rows=tuple(_rows_of(given)) or new.rows,
            join="all" if given.get("join") == "all" else "any",
            window=text("window"),
            window_unit=one_of("window_unit", UNITS),
            audience=given.get("filter", ""),
            lookback=text("lookback"),
            lookback_unit=one_of("lookback_unit", UNITS),
            scale=one_of("scale", ("percentile", "probability")),
            medium=text("medium"),
            high=text("high"),
            hysteresis=text("hysteresis"),
            access=one_of("access", ("live", "preview")),
        )

    @classmethod
    def of_prediction(cls, prediction: Prediction) -> PredictionForm:
        """Of one that there is."""
        data = written(prediction)
        window, window_unit = _in_units(prediction.window_s)
        lookback, lookback_unit = ("", "d")
        if prediction.given_lookback_s is not None:
            lookback, lookback_unit = _in_units(prediction.given_lookback_s)
        return cls(
            name=prediction.name,
            kind=prediction.kind,
            rows=tuple(_row_of(atom) for atom in prediction.goal.atoms),
            join="any" if isinstance(prediction.goal, AnyOfAtoms) else "all",
            window=window,
            window_unit=window_unit,
            audience="" if "audience" not in data else dump(data["audience"]),
            lookback=lookback,
            lookback_unit=lookback_unit,
            scale=prediction.scale,
            medium=f"{prediction.categories.medium:g}",
            high=f"{prediction.categories.high:g}",
            hysteresis=f"{prediction.hysteresis:g}",
            access=prediction.access,
        ).keeping(prediction)

    def keeping(self, prediction: Prediction) -> PredictionForm:
        """With what the form has no fields for as it is in a prediction that is edited."""
        kept = {key: value for key, value in written(prediction).items() if key in ("model", "memory_examples")}
        return replace(self, other=kept, access=prediction.access)

    def with_more(self, action: str) -> PredictionForm:
        """With another row for `row`, with another condition in row N for `where_N`; the same for anything else."""
        if action == "row" and len(self.rows) < _MOST_ROWS:
            return replace(self, rows=(*self.rows, Row(negated=self.kind == "churn")))
        for number, row in enumerate(self.rows):
            if action == f"where_{number}" and len(row.where) < _MOST_ROWS:
                more = replace(row, where=(*row.where, Where()))
                return replace(self, rows=(*self.rows[:number], more, *self.rows[number + 1 :]))
            if action == f"drop_{number}" and len(self.rows) > 1:
                return replace(self, rows=(*self.rows[:number], *self.rows[number + 1 :]))
        return self

    @property
    def definition(self) -> dict[str, Any]:
        """As a catalog has it, not checked. Raises `Problem` for what cannot even be read."""
        atoms = [self._atom(row) for row in self.rows if row.event.strip()]
        if not atoms:
            raise invalid([Wrong(None, "goal", "no event", "the name of an event")])
        found: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "goal": atoms[0] if len(atoms) == 1 else {self.join: atoms},
            "window": f"{self.window}{self.window_unit}",
            "scale": self.scale,
            "categories": {"medium": _number(self.medium, "categories"), "high": _number(self.high, "categories")},
            "hysteresis": _number(self.hysteresis, "hysteresis"),
            "access": self.access,
            **self.other,
        }
        if self.audience.strip():
            found["audience"] = data_of(self.audience)
        if self.lookback and self.kind == "churn":
            found["lookback"] = f"{self.lookback}{self.lookback_unit}"
        return found

    def _atom(self, row: Row) -> dict[str, Any]:
        key = "did_not" if row.negated or self.kind == "churn" else "did"
        where = {each.name.strip(): each.definition for each in row.where if each.name.strip()}
        return {key: row.event.strip(), **({"where": where} if where else {})}


def _rows_of(given: Mapping[str, str]) -> Iterator[Row]:
    for number in range(_MOST_ROWS):
        here = f"goal_{number}"
        if f"{here}_event" in given:
            negated = given.get(f"{here}_negated") == "did_not"
            yield Row(given[f"{here}_event"], negated, tuple(_where_of(given, f"{here}_where")))


def _where_of(given: Mapping[str, str], before: str) -> Iterator[Where]:
    for number in range(_MOST_ROWS):
        here = f"{before}_{number}"
        if f"{here}_name" in given:
            operation, type_ = given.get(f"{here}_operation", ""), given.get(f"{here}_type", "")
            yield Where(
                name=given[f"{here}_name"],
                operation=operation if operation in OPERATIONS else OPERATIONS[0],
                type=type_ if type_ in TYPES else TYPES[0],
                value=given.get(f"{here}_value", ""),
                upper=given.get(f"{here}_upper", ""),
            )


def _row_of(atom: Atom) -> Row:
    return Row(atom.event, atom.negated, tuple(_condition_of(name, each) for name, each in atom.where.items()))


def _condition_of(name: str, condition: Condition) -> Where:
    match condition:
        case Equals():
            return Where(name, "equals", _type_of(condition.value), _text(condition.value))
        case OneOf():
            values = condition.values
            return Where(name, "in", _type_of(values[0]), ", ".join(_text(value) for value in values))
        case Exists():
            return Where(name, "exists" if condition.exists else "missing")
        case Between():
            ends = ("" if end is None else f"{end:g}" for end in (condition.min, condition.max))
            return Where(name, "range", "number", *ends)
        case _:
            assert_never(condition)


def _type_of(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(text: str, type_: str) -> str | float | bool:
    """A value as its type has it. Raises `Problem`."""
    given = text.strip()
    if type_ == "boolean":
        if given.lower() not in ("true", "false"):
            raise invalid([Wrong(None, "goal.where", repr(given)[:80], "true or false")])
        return given.lower() == "true"
    return given if type_ == "text" else _number(given)


def _number(text: str, where: str = "goal.where") -> float:
    """Raises `Problem` for what is none."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError as error:
        raise invalid([Wrong(None, where, repr(text)[:80], "a number")]) from error
    return int(value) if value.is_integer() else value


def _in_units(seconds: float) -> tuple[str, str]:
    text = format_duration(seconds)
    if text[-1] in UNITS:
        return text[:-1], text[-1]
    return f"{seconds / _UNIT_S['h']:g}", "h"
