"""Names that a shard meets: event names and trait values get their column at first sight, up to a limit."""

from __future__ import annotations

from typing import Any

import numpy as np

from config.catalog import Catalog, EventLimit, NumericTrait, TraitValues
from models.jit import F64, I64, U8
from models.layout import TEXT_BASE, feature_names
from streams.core.filters import encode_trait

OTHER_TEXT = TEXT_BASE + 1e9  # any text beyond the limit of a trait
BUCKET = "*"
_MORE_TEXTS = 256  # that are told apart beyond those that can have columns, to be shown to people


class Vocabulary:
    """Event names to columns, trait texts to codes, and the features that follow from both.

    `named` [names], `trait_column`, `trait_value` [trait features] are the arrays that the compiled code reads; they
    are changed in place as names are found. Without `finds` only those of the catalog have a column: several shards
    would give the same column to different names, and their learner would take them for one.
    """

    def __init__(self, catalog: Catalog, *, finds: bool = True) -> None:
        self._catalog = catalog
        self._finds = finds
        fixed = catalog.named_events()
        limit = catalog.features.events.limit if isinstance(catalog.features.events, EventLimit) else 0
        self._found_limit = max(0, min(limit, catalog.limits.event_names - len(fixed)))
        self._columns = {name: k for k, name in enumerate(fixed)}
        self.names = len(fixed) + self._found_limit + 1
        self.named: U8 = np.zeros(self.names, np.uint8)
        self.named[: len(fixed)] = 1
        self.traits = {name: j for j, name in enumerate(catalog.named_traits())}
        self._codes: dict[str, dict[str, int]] = {name: {} for name in self.traits}
        self._literals = dict.fromkeys(self.traits, 0)
        self._feature_names: list[str] | None = None
        self._found = 0
        self._lay_trait_features()

    def _lay_trait_features(self) -> None:
        columns: list[int] = []
        values: list[float] = []
        self._free: dict[str, list[int]] = {}
        self._labels: list[tuple[str, str | None]] = []
        self._shown: dict[str, set[float]] = {}
        for trait, kind in self._catalog.trait_features.items():
            column = self.traits[trait]
            if isinstance(kind, NumericTrait):
                columns.append(column)
                values.append(np.nan)
                self._labels.append((trait, None))
            elif isinstance(kind, TraitValues):
                for value in kind.values:
                    columns.append(column)
                    values.append(self.literal_code(trait, value))
                    self._labels.append((trait, _text(value)))
            else:
                limit = kind.limit or self._catalog.limits.trait_values
                self._free[trait] = list(range(len(columns), len(columns) + limit))
                self._shown[trait] = set()
                columns += [column] * limit
                values += [np.inf] * limit
                self._labels += [(trait, f"?{n}") for n in range(limit)]
        self.trait_column: I64 = np.array(columns, np.int64)
        self.trait_value: F64 = np.array(values, np.float64)

    def event_column(self, name: str) -> int:
        """The column of an event name; new names take a free one while there is one, then share the last."""
        column = self._columns.get(name)
        if column is not None:
            return column
        if self._finds and len(self._columns) < self.names - 1 and name != BUCKET:
            column = len(self._columns)
            self._columns[name] = column
            self._feature_names = None
            self._found += 1
            return column
        return self.names - 1

    def known_column(self, name: str) -> int:
        """The column of a name of the catalog (KeyError when it has none)."""
        return self._columns[name]

    def literal_code(self, trait: str, value: str | float | bool) -> float:
        """The number that stands for a value which the catalog names: each has its own. Before any event comes."""
        codes = self._codes[trait]
        if isinstance(value, str) and value not in codes:
            codes[value] = len(codes)
            self._literals[trait] = len(codes)
        return encode_trait(value, codes.__getitem__)

    def trait_code(self, trait: str, value: str | float | bool) -> float:
        """The number that stands for a trait's value; all texts beyond the limit share one."""
        codes = self._codes[trait]
        if isinstance(value, str) and value not in codes:
            if len(codes) - self._literals[trait] >= self._catalog.limits.trait_values + _MORE_TEXTS:
                return OTHER_TEXT
            codes[value] = len(codes)
            self._found += 1
        return encode_trait(value, codes.__getitem__)

    def trait_number(self, trait: str, value: str | float | bool) -> float:
        """The same for a value that a user has: a feature with a limit takes a column for it while one is free."""
        number = self.trait_code(trait, value)
        free = self._free.get(trait)
        if self._finds and free and number not in self._shown[trait]:
            at = free.pop(0)
            self._shown[trait].add(number)
            self.trait_value[at] = number
            self._labels[at] = (trait, _text(value))
            self._feature_names = None
            self._found += 1
        return number

    def trait_text(self, trait: str, number: float) -> str | float | bool | None:
        """A trait's value from its number, for people; None when it is not set."""
        if np.isnan(number):
            return None
        if number < TEXT_BASE:
            return number
        if number < TEXT_BASE + 2:
            return number == TEXT_BASE + 1
        code = int(number - TEXT_BASE - 2)
        return next((text for text, c in self._codes[trait].items() if c == code), "(other)")

    def columns(self) -> list[str | None]:
        """Names of the event columns, the shared one last; None for one without a name yet."""
        by_column = {k: name for name, k in self._columns.items()}
        return [by_column.get(k) for k in range(self.names - 1)] + [BUCKET]

    def event_names(self) -> list[str]:
        """The same for people; one without a name yet is called ?n."""
        return [f"?{k}" if name is None else name for k, name in enumerate(self.columns())]

    def adopt(self, other: Vocabulary) -> None:
        """Find what `other`, of another catalog, has found, as far as there is room for it here."""
        for name in other._columns:
            self.event_column(name)
        theirs, ours = other.columns(), {name: k for k, name in enumerate(self.columns())}
        for k, found in enumerate(theirs):
            if found is not None and found in ours:
                self.named[ours[found]] |= other.named[k]
        for trait in self.traits.keys() & other.traits.keys():
            shown = other._shown.get(trait, set())
            for text in other._codes[trait]:
                self.trait_code(trait, text)
                if other.trait_code(trait, text) in shown:
                    self.trait_number(trait, text)
            for number in sorted(shown):
                if number < TEXT_BASE + 2:
                    self.trait_number(trait, number if number < TEXT_BASE else number > TEXT_BASE)

    def recoded(self, trait: str, numbers: F64, other: Vocabulary) -> F64:
        """`numbers` of a trait as `other` writes them, as this vocabulary does."""
        texts = sorted(other._codes[trait].items(), key=lambda item: item[1])
        codes = np.array([self.trait_code(trait, text) for text, _ in texts], np.float64)
        is_text = (numbers >= TEXT_BASE + 2) & (numbers < OTHER_TEXT)
        result = numbers.copy()
        result[is_text] = codes[(numbers[is_text] - TEXT_BASE - 2).astype(np.int64)]
        return result

    def feature_names(self) -> list[str]:
        """Names of the features in column order; the same list until a name is found."""
        if self._feature_names is None:
            halves = list(self._catalog.features.half_lives_days)
            has_value = self._catalog.value_property is not None
            self._feature_names = feature_names(self.event_names(), halves, has_value, self._labels)
        return self._feature_names

    @property
    def revision(self) -> tuple[int, int]:
        """Differs when `save` would give something else."""
        return self._found, int(self.named.sum())

    def save(self) -> dict[str, Any]:
        """What was found, as plain data."""
        return {
            "columns": self._columns,
            "named": self.named.tolist(),
            "codes": self._codes,
            "values": self.trait_value.tolist(),
            "labels": self._labels,
            "free": self._free,
            "shown": {k: sorted(v) for k, v in self._shown.items()},
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take back what `save` gave."""
        self._feature_names = None
        self._columns = dict(saved["columns"])
        self.named[:] = saved["named"]
        self._codes = {k: dict(v) for k, v in saved["codes"].items()}
        self.trait_value[:] = saved["values"]
        self._labels = [(name, value) for name, value in saved["labels"]]
        self._free = {k: list(v) for k, v in saved["free"].items()}
        self._shown = {k: set(v) for k, v in saved["shown"].items()}


def _text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value:g}"
