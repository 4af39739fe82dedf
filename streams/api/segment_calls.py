"""From calls in the shape of Segment's HTTP API to records of the events log. Pure: the clock and new ids come in.

A record is the call as it came, byte for byte, with what Segment adds, too: `messageId`, `timestamp` (corrected by
`sentAt`), `originalTimestamp`, `sentAt`, `receivedAt`, and the `context` and `integrations` of the whole batch. What is
traced is said by the request: a member `traceparent` is left out, and set where the log has no headers for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from config.notes import PREFIX, is_note
from streams.core.decode import DELETE_TYPE
from streams.core.event_time import EARLIEST_S, LATEST_S, time_reader
from streams.core.events import DeadReason
from streams.core.fields import admit_json, event_name, message_id, user_id
from streams.core.refusal import Refused, unreadable_json
from streams.trace_context import TRACEPARENT

USED: Final = ("track", "identify")
IGNORED: Final = ("page", "screen", "group", "alias")
"""Segment's other calls: taken, so that its SDKs work, and never used."""

_NULL: Final = msgspec.Raw(b"null")
_TRACK: Final = msgspec.Raw(b'"track"')
_READ: Final = ("properties", "traits")
_IDS: Final = ("userId", "anonymousId", "event", "messageId")
_NUMBER_STARTS: Final = frozenset(b"%c" % c for c in b"-0123456789")
_SHARED: Final = ("context", "integrations")
MAX_ITEMS: Final = 2_500
"""Calls of a batch, as with Segment."""
_ADDED_BYTES: Final = 256
"""What a record has at most that neither its call nor its batch has said: times, the id that is made up, the trace."""
_NO_LIMIT: Final = 1 << 62

_as_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_as_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_value = msgspec.json.Decoder().decode
_encode = msgspec.json.encode
_read_time = time_reader()

Fields = dict[str, msgspec.Raw]


@dataclass(slots=True)
class Arrival:
    """When a request arrived, in seconds since 1970 UTC, and how ids are made."""

    received_s: float
    new_id: Callable[[], str]
    record_bytes: int | None = None
    """Of a larger record the worker makes a dead letter; None: nobody knows."""
    trace: str | None = None
    """Of which trace the events are a part, where they have to say so themselves (`EventLog.has_headers`)."""
    text: msgspec.Raw = field(init=False)
    """The time as JSON: the same for all events of a request."""

    def __post_init__(self) -> None:
        self.text = _time_text(self.received_s)


class TooMuch(ValueError):
    """A batch has too many calls, or would become too many bytes."""


class Room(NamedTuple):
    """For what a batch becomes: what is said of all of it is written into the record of each of its calls."""

    most_bytes: int
    """That may be added to the calls of one batch."""
    take: Callable[[int], None]
    """Told of these bytes before any record is made; raises where there is no room for them now."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """An event of which the worker will make a dead letter, and why. `index` is its place in the batch."""

    index: int
    reason: str
    detail: str


@dataclass(slots=True)
class Taken:
    """What becomes of a request: records for the log, and what its sender is told."""

    records: list[tuple[str, bytes]] = field(default_factory=list)
    """(user, or else the anonymous id; event as JSON)"""
    made_ids: list[tuple[int, str]] = field(default_factory=list)
    """(index, message id) of events that came without one"""
    unusable: list[Unusable] = field(default_factory=list)
    """These are among the records, but for deletions: nothing else that was sent is lost."""
    ignored: dict[str, int] = field(default_factory=dict)
    """type -> calls that are never used, which are in no record."""


def take_call(body: bytes, kind: str, arrival: Arrival) -> Taken:
    """One call of a type that is used. Raises `Refused` for what could not be used; only a missing user id is
    taken where there is an anonymous id, as Segment's SDKs send that by the thousand.
    """
    admit_json(body, _NO_LIMIT)
    fields = _fields(body)
    taken = Taken()
    for name in _SHARED:
        _check_object(fields, name)
    fields["type"] = msgspec.Raw(_encode(kind))
    _put(taken, 0, fields, fields, arrival)
    too_large = _too_large(taken.records[0][1], arrival)
    if too_large is not None:
        raise too_large
    return taken


class _Whole:
    """What is said of a batch, read once however many calls it holds for."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._parsed: dict[str, Fields] = {}

    def shared(self, name: str) -> Fields:
        """An object, by its fields."""
        if name not in self._parsed:
            self._parsed[name] = _as_object(self.fields[name])
        return self._parsed[name]

    def added_bytes(self, count: int) -> int:
        """What so many calls have more as records, at most."""
        said = sum(len(bytes(self.fields.get(name, _NULL))) for name in (*_SHARED, "sentAt"))
        return count * (said + _ADDED_BYTES)


def take_batch(body: bytes, arrival: Arrival, room: Room) -> Taken:
    """Many calls. Raises `Refused` only where the body as a whole is no batch; a bad item goes into the log, too,
    where the worker makes a dead letter of it. Raises `TooMuch`, and what `room` raises, before anything is made.
    """
    whole = _fields(body)
    try:
        items = _as_list(whole.get("batch", _NULL))
    except msgspec.DecodeError:
        raise Refused(DeadReason.UNREADABLE_JSON, 'expected "batch" with a list of calls') from None
    for name in _SHARED:
        _check_object(whole, name)
    if len(items) > MAX_ITEMS:
        raise TooMuch(f"a batch may have {MAX_ITEMS:,} calls, and this has {len(items):,}")
    said = _Whole(whole)
    added = said.added_bytes(len(items))
    if added > room.most_bytes:
        words = "what is said of the whole batch holds for each of its calls, and would be"
        raise TooMuch(f"{words} {added:,} bytes there; at most {room.most_bytes:,}: send fewer calls at once")
    room.take(added)
    taken = Taken()
    for index, item in enumerate(items):
        _take_item(taken, index, bytes(item), said, arrival)
    return taken


def _take_item(taken: Taken, index: int, item: bytes, whole: _Whole, arrival: Arrival) -> None:
    fields: Fields = {}
    try:
        admit_json(item, _NO_LIMIT)
        fields = _fields(item)
        kind = _value(fields.get("type", _NULL))
        if kind in IGNORED:
            taken.ignored[kind] = taken.ignored.get(kind, 0) + 1
            return
        if kind not in USED:
            raise Refused(DeadReason.UNKNOWN_TYPE, "the type must be track or identify")
        for name in _SHARED:
            _merge(fields, whole, name)
        _put(taken, index, fields, whole.fields, arrival)
    except Refused as refused:
        # What is no event goes into the log and becomes a dead letter there; a deletion or a note would be one.
        if not _is_ours(item):
            taken.records.append((_key(fields), _as_it_came(fields, item, arrival)))
        taken.unusable.append(Unusable(index, refused.reason.value, refused.detail))


class _Kind(msgspec.Struct):
    type: Any = None
    event: Any = None


def _is_ours(item: bytes) -> bool:
    """Whether the worker would take it for a deletion or for a note of a campaign; it reads both as this does."""
    try:
        kind = msgspec.json.decode(item, type=_Kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return bool(kind.type == DELETE_TYPE) or (isinstance(kind.event, str) and is_note(kind.event))


def _put(taken: Taken, index: int, fields: Fields, whole: Fields, arrival: Arrival) -> None:
    """Add the record of an event; raises `Refused` before anything is added, for what the worker would refuse."""
    for name in _READ:
        _check_object(fields, name)
    for name in _IDS:
        _write_whole(fields, name)
    user, problem = _user(fields)
    if fields["type"] == _TRACK and is_note(event_name(_value(fields.get("event", _NULL)))):
        raise Refused(DeadReason.BAD_EVENT, f"only campaigns write events whose name begins with {PREFIX!r}")
    _correct_time(fields, whole, arrival)
    known = message_id(_value(fields.get("messageId", _NULL)))
    if known is None:
        known = arrival.new_id()
        fields["messageId"] = msgspec.Raw(_encode(known))
        taken.made_ids.append((index, known))
    fields["receivedAt"] = arrival.text
    _put_trace(fields, arrival)
    record = _encode(fields)
    taken.records.append((user, record))
    problem = problem or _too_large(record, arrival)
    if problem is not None:
        taken.unusable.append(Unusable(index, problem.reason.value, problem.detail))


def _too_large(record: bytes, arrival: Arrival) -> Refused | None:
    most = arrival.record_bytes
    if most is None or len(record) <= most:
        return None
    words = f"as a record it has {len(record):,} bytes, and at most {most:,} are scored (limits.property_bytes)"
    return Refused(DeadReason.TOO_LARGE, words)


def _as_it_came(fields: Fields, item: bytes, arrival: Arrival) -> bytes:
    """The record of an item that cannot be used. An object also says when it was received, so that the only thing that
    the worker finds wrong is what was wrong.
    """
    if not fields:
        return item
    if fields.get("timestamp", _NULL) == fields.get("originalTimestamp", _NULL) == _NULL:
        fields["timestamp"] = arrival.text
    fields["receivedAt"] = arrival.text
    _put_trace(fields, arrival)
    return _encode(fields)


def _put_trace(fields: Fields, arrival: Arrival) -> None:
    """Of the request, and never what an event says: workers would follow it where the request is not traced."""
    if arrival.trace is None:
        fields.pop(TRACEPARENT, None)
    else:
        fields[TRACEPARENT] = msgspec.Raw(_encode(arrival.trace))


def _fields(body: bytes) -> Fields:
    try:
        return _as_object(body)
    except msgspec.DecodeError as error:
        raise unreadable_json(body, error) from error
    except UnicodeDecodeError as error:
        raise Refused(DeadReason.BAD_ENCODING, "the body is not UTF-8") from error
    except RecursionError as error:
        raise Refused(DeadReason.TOO_DEEP, "nested too deeply") from error


def _check_object(fields: Fields, name: str) -> None:
    found = bytes(fields.get(name, _NULL)).lstrip()
    if found != b"null" and not found.startswith(b"{"):
        raise Refused(DeadReason.BAD_PROPERTIES, f"{name} must be an object")


def _write_whole(fields: Fields, name: str) -> None:
    """A whole number as text: to JSON `7`, `7.0` and `7e0` are the same number, and as text it has any size."""
    raw = bytes(fields.get(name, _NULL))
    if raw[:1] not in _NUMBER_STARTS:
        return
    if raw.removeprefix(b"-").isdigit():
        fields[name] = msgspec.Raw(b'"%b"' % raw)
    elif float(raw).is_integer():
        fields[name] = msgspec.Raw(_encode(str(int(float(raw)))))


def _merge(fields: Fields, whole: _Whole, name: str) -> None:
    """What is said of the whole batch holds for each of its items, unless the item says otherwise."""
    shared, own = whole.fields.get(name, _NULL), fields.get(name, _NULL)
    if shared == _NULL:
        return
    if own == _NULL:
        fields[name] = shared
    elif bytes(own).startswith(b"{"):
        fields[name] = msgspec.Raw(_encode({**whole.shared(name), **_as_object(own)}))


def _user(fields: Fields) -> tuple[str, Refused | None]:
    """The user, or else the anonymous id with the reason why the event cannot be scored. Raises `Refused`."""
    try:
        return user_id(_value(fields.get("userId", _NULL))), None
    except Refused as refused:
        if refused.reason is not DeadReason.MISSING_USER:
            raise
        try:
            anonymous = user_id(_value(fields.get("anonymousId", _NULL)))
        except Refused:
            raise Refused(DeadReason.MISSING_USER, "the event has neither a userId nor an anonymousId") from None
        detail = "the event has only an anonymousId; events without a userId cannot be scored"
        return anonymous, Refused(DeadReason.MISSING_USER, detail)


def _key(fields: Fields) -> str:
    """Where a record that cannot be used goes: to the others of its user, if it names one."""
    for name in ("userId", "anonymousId"):
        try:
            return user_id(_value(fields.get(name, _NULL)))
        except (Refused, msgspec.DecodeError, UnicodeDecodeError):
            continue
    return ""


# --- time ------------------------------------------------------------------------------------------------------------


def _correct_time(fields: Fields, whole: Fields, arrival: Arrival) -> None:
    """`timestamp` = received - (sent - original), as Segment does for senders whose clock is off.

    An event that has both `timestamp` and `originalTimestamp` was corrected before, by whoever passed it on.
    """
    sent = fields.get("sentAt", _NULL)
    if sent == _NULL:
        sent = whole.get("sentAt", _NULL)
    if sent != _NULL:
        fields["sentAt"] = sent
    stamp, original = fields.get("timestamp", _NULL), fields.get("originalTimestamp", _NULL)
    if _NULL not in (stamp, original):
        _read_time(_value(stamp))
        return
    original = stamp if original == _NULL else original
    if original == _NULL:
        fields["timestamp"] = arrival.text
        return
    time_s = _read_time(_value(original))
    fields["originalTimestamp"] = fields["timestamp"] = original
    sent_s = _time_or_none(sent)
    if sent_s is not None:
        corrected_s = arrival.received_s - (sent_s - time_s)
        if EARLIEST_S <= corrected_s <= LATEST_S:
            fields["timestamp"] = _time_text(corrected_s)


def _time_or_none(sent: msgspec.Raw) -> float | None:
    try:
        return _read_time(_value(sent))
    except (Refused, msgspec.DecodeError):
        return None  # a sender without a usable clock: its times are taken as they are


def _time_text(time_s: float) -> msgspec.Raw:
    """As JSON, to the millisecond."""
    text: Any = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
    return msgspec.Raw(b'"%b"' % text.replace("+00:00", "Z").encode())
