"""From calls of Segment's SDKs to records of the log, which the worker's own decoder then reads."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.api.segment_calls import IGNORED, MAX_ITEMS, Arrival, Room, Taken, TooMuch, take_batch, take_call
from streams.core.decode import build_decoder
from streams.core.events import BadEvent, DeadReason, Event
from streams.core.refusal import Refused
from tests.unit.decode_world import SEGMENT, catalog

RECEIVED_S = 1_780_000_000.0
RECEIVED = "2026-05-28T20:26:40.000Z"
DECODER = build_decoder(catalog(SEGMENT))
ROOM = Room(1_000_000, lambda _: None)


def arrival() -> Arrival:
    numbers = itertools.count(1)
    return Arrival(RECEIVED_S, lambda: f"made-{next(numbers)}")


def call(kind: str = "track", **fields: Any) -> tuple[str, dict[str, Any]]:
    """(key, record) of a single call."""
    ((user, record),) = take_call(json.dumps(fields).encode(), kind, arrival()).records
    return user, json.loads(record)


def batch(*items: Any, **whole: Any) -> Taken:
    return take_batch(json.dumps({"batch": items, **whole}).encode(), arrival(), ROOM)


def records(taken: Taken) -> list[Any]:
    return [json.loads(record) for _, record in taken.records]


def large(count: int) -> dict[str, Any]:
    return {"type": "track", "userId": "ann", "event": "View", "messageId": "m", "properties": {"a": "x" * count}}


def test_an_item_whose_record_is_too_large_is_named_and_becomes_a_dead_letter() -> None:
    body = json.dumps({"batch": [large(1), large(5_000), large(400)], "context": {"page": "p" * 10}}).encode()
    whole = take_batch(body, arrival(), ROOM)
    assert not whole.unusable, "nobody knows of a bound"
    sizes = [len(record) for _, record in whole.records]
    for most, found in ((max(sizes), []), (max(sizes) - 1, [1]), (sizes[2] - 1, [1, 2])):
        taken = take_batch(body, Arrival(RECEIVED_S, str, most), ROOM)
        assert taken.records == whole.records
        assert [each.index for each in taken.unusable] == found
        assert {each.reason for each in taken.unusable} <= {"too_large"}
        decoder = build_decoder(catalog(f"{SEGMENT}limits: {{property_bytes: {most}}}\n"))
        dead = [decoder.decode(record, n, RECEIVED_S, n) for n, (_, record) in enumerate(taken.records)]
        assert [n for n, each in enumerate(dead) if isinstance(each, BadEvent)] == found


def test_a_single_call_whose_record_is_too_large_is_refused() -> None:
    body = json.dumps(large(5_000)).encode()
    ((_, record),) = take_call(body, "track", Arrival(RECEIVED_S, str, 6_000)).records
    take_call(body, "track", Arrival(RECEIVED_S, str, len(record)))
    with pytest.raises(Refused) as caught:
        take_call(body, "track", Arrival(RECEIVED_S, str, len(record) - 1))
    assert caught.value.reason is DeadReason.TOO_LARGE


def test_a_track_call_becomes_a_record() -> None:
    user, record = call(userId="ann", event="Order Completed", messageId="m-1", properties={"revenue": 1.50})
    assert user == "ann"
    assert record == {
        "type": "track",
        "userId": "ann",
        "event": "Order Completed",
        "messageId": "m-1",
        "properties": {"revenue": 1.5},
        "timestamp": RECEIVED,
        "receivedAt": RECEIVED,
    }


def test_the_path_says_what_a_call_is() -> None:
    assert call("identify", type="track", userId="ann", traits={"country": "DE"})[1]["type"] == "identify"


def test_what_is_not_ours_stays_byte_for_byte() -> None:
    body = b'{"userId":"ann","event":"X","properties":{"price":1.10, "big":12345678901234567890123,"\\u00e9":1e2}}'
    ((_, record),) = take_call(body, "track", arrival()).records
    assert b'"properties":{"price":1.10, "big":12345678901234567890123,"\\u00e9":1e2}' in record


def test_numbers_are_ids_too() -> None:
    user, record = call(userId=7, event=-(10**40), messageId=0)
    assert (user, record["event"], record["messageId"]) == ("7", "-1" + "0" * 40, "0")


def test_a_whole_number_is_an_id_however_it_is_written() -> None:
    ((user, record),) = take_call(b'{"userId":7.0,"event":1.2e1,"messageId":1.0}', "track", arrival()).records
    assert user == "7"
    event = DECODER.decode(record, 0, RECEIVED_S, 0)
    assert isinstance(event, Event)
    assert (event.user, event.name, event.message_id) == ("7", "12", "1")


def test_an_event_without_a_message_id_gets_one_and_it_is_told() -> None:
    taken = batch(
        {"type": "track", "userId": "ann", "event": "X"},
        {"type": "track", "userId": "ann", "event": "X", "messageId": "mine"},
        {"type": "track", "userId": "ann", "event": "X", "messageId": ""},
    )
    assert taken.made_ids == [(0, "made-1"), (2, "made-2")]
    assert [record["messageId"] for record in records(taken)] == ["made-1", "mine", "made-2"]


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_times", "timestamp", "original"),
    [
        ({}, RECEIVED, None),
        ({"timestamp": "2026-05-28T12:00:00Z"}, "2026-05-28T12:00:00Z", "2026-05-28T12:00:00Z"),
        # The sender's clock is an hour ahead: it sent at "21:26:40", and it was 20:26:40.
        (
            {"timestamp": "2026-05-28T21:26:30Z", "sentAt": "2026-05-28T21:26:40Z"},
            "2026-05-28T20:26:30.000Z",
            "2026-05-28T21:26:30Z",
        ),
        (
            {"originalTimestamp": "2026-05-28T21:26:30+00:00", "sentAt": "2026-05-28T21:26:40.250Z"},
            "2026-05-28T20:26:29.750Z",
            "2026-05-28T21:26:30+00:00",
        ),
        # Corrected already, by whoever passes it on.
        (
            {
                "timestamp": "2026-05-01T00:00:00Z",
                "originalTimestamp": "2026-05-01T01:00:00Z",
                "sentAt": "2026-05-01T01:00:01Z",
            },
            "2026-05-01T00:00:00Z",
            "2026-05-01T01:00:00Z",
        ),
        # No usable clock of the sender: its time is taken as it is.
        ({"timestamp": "2026-05-28", "sentAt": "yesterday"}, "2026-05-28", "2026-05-28"),
        ({"timestamp": "2026-05-28", "sentAt": 17}, "2026-05-28", "2026-05-28"),
        # A correction that leaves the calendar is none.
        (
            {"timestamp": "1980-01-01T00:00:00Z", "sentAt": "2099-01-01T00:00:00Z"},
            "1980-01-01T00:00:00Z",
            "1980-01-01T00:00:00Z",
        ),
        ({"timestamp": None, "originalTimestamp": None, "sentAt": None}, RECEIVED, None),
    ],
)
def test_a_clock_that_is_off_is_corrected(given_times: dict[str, Any], timestamp: str, original: str | None) -> None:
    _, record = call(userId="ann", event="X", **given_times)
    assert record["timestamp"] == timestamp
    assert record.get("originalTimestamp") == original
    assert record["receivedAt"] == RECEIVED


def test_the_batch_says_when_all_of_it_was_sent() -> None:
    sent = "2026-05-28T21:26:40Z"
    items = [
        {"type": "track", "userId": "ann", "event": "X", "timestamp": "2026-05-28T21:26:30Z"},
        {"type": "track", "userId": "ann", "event": "X", "timestamp": "2026-05-28T21:26:30Z", "sentAt": RECEIVED},
    ]
    first, second = records(batch(*items, sentAt=sent))
    assert (first["timestamp"], first["sentAt"]) == ("2026-05-28T20:26:30.000Z", sent)
    assert (second["timestamp"], second["sentAt"]) == ("2026-05-28T21:26:30.000Z", RECEIVED)


# --- batches ---------------------------------------------------------------------------------------------------------


def test_the_context_of_a_batch_holds_for_its_items() -> None:
    items = [
        {"type": "track", "userId": "ann", "event": "X"},
        {"type": "track", "userId": "ann", "event": "X", "context": {"ip": "::1", "page": {"url": "u"}}},
        {"type": "track", "userId": "ann", "event": "X", "context": None},
    ]
    found = records(batch(*items, context={"ip": "1.2.3.4", "library": {"name": "l"}}, integrations={"All": False}))
    assert found[0]["context"] == found[2]["context"] == {"ip": "1.2.3.4", "library": {"name": "l"}}
    assert found[1]["context"] == {"ip": "::1", "library": {"name": "l"}, "page": {"url": "u"}}
    assert [record["integrations"] for record in found] == [{"All": False}] * 3


def test_types_that_are_not_used_are_counted_and_in_no_record() -> None:
    taken = batch({"type": "page", "userId": "ann"}, {"type": "alias"}, {"type": "page"})
    assert taken == Taken(ignored={"page": 2, "alias": 1})


BAD_ITEMS = [
    (5, DeadReason.NOT_AN_OBJECT, ""),
    ({}, DeadReason.UNKNOWN_TYPE, ""),
    ({"type": "purchase", "userId": "ann"}, DeadReason.UNKNOWN_TYPE, "ann"),
    ({"type": ["track"], "userId": 9}, DeadReason.UNKNOWN_TYPE, "9"),
    ({"type": "track", "event": "X"}, DeadReason.MISSING_USER, ""),
    ({"type": "track", "event": "X", "userId": {}}, DeadReason.BAD_USER, ""),
    ({"type": "track", "userId": "ann"}, DeadReason.MISSING_EVENT, "ann"),
    ({"type": "track", "userId": "ann", "event": "a\0b"}, DeadReason.BAD_EVENT, "ann"),
    ({"type": "track", "userId": "ann", "event": "X", "timestamp": "soon"}, DeadReason.BAD_TIME, "ann"),
    ({"type": "track", "userId": "ann", "event": "X", "timestamp": "1970-01-01"}, DeadReason.TIME_OUT_OF_RANGE, "ann"),
    ({"type": "track", "userId": "ann", "event": "X", "messageId": {}}, DeadReason.BAD_MESSAGE_ID, "ann"),
    ({"type": "track", "userId": "ann", "event": "X", "properties": []}, DeadReason.BAD_PROPERTIES, "ann"),
]


@pytest.mark.parametrize(("item", "reason", "key"), BAD_ITEMS)
def test_a_bad_item_is_in_the_log_and_the_good_ones_too(item: Any, reason: DeadReason, key: str) -> None:
    good = {"type": "track", "userId": "bob", "event": "X", "messageId": "m"}
    taken = batch(good, item, good)
    assert [record["messageId"] for record in (records(taken)[0], records(taken)[2])] == ["m", "m"]
    assert taken.records[1][0] == key
    in_log = records(taken)[1]
    assert in_log == ({"timestamp": RECEIVED, **item, "receivedAt": RECEIVED} if item and item != 5 else item)
    (unusable,) = taken.unusable
    assert unusable.index == 1
    assert unusable.reason == reason
    letter = DECODER.decode(taken.records[1][1], 0, None, 0)
    assert isinstance(letter, BadEvent)
    assert letter.reason == reason


NOTES: list[dict[str, Any]] = [
    {"event": "Tideline Message Sent"},
    {"event": "Tideline Message Withheld", "context": 5},  # which the worker would not look at
    {"event": "Tideline Messages of a kind that is still to come", "messageId": "m"},
    {"event": "Tideline Message Sent", "timestamp": "soon"},
]


@pytest.mark.parametrize("note", NOTES)
def test_what_campaigns_write_is_taken_from_nobody_else(note: dict[str, Any]) -> None:
    item = {"type": "track", "userId": "ann", **note}
    taken = batch(item, {"type": "track", "userId": "ann", "event": "X", "messageId": "m"})
    assert [record["event"] for record in records(taken)] == ["X"]
    assert [unusable.index for unusable in taken.unusable] == [0]
    with pytest.raises(Refused):
        take_call(json.dumps(item).encode(), "track", arrival())


def test_whoever_sends_what_campaigns_write_is_told() -> None:
    (unusable,) = batch({"type": "track", "userId": "ann", **NOTES[0]}).unusable
    assert unusable.reason == DeadReason.BAD_EVENT
    assert unusable.detail == "only campaigns write events whose name begins with 'Tideline Message'"


def test_an_item_that_is_not_utf_8_or_too_deep_goes_alone() -> None:
    good = b'{"type":"track","userId":"bob","event":"X"}'
    deep = b'{"type":"track","userId":"ann","event":"X","properties":{"a":%b%b}}' % (b"[" * 300, b"]" * 300)
    odd = b'{"type":"track","userId":"\xff"}'
    taken = take_batch(b'{"batch":[%b,%b,%b]}' % (good, deep, odd), arrival(), ROOM)
    assert [u.reason for u in taken.unusable] == ["too_deep", "bad_encoding"]
    assert [record for _, record in taken.records[1:]] == [deep, odd]


@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"{", b"[]", b"5", b"null", b"{}", b'{"batch":{}}', b'{"batch":[],"context":5}', b'{"\xff":1}'],
        b'{"batch":[{]}',
        b'{"batch":[%b%b]}' % (b"[" * 100_000, b"]" * 100_000),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(Refused):
        take_batch(body, arrival(), ROOM)


@pytest.mark.parametrize("item", [b"1", b"{}", b'{"type":"track","userId":"ann","event":"X"}'])
def test_a_batch_has_so_many_calls_at_most(item: bytes) -> None:
    def of(count: int) -> bytes:
        return b'{"batch":[%b]}' % b",".join([item] * count)

    assert len(take_batch(of(MAX_ITEMS), arrival(), ROOM).records) == MAX_ITEMS
    with pytest.raises(TooMuch, match="2,500 calls, and this has 2,501"):
        take_batch(of(MAX_ITEMS + 1), arrival(), ROOM)


@pytest.mark.parametrize("name", ["context", "integrations", "sentAt"])
def test_what_a_batch_says_of_its_calls_is_counted_as_often_as_it_is_written(name: str) -> None:
    items = [{"type": "track", "userId": "ann", "event": "X", "messageId": "m", "context": {}}] * 100
    said: Any = "s" * 10_000 if name == "sentAt" else {"said": "s" * 10_000}
    body = json.dumps({"batch": items, name: said}).encode()
    taken: list[int] = []
    records = take_batch(body, arrival(), Room(2_000_000, taken.append)).records
    made = sum(len(record) for _, record in records)
    assert 1_000_000 < made < len(body) + taken[0] < 1_100_000
    with pytest.raises(TooMuch, match="at most 900,000: send fewer calls at once"):
        take_batch(body, arrival(), Room(900_000, taken.append))
    assert len(taken) == 1, "nothing is taken for what is refused"


@pytest.mark.parametrize(("item", "reason", "_key"), BAD_ITEMS[4:])
def test_a_single_call_that_cannot_be_used_is_refused(item: Any, reason: DeadReason, _key: str) -> None:
    with pytest.raises(Refused) as refused:
        take_call(json.dumps(item).encode(), "track", arrival())
    assert refused.value.reason == reason


def test_an_anonymous_event_is_taken_and_told_to_be_unusable() -> None:
    taken = take_call(b'{"anonymousId":"a-1","event":"X"}', "track", arrival())
    assert taken.records[0][0] == "a-1"
    assert [u.reason for u in taken.unusable] == ["missing_user"]
    letter = DECODER.decode(taken.records[0][1], 0, None, 0)
    assert isinstance(letter, BadEvent)
    assert letter.reason == DeadReason.MISSING_USER


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
times = st.sampled_from(["2026-05-28T21:26:30Z", "2026-05-28", "1970-01-01", "later", "", None, 5])
texts: st.SearchStrategy[Any] = st.sampled_from(["ann", "", " ", "zoë", None, 7, 1.5, "x" * 300, "a\0", []])
items = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["track", "identify", "page", "alias", "x", None, 1]),
        "userId": texts,
        "anonymousId": texts,
        "event": texts,
        "messageId": texts,
        "timestamp": times,
        "originalTimestamp": times,
        "sentAt": times,
        "properties": st.just({}) | st.just([]) | st.none(),
        "context": values,
    },
)


@given(st.lists(items | values, max_size=6))
def test_the_worker_agrees_with_the_api(given_items: list[Any]) -> None:
    """Every item is in the log once, or of a type that is ignored; what the API calls usable the worker can use, and
    what it calls unusable is a dead letter with the same reason.
    """
    taken = batch(*given_items)
    assert len(taken.records) + sum(taken.ignored.values()) == len(given_items)
    bad = iter(taken.unusable)
    unusable = next(bad, None)
    in_log = [
        (index, item)
        for index, item in enumerate(given_items)
        if not (isinstance(item, dict) and item.get("type") in IGNORED)
    ]
    for (index, item), (_, record) in zip(in_log, taken.records, strict=True):
        decoded = DECODER.decode(record, 0, RECEIVED_S, 0)
        if unusable is None or unusable.index != index:
            assert isinstance(decoded, Event), (item, record)
            continue
        assert isinstance(decoded, BadEvent), (item, record)
        # The worker sees properties first of all, and who did it before what was done.
        assert decoded.reason in (unusable.reason, DeadReason.BAD_PROPERTIES, DeadReason.MISSING_USER)
        unusable = next(bad, None)
    assert unusable is None
