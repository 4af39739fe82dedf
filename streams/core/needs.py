"""What of each record the catalog needs, so that decoding builds nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

from config.base import Scalar
from config.catalog import Between, Catalog, Condition, Equals, NumericTrait, OneOf, TraitFilter, TraitValues, walk
from streams.core.refusal import plain_float


@dataclass(frozen=True, slots=True)
class Needs:
    """`value`: the property with the money. `properties`: per event name, those that `where` and `remember` read.

    `traits`: all that the catalog names; `numeric`: those that must be numbers.
    """

    value: str | None
    properties: Mapping[str, tuple[str, ...]]
    traits: tuple[str, ...]
    numeric: frozenset[str]

    @property
    def all_properties(self) -> tuple[str, ...]:
        """Every property that `where` or `remember` read of any event."""
        return tuple(dict.fromkeys(name for names in self.properties.values() for name in names))


def needs_of(catalog: Catalog) -> Needs:
    """What decoding has to produce for this catalog."""
    properties: dict[str, dict[str, None]] = {}
    for prediction in catalog.predictions.values():
        for atom in prediction.goal.atoms:
            if atom.where:
                properties.setdefault(atom.event, {}).update(dict.fromkeys(atom.where))
    for event, remember in catalog.remember.items():
        properties.setdefault(event, {}).update(dict.fromkeys(remember.properties))
    features = catalog.trait_features
    return Needs(
        value=catalog.value_property,
        properties={event: tuple(names) for event, names in properties.items()},
        traits=catalog.named_traits(),
        numeric=frozenset(name for name, kind in features.items() if isinstance(kind, NumericTrait)),
    )


@dataclass(slots=True)
class TextType:
    """What the text of a CSV cell stands for, from what the catalog compares it with.

    A CSV has no types: `3` may be the number 3 or a text. It becomes a number (or a bool) only if some condition
    compares it with one, and stays text where a condition names exactly that text.
    """

    texts: set[str] = field(default_factory=set)
    is_number: bool = False
    is_bool: bool = False
    number_of: Callable[[str], float] = plain_float

    def learn(self, literals: Iterable[Scalar]) -> None:
        """Take in the values that a condition compares with."""
        for literal in literals:
            if isinstance(literal, str):
                self.texts.add(literal)
            elif isinstance(literal, bool):
                self.is_bool = True
            else:
                self.is_number = True

    def learn_condition(self, condition: Condition) -> None:
        """Take in a condition."""
        if isinstance(condition, Equals):
            self.learn((condition.value,))
        elif isinstance(condition, OneOf):
            self.learn(condition.values)
        elif isinstance(condition, Between):
            self.is_number = True

    def read(self, text: str) -> str | float | bool:
        """The typed value of a cell."""
        if text in self.texts:
            return text
        if self.is_bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if self.is_number:
            try:
                number = self.number_of(text)
            except ValueError:
                return text
            return number if isfinite(number) else text
        return text


def property_types(catalog: Catalog) -> dict[str, TextType]:
    """The type of every property that a `where` names."""
    types: dict[str, TextType] = {}
    for prediction in catalog.predictions.values():
        for atom in prediction.goal.atoms:
            for name, condition in atom.where.items():
                types.setdefault(name, TextType()).learn_condition(condition)
    return types


def trait_types(catalog: Catalog) -> dict[str, TextType]:
    """The type of every trait that the catalog names."""
    types = {name: TextType() for name in catalog.named_traits()}
    for name, kind in catalog.trait_features.items():
        if isinstance(kind, TraitValues):
            types[name].learn(kind.values)
    for node in (node for filter_ in catalog.filters() for node in walk(filter_)):
        if isinstance(node, TraitFilter):
            types[node.trait].learn_condition(node.condition)
    return types
