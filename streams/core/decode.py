"""From the bytes of a record to an `Event` or a `BadEvent`: pure, one record at a time, never raises for bad input.

`build_decoder` picks the decoder of the catalog's input format. The formats and all reasons are in `docs/input.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any, Final, Protocol

import msgspec

from config.catalog import Catalog, CsvInput, NdjsonInput
from config.notes import is_note
from streams.core.decode_mapped import CsvDecoder, NdjsonDecoder
from streams.core.event_time import LATER_THAN_NOW, LATEST_S, time_reader
from streams.core.events import BadEvent, DeadReason, Event, Scalar, bad_event
from streams.core.fields import admit_json, event_name, message_id, money, trait, user_id
from streams.core.message_hash import id_hash
from streams.core.needs import Needs, needs_of
from streams.core.refusal import Refused, shown, unreadable_json

__all__ = ["CsvDecoder", "Decoder", "NdjsonDecoder", "SegmentDecoder", "build_decoder"]


class Decoder(Protocol):
    """Decodes records of one input format under one catalog."""

    def decode(self, raw: bytes, position: int, log_time_s: float | None, place_hash: int) -> Event | BadEvent:
        """The event of a record, or why there is none.

        `log_time_s` is when the log took the record (None: the event's own time, for files). `place_hash` is
        `streams.core.message_hash.place_hash` of where the record stands; it is used if it has no message id.
        """

    def read_time(self, raw: bytes) -> float:
        """Only the time of a record, in seconds; NaN if it has none that could be used. Agrees with `decode`."""


def build_decoder(
    catalog: Catalog, latest_s: float = LATEST_S, header: Sequence[str] | None = None, source: str = "CSV header"
) -> Decoder:
    """The decoder for the catalog's input.

    Events after `latest_s` are refused as `time_in_future` (for files: the wall clock when the log was first
    opened; a live log passes nothing, as the shard moves such events back). `header` are the column names of a CSV,
    and `source` is what an error calls it.
    Raises CatalogError for an unknown time zone, InputError for a missing column.
    """
    if isinstance(catalog.input, CsvInput):
        if header is None:
            raise ValueError("a CSV decoder needs the header")
        return CsvDecoder(catalog, catalog.input, header, latest_s, source)
    if isinstance(catalog.input, NdjsonInput):
        return NdjsonDecoder(catalog, catalog.input, latest_s)
    return SegmentDecoder(catalog, latest_s)


_NULL: Final = msgspec.Raw(b"null")
_KNOWN_NAMES: Final = 1_024
DELETE_TYPE: Final = "delete"
"""The type of a record that deletes its user. It is ours, the Segment spec has none."""

_Fields = dict[str, tuple[str, Any, Any]]
"""By JSON key: attribute, type, default."""


class _Record(msgspec.Struct, gc=False, rename="camel"):
    """The fields of the Segment spec that are read. Any: types are checked here, to say what was wrong."""

    type: Any = None
    user_id: Any = None
    event: Any = None
    timestamp: Any = None
    original_timestamp: Any = None
    message_id: Any = None


class _Times(msgspec.Struct, gc=False, rename="camel"):
    timestamp: Any = None
    original_timestamp: Any = None


def _fields_type(fields: _Fields) -> type[msgspec.Struct]:
    """A struct from JSON keys to (attribute, type, default). All other keys are skipped, which costs little."""
    rename = {attribute: key for key, (attribute, _, _) in fields.items()}
    return msgspec.defstruct("Fields", list(fields.values()), rename=rename, gc=False)


def _record_type(needs: Needs) -> type[msgspec.Struct]:
    """`_Record` with the properties and traits that the catalog reads, if any.

    `properties` and `traits` are structs (None if missing): the money as a value, properties of `where` and
    `remember` undecoded (`p0`, `p1`, ... in the order of `Needs.all_properties`), traits `t0`, `t1`, ...
    """
    fields: list[tuple[str, Any, Any]] = []
    properties: _Fields = {name: (f"p{at}", msgspec.Raw, _NULL) for at, name in enumerate(needs.all_properties)}
    if needs.value is not None and needs.value not in properties:
        properties[needs.value] = ("value", Any, None)
    if properties:
        fields.append(("properties", _fields_type(properties) | None, None))
    if needs.traits:
        traits = {name: (f"t{at}", Any, None) for at, name in enumerate(needs.traits)}
        fields.append(("traits", _fields_type(traits) | None, None))
    return msgspec.defstruct("Record", fields, bases=(_Record,), gc=False)


def _parsed(raw: msgspec.Raw, name: str, reason: DeadReason) -> object:
    """The value of a property. Raises `Refused`."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Refused(reason, f"the property {shown(name)}: {error}") from error


class _Properties:
    """Reads the properties of a record: the money of every event, and what `where` and `remember` want by name."""

    def __init__(self, needs: Needs) -> None:
        places = {name: f"p{at}" for at, name in enumerate(needs.all_properties)}
        self._wanted = {event: tuple((n, places[n]) for n in names) for event, names in needs.properties.items()}
        self._value = needs.value
        self._raw_value = None if needs.value is None else places.get(needs.value)

    def value(self, properties: Any) -> float:
        """The money, NaN if there is none. Raises `Refused`."""
        if self._value is None:
            return nan
        if self._raw_value is None:
            return money(properties.value)
        return money(_parsed(getattr(properties, self._raw_value), self._value, DeadReason.BAD_VALUE))

    def wanted(self, properties: Any, event: str) -> dict[str, Any] | None:
        """The wanted properties that are there and not null; None if there are none. Raises `Refused`."""
        found = {}
        for name, at in self._wanted.get(event, ()):
            raw = getattr(properties, at)
            if raw is not _NULL and (value := _parsed(raw, name, DeadReason.BAD_PROPERTIES)) is not None:
                found[name] = value
        return found or None


class SegmentDecoder:
    """`track` and `identify` of the Segment spec, one JSON object a record."""

    def __init__(self, catalog: Catalog, latest_s: float = LATEST_S) -> None:
        needs = needs_of(catalog)
        self._limit_bytes = catalog.limits.property_bytes
        self._latest_s = latest_s
        self._time = time_reader()
        self._decode = msgspec.json.Decoder(_record_type(needs)).decode
        self._decode_times = msgspec.json.Decoder(_Times).decode
        self._names: dict[str, str] = {}
        self._properties = _Properties(needs) if needs.all_properties or needs.value is not None else None
        self._traits = tuple((name, f"t{at}", name in needs.numeric) for at, name in enumerate(needs.traits))

    def decode(self, raw: bytes, position: int, log_time_s: float | None, place_hash: int) -> Event | BadEvent:
        """See `Decoder.decode`."""
        try:
            admit_json(raw, self._limit_bytes)
            return self._event(self._decode(raw), position, log_time_s, place_hash)
        except Refused as found:
            refused = found
        except msgspec.DecodeError as error:
            refused = _why_unreadable(raw, error)
        detail = refused.detail
        if refused.reason is DeadReason.MISSING_USER and b'"anonymousId"' in raw:
            detail += "; it has only an anonymousId, and events without a userId cannot be scored"
        return bad_event(refused.reason, detail, position, raw)

    def read_time(self, raw: bytes) -> float:
        """See `Decoder.read_time`."""
        try:
            admit_json(raw, self._limit_bytes)
            times = self._decode_times(raw)
            return self._time(times.original_timestamp if times.timestamp is None else times.timestamp)
        except (Refused, msgspec.DecodeError):
            return nan

    def _event(self, record: Any, position: int, log_time_s: float | None, place_hash: int) -> Event:
        is_track, deletes = record.type == "track", record.type == DELETE_TYPE
        if not is_track and not deletes and record.type != "identify":
            raise _unknown_type(record.type)
        user = user_id(record.user_id)
        name = None
        if is_track:
            # The names that were seen are checked already; there are few of them.
            name = self._names.get(record.event) if type(record.event) is str else None
            if name is None:
                name = self._new_name(record.event)
        stamp = record.timestamp
        time_s = self._time(record.original_timestamp if stamp is None else stamp)
        if time_s > self._latest_s:
            raise Refused(DeadReason.TIME_IN_FUTURE, LATER_THAN_NOW)
        value, properties, traits = nan, None, None
        if self._properties is not None and name is not None and record.properties is not None and not is_note(name):
            value = self._properties.value(record.properties)
            properties = self._properties.wanted(record.properties, name)
        if self._traits and record.traits is not None and not deletes and not (name and is_note(name)):
            traits = self._read_traits(record.traits)
        message = message_id(record.message_id)
        hashed = place_hash if message is None else id_hash(message)
        if log_time_s is None:
            log_time_s = time_s
        return Event(user, name, time_s, value, hashed, traits, properties, position, log_time_s, message, deletes)

    def _new_name(self, value: object) -> str:
        name = event_name(value)
        if len(self._names) < _KNOWN_NAMES:
            self._names[name] = name
        return name

    def _read_traits(self, traits: Any) -> dict[str, Scalar] | None:
        found: dict[str, Scalar] = {}
        for name, at, numeric in self._traits:
            value = getattr(traits, at)
            if value is not None:
                found[name] = trait(name, value, numeric)
        return found or None


def _why_unreadable(raw: bytes, error: msgspec.DecodeError) -> Refused:
    """Why a record of the Segment format could not be parsed: no JSON, no object, or a part that cannot be used."""
    try:
        record = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return unreadable_json(raw, error)
    for part, inner in (("properties", DeadReason.BAD_VALUE), ("traits", DeadReason.BAD_TRAIT)):
        found = bytes(record.get(part, _NULL)).lstrip()
        if found != b"null" and not found.startswith(b"{"):
            reason = DeadReason.BAD_PROPERTIES if part == "properties" else DeadReason.BAD_TRAIT
            return Refused(reason, f"{part} must be an object")
        if f"`$.{part}." in str(error):  # a number that no 64-bit float can hold; of the properties, only the money
            return Refused(inner, str(error))
    return unreadable_json(raw, error)


def _unknown_type(kind: object) -> Refused:
    if kind is None:
        return Refused(DeadReason.UNKNOWN_TYPE, 'the record has no "type"; expected "track" or "identify"')
    detail = f"the type is {shown(kind)}; only track, identify and {DELETE_TYPE} are used"
    if kind in ("page", "screen"):
        detail += " (to use page views, send them as track events)"
    return Refused(DeadReason.UNKNOWN_TYPE, detail)
