"""NDJSON and CSV by the mapping of the catalog: every record is one track event."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from math import nan
from operator import attrgetter
from typing import Any, Final

import msgspec

from config.catalog import Catalog, ConstantEvent, CsvInput, NdjsonInput
from config.errors import InputError
from config.inputs import MappedInput
from streams.core.event_time import LATER_THAN_NOW, LATEST_S, time_reader
from streams.core.events import BadEvent, DeadReason, Event, Scalar, bad_event
from streams.core.fields import NumberOf, admit, admit_json, event_name, message_id, money, trait, user_id
from streams.core.message_hash import id_hash
from streams.core.needs import TextType, needs_of, property_types, trait_types
from streams.core.refusal import Refused, comma_float, plain_float, unreadable_json

Values = Sequence[Any]
"""The mapped fields of one record, in the order of `_Mapping.fields`; None where there is none."""

_NEXT_ROW: Final = ""
"""A second row for the csv reader: it asks for it only if a quote of the first was not closed."""


class _Mapping:
    """The catalog's mapping with field names replaced by places, and the way from values to an event.

    `typed`: values come as text and take their types from the catalog's conditions (CSV).
    """

    def __init__(self, catalog: Catalog, mapped: MappedInput, latest_s: float, *, typed: bool) -> None:
        needs = needs_of(catalog)
        sources: dict[str, int] = {}

        def place(field: str) -> int:
            return sources.setdefault(field, len(sources))

        self._user = place(mapped.user)
        self._time = place(mapped.time.field)
        self._constant = mapped.event.constant if isinstance(mapped.event, ConstantEvent) else None
        self._event = -1 if isinstance(mapped.event, ConstantEvent) else place(mapped.event)
        self._message_id = None if mapped.message_id is None else place(mapped.message_id)
        properties = {name: place(field) for name, field in mapped.properties.items()}
        if mapped.value is not None and needs.value is not None:
            properties[needs.value] = place(mapped.value)
        self._value = properties.get(needs.value) if needs.value is not None else None
        with_comma = isinstance(mapped, CsvInput) and mapped.decimal == ","
        self._number_of = comma_float if with_comma else plain_float
        readers = _readers(property_types(catalog), self._number_of) if typed else {}
        self._properties = {
            event: tuple((name, properties[name], readers.get(name, _as_it_is)) for name in names if name in properties)
            for event, names in needs.properties.items()
        }
        readers = _readers(trait_types(catalog), self._number_of) if typed else {}
        self._traits = tuple(
            (name, place(field), readers.get(name, _as_it_is), name in needs.numeric)
            for name, field in mapped.traits.items()
            if name in needs.traits
        )
        self.fields = tuple(sources)
        self.read_time = time_reader(mapped.time, self._number_of)
        self._latest_s = latest_s

    def event(self, values: Values, position: int, log_time_s: float | None, place_hash: int) -> Event:
        """The event of a record. Raises `Refused`."""
        user = user_id(values[self._user])
        name = self._constant
        if name is None:
            name = event_name(values[self._event])
        time_s = self.read_time(values[self._time])
        if time_s > self._latest_s:
            raise Refused(DeadReason.TIME_IN_FUTURE, LATER_THAN_NOW)
        value = nan if self._value is None else money(values[self._value], self._number_of)
        message = None if self._message_id is None else message_id(values[self._message_id])
        hashed = place_hash if message is None else id_hash(message)
        properties: dict[str, Any] | None = None
        if name in self._properties:
            wanted = self._properties[name]
            properties = {key: read(x) for key, at, read in wanted if (x := values[at]) is not None} or None
        traits = self._read_traits(values) if self._traits else None
        if log_time_s is None:
            log_time_s = time_s
        return Event(user, name, time_s, value, hashed, traits, properties, position, log_time_s, message)

    def _read_traits(self, values: Values) -> dict[str, Scalar] | None:
        traits: dict[str, Scalar] = {}
        for name, at, read, numeric in self._traits:
            found = values[at]
            if found is not None:
                traits[name] = trait(name, read(found), numeric, self._number_of)
        return traits or None


def _as_it_is(value: object) -> object:
    return value


def _readers(types: dict[str, TextType], number_of: NumberOf) -> dict[str, Callable[[str], Any]]:
    for found in types.values():
        found.number_of = number_of
    return {name: found.read for name, found in types.items()}


class NdjsonDecoder:
    """Any JSON object a record; fields are named by dotted paths (`context.user.id`)."""

    def __init__(self, catalog: Catalog, mapped: NdjsonInput, latest_s: float = LATEST_S) -> None:
        self._limit_bytes = catalog.limits.property_bytes
        self._mapping = _Mapping(catalog, mapped, latest_s, typed=False)
        self._read = _path_reader(self._mapping.fields)
        self._read_time = _path_reader((mapped.time.field,))

    def decode(self, raw: bytes, position: int, log_time_s: float | None, place_hash: int) -> Event | BadEvent:
        """See `streams.core.decode.Decoder.decode`."""
        try:
            admit_json(raw, self._limit_bytes)
            return self._mapping.event(self._read(raw), position, log_time_s, place_hash)
        except Refused as refused:
            detail = refused.detail + _keys_found(raw, refused.reason)
            return bad_event(refused.reason, detail, position, raw)

    def read_time(self, raw: bytes) -> float:
        """See `streams.core.decode.Decoder.read_time`."""
        try:
            admit_json(raw, self._limit_bytes)
            return self._mapping.read_time(self._read_time(raw)[0])
        except Refused:
            return nan


def _keys_found(raw: bytes, reason: DeadReason) -> str:
    """The keys of a record that lacks a field: most often the mapping is wrong, not the record."""
    if reason not in (DeadReason.MISSING_USER, DeadReason.MISSING_EVENT, DeadReason.MISSING_TIME):
        return ""
    try:
        keys = list(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]))
    except msgspec.DecodeError:  # only the mapped fields were parsed so far; another key may be broken
        return ""
    return "; the keys of the record are " + _listed(keys)


def _path_reader(paths: Sequence[str]) -> Callable[[bytes], Values]:
    """A function from a record to the values at dotted paths (None: not there, or null); raises `Refused`."""
    keys = [path.split(".") for path in paths]
    tree: dict[str, Any] = {}
    for path in keys:
        node = tree
        for key in path:
            node = node.setdefault(key, {})
    if any(_at(tree, path) for path in keys):
        return _walking_reader(keys)  # one path goes on behind another (a and a.b): no fixed type fits
    walk = _walking_reader(keys)
    decode = msgspec.json.Decoder(_record_type(tree)).decode
    pick = attrgetter(*(".".join(_attributes(tree, path)) for path in keys))
    single = len(keys) == 1

    def read(raw: bytes) -> Values:
        try:
            found = pick(decode(raw))
        except msgspec.ValidationError:
            return walk(raw)  # something that is no object on the way to a field: the field is not there
        except msgspec.DecodeError as error:
            raise unreadable_json(raw, error) from error
        return (found,) if single else found

    return read


def _at(tree: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    for key in path:
        tree = tree[key]
    return tree


def _attributes(tree: dict[str, Any], path: Sequence[str]) -> list[str]:
    """The attribute names along a path in the type that `_record_type` makes of the tree."""
    names = []
    for key in path:
        names.append(f"f{list(tree).index(key)}")
        tree = tree[key]
    return names


def _record_type(tree: dict[str, Any]) -> type[msgspec.Struct]:
    """A struct with one field per key of the tree (nested structs for inner nodes), all others are skipped."""
    fields: list[tuple[str, Any, Any]] = []
    for at, inner in enumerate(tree.values()):
        if inner:
            kind = _record_type(inner)
            fields.append((f"f{at}", kind, msgspec.field(default_factory=kind)))
        else:
            fields.append((f"f{at}", Any, None))
    rename = {f"f{at}": key for at, key in enumerate(tree)}
    return msgspec.defstruct("Record", fields, rename=rename, gc=False)


def _walking_reader(keys: Sequence[Sequence[str]]) -> Callable[[bytes], Values]:
    def read(raw: bytes) -> Values:
        try:
            record = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise unreadable_json(raw, error) from error
        return [_walk(record, path) for path in keys]

    return read


def _walk(node: Any, path: Sequence[str]) -> Any:
    for key in path:
        if type(node) is not dict:
            return None
        node = node.get(key)
    return node


class CsvDecoder:
    """Rows of a CSV with a header. Cells are trimmed; an empty cell is a missing value.

    Raises InputError if the header lacks a column of the mapping, or has it twice.
    """

    def __init__(
        self,
        catalog: Catalog,
        mapped: CsvInput,
        header: Sequence[str],
        latest_s: float = LATEST_S,
        source: str = "CSV header",
    ) -> None:
        self._limit_bytes = catalog.limits.property_bytes
        self._delimiter = mapped.delimiter
        self._mapping = _Mapping(catalog, mapped, latest_s, typed=True)
        self._columns = len(header)
        self._places = column_places(header, self._mapping.fields, mapped.delimiter, source)
        self._time_place = self._places[self._mapping.fields.index(mapped.time.field)]

    def decode(self, raw: bytes, position: int, log_time_s: float | None, place_hash: int) -> Event | BadEvent:
        """See `streams.core.decode.Decoder.decode`. `raw` is one record; line ends inside quotes belong to it."""
        try:
            admit(raw, self._limit_bytes)
            cells = split_row(raw.decode(), self._delimiter)
            return self._event(cells, position, log_time_s, place_hash)
        except Refused as refused:
            return bad_event(refused.reason, refused.detail, position, raw)

    def decode_row(
        self, cells: Sequence[str], raw: bytes, position: int, log_time_s: float | None, place_hash: int
    ) -> Event | BadEvent:
        """The same for a row that is split already; `raw` is only for the dead letter."""
        try:
            return self._event(cells, position, log_time_s, place_hash)
        except Refused as refused:
            return bad_event(refused.reason, refused.detail, position, raw)

    def read_time(self, raw: bytes) -> float:
        """See `streams.core.decode.Decoder.read_time`."""
        try:
            admit(raw, self._limit_bytes)
            cells = split_row(raw.decode(), self._delimiter)
            self._check_width(cells)
            return self._mapping.read_time(cells[self._time_place].strip() or None)
        except Refused:
            return nan

    def _event(self, cells: Sequence[str], position: int, log_time_s: float | None, place_hash: int) -> Event:
        self._check_width(cells)
        values = [cells[at].strip() or None for at in self._places]
        return self._mapping.event(values, position, log_time_s, place_hash)

    def _check_width(self, cells: Sequence[str]) -> None:
        found, expected = len(cells), self._columns
        if found == expected:
            return
        if found < expected:
            raise Refused(DeadReason.TOO_FEW_COLUMNS, f"the row has {found} columns; the header has {expected}")
        if any(cell and not cell.isspace() for cell in cells[expected:]):
            raise Refused(DeadReason.TOO_MANY_COLUMNS, f"the row has {found} columns; the header has {expected}")


def split_row(text: str, delimiter: str) -> list[str]:
    """The cells of one CSV record, as the csv module reads it. Raises `Refused` for a quote that is not closed."""
    if '"' not in text:
        return text.split(delimiter)
    if text[0] == text[-1] == '"':  # often all cells are quoted, with no quotes inside
        cells = text[1:-1].split(f'"{delimiter}"')
        if text.count('"') == 2 * len(cells):
            return cells
    reader = csv.reader((text, _NEXT_ROW), delimiter=delimiter)
    try:
        cells = next(reader)
    except csv.Error as error:
        raise Refused(DeadReason.UNREADABLE_CSV, str(error)) from error
    if reader.line_num > 1:
        raise Refused(DeadReason.UNREADABLE_CSV, "a quote is opened and not closed")
    return cells


def column_places(header: Sequence[str], wanted: Sequence[str], delimiter: str, source: str) -> list[int]:
    """The index of each wanted column in the header; spaces around names do not count.

    Raises InputError that lists the columns there are and suggests what may be meant.
    """
    names = [name.strip() for name in header]
    problems = []
    for name in dict.fromkeys(wanted):
        count = names.count(name.strip())
        if count > 1:
            problems.append(f"there are {count} columns named {name!r}")
        elif count == 0:
            problems.append(f"there is no column {name!r}{_suggestion(name, names)}")
    if not problems:
        return [names.index(name.strip()) for name in wanted]
    problems.append(f"the columns are {_listed(names)}")
    other = next((d for d in ";\t|," if len(names) == 1 and d != delimiter and d in header[0]), None)
    if other is not None:
        problems.append(f"the columns look separated by {other!r}: set input.delimiter")
    raise InputError(source, "; ".join(problems))


def _suggestion(name: str, names: Sequence[str]) -> str:
    lower = {other.lower(): other for other in names}
    close = get_close_matches(name.strip().lower(), lower, n=1)
    return f" (did you mean {lower[close[0]]!r}?)" if close else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:40])
    return shown + (f" and {len(names) - 40} more" if len(names) > 40 else "") if names else "none"
