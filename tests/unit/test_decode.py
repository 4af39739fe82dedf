"""Decoding the Segment format: what an event holds, and the reason for everything that cannot be one."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.decode import Decoder, build_decoder
from streams.core.event_time import EARLIEST_S, LATEST_S
from streams.core.events import DEAD_LETTER_BYTES, BadEvent, DeadReason, Event
from streams.core.message_hash import id_hash, place_hash
from tests.unit.decode_world import NOON, NOON_S, SEGMENT, catalog, track

SHOP = catalog(SEGMENT)
DECODER = build_decoder(SHOP)
PLACE = place_hash(1, 2)


def decode(raw: bytes, decoder: Decoder = DECODER) -> Event | BadEvent:
    return decoder.decode(raw, 7, None, PLACE)


def good(raw: bytes, decoder: Decoder = DECODER) -> Event:
    event = decode(raw, decoder)
    assert isinstance(event, Event), event
    return event


def refused(raw: bytes, decoder: Decoder = DECODER) -> tuple[DeadReason, str]:
    event = decode(raw, decoder)
    assert isinstance(event, BadEvent), event
    assert event.position == 7
    assert event.raw == raw[:DEAD_LETTER_BYTES]
    return event.reason, event.detail


def test_a_track_event_holds_what_the_catalog_needs() -> None:
    properties = {"revenue": "12.50", "total": 5, "channel": "web", "colour": "red"}
    event = good(track(messageId="m-1", properties=properties, traits={"country": "DE", "shoe": 43}))
    assert event == Event(
        user="ann",
        name="Order Completed",
        time_s=NOON_S,
        value=12.5,
        message_hash=id_hash("m-1"),
        traits={"country": "DE"},
        properties={"total": 5, "channel": "web"},
        position=7,
        log_time_s=NOON_S,
        message_id="m-1",
    )


def test_an_identify_event_has_no_name_and_brings_its_traits() -> None:
    raw = json.dumps(
        {"type": "identify", "userId": 42, "timestamp": NOON, "traits": {"country": 7, "age": "33", "vip": True}}
    ).encode()
    event = good(raw)
    assert event.name is None
    assert event.user == "42"
    assert event.traits == {"country": 7.0, "age": 33.0, "vip": True}
    assert isnan(event.value)
    assert event.properties is None


def test_properties_are_those_that_the_events_name_needs() -> None:
    properties = {"revenue": 3, "total": 5, "products": [{"sku": "a"}]}
    assert good(track(event="Cart Viewed", properties=properties)).properties == {
        "products": [{"sku": "a"}],
        "revenue": 3,
    }
    assert good(track(event="Cart Viewed", properties=properties)).value == 3.0
    assert good(track(event="Page Viewed", properties=properties)).properties is None
    assert good(track(event="Page Viewed", properties=properties)).value == 3.0


@pytest.mark.parametrize("part", [{}, {"properties": None, "traits": None}, {"properties": {}, "traits": {}}])
def test_what_is_not_there_is_missing(part: dict[str, Any]) -> None:
    event = good(track(**part))
    assert isnan(event.value)
    assert event.properties is None
    assert event.traits is None


def test_null_counts_as_missing() -> None:
    event = good(track(messageId=None, properties={"revenue": None, "total": None}, traits={"country": None}))
    assert isnan(event.value)
    assert event.properties is None
    assert event.traits is None
    assert event.message_hash == PLACE


def test_without_a_message_id_the_hash_is_that_of_the_place() -> None:
    assert good(track()).message_hash == PLACE
    assert good(track(messageId="")).message_hash == PLACE
    assert good(track()).message_id is good(track(messageId="")).message_id is None
    assert good(track(messageId=5)).message_id == "5"
    assert good(track(messageId=5)).message_hash == good(track(messageId="5")).message_hash == id_hash("5")


def test_the_log_time_is_that_of_the_log_if_there_is_one() -> None:
    event = DECODER.decode(track(), 0, 5.0, PLACE)
    assert isinstance(event, Event)
    assert event.log_time_s == 5.0


def test_the_original_timestamp_stands_in_for_a_missing_one() -> None:
    assert good(track(timestamp=None, originalTimestamp="2024-05-31T13:00:00Z")).time_s == NOON_S + 3600
    assert good(track(originalTimestamp="2024-05-31T13:00:00Z")).time_s == NOON_S


def test_the_last_of_two_equal_keys_counts() -> None:
    assert good(track()[:-1] + b',"userId":"bob"}').user == "bob"


BAD: list[tuple[bytes, DeadReason, str]] = [
    (b"", DeadReason.UNREADABLE_JSON, "truncated"),
    (b"hello", DeadReason.UNREADABLE_JSON, "malformed"),
    (track()[:-1], DeadReason.UNREADABLE_JSON, "truncated"),
    (track() + b"}", DeadReason.UNREADABLE_JSON, "trailing"),
    (b'{"a": NaN}', DeadReason.UNREADABLE_JSON, "malformed"),
    (track(userId="U")[:-1].replace(b'"U"', b'"\\ud800"') + b"}", DeadReason.UNREADABLE_JSON, "malformed"),
    (b'{"userId": ' + b"9" * 5_000 + b"}", DeadReason.UNREADABLE_JSON, "out of range"),
    (b"[]", DeadReason.NOT_AN_OBJECT, "'['"),
    (b' ["track"]', DeadReason.NOT_AN_OBJECT, "'['"),
    (b"17", DeadReason.NOT_AN_OBJECT, "'1'"),
    (b"null", DeadReason.NOT_AN_OBJECT, "'n'"),
    (track(userId="a\u00e9").decode("unicode_escape").encode("latin-1"), DeadReason.BAD_ENCODING, "0xe9"),
    (b'{"skipped": "\xff"}', DeadReason.BAD_ENCODING, "0xff"),
    (b'{"a": "\xed\xa0\x80"}', DeadReason.BAD_ENCODING, "0xed"),
    (b"[" * 60_000, DeadReason.TOO_DEEP, "64"),
    (b'{"a":' * 10_000 + b"}" * 10_000, DeadReason.TOO_DEEP, "64"),
    (b'{"properties":{"total":' + b"[" * 5_000 + b"]" * 5_000 + b"}}", DeadReason.TOO_DEEP, "64"),
    (b"[" * 100_000 + b"]" * 100_000, DeadReason.TOO_LARGE, "65536"),
    (track(properties={"x": "y" * 5_000_000}), DeadReason.TOO_LARGE, "65536"),
    (track(type="page"), DeadReason.UNKNOWN_TYPE, "'page'; only track, identify and delete"),
    (track(type="screen"), DeadReason.UNKNOWN_TYPE, "send them as track"),
    (track(type="group"), DeadReason.UNKNOWN_TYPE, "'group'"),
    (track(type="alias"), DeadReason.UNKNOWN_TYPE, "'alias'"),
    (track(type="Track"), DeadReason.UNKNOWN_TYPE, "'Track'"),
    (track(type=["track"]), DeadReason.UNKNOWN_TYPE, "a list"),
    (track(type=None), DeadReason.UNKNOWN_TYPE, 'no "type"'),
    (track(userId=None), DeadReason.MISSING_USER, "no user id"),
    (track(userId=None, anonymousId="x"), DeadReason.MISSING_USER, "only an anonymousId"),
    (track(userId=""), DeadReason.MISSING_USER, "empty"),
    (track(userId=" \t"), DeadReason.MISSING_USER, "empty"),
    (track(userId="a\0b"), DeadReason.BAD_USER, "NUL"),
    (track(userId="x" * 513), DeadReason.BAD_USER, "512"),
    (track(userId="é" * 257), DeadReason.BAD_USER, "512"),
    (track(userId=1.5), DeadReason.BAD_USER, "1.5"),
    (track(userId=True), DeadReason.BAD_USER, "true"),
    (track(userId={"id": 1}), DeadReason.BAD_USER, "an object"),
    (track(userId=10**100), DeadReason.BAD_USER, "100 digits"),
    (track(event=None), DeadReason.MISSING_EVENT, "no event name"),
    (track(event=" "), DeadReason.MISSING_EVENT, "empty"),
    (track(event="x" * 257), DeadReason.BAD_EVENT, "256"),
    (track(event="a\0"), DeadReason.BAD_EVENT, "NUL"),
    (track(event=["a"]), DeadReason.BAD_EVENT, "a list"),
    (track(event=10**30), DeadReason.BAD_EVENT, "very large"),
    (track(timestamp=None), DeadReason.MISSING_TIME, "no time"),
    (track(timestamp=""), DeadReason.MISSING_TIME, "empty"),
    (track(timestamp=1717156800), DeadReason.BAD_TIME, "ISO 8601 text"),
    (track(timestamp="yesterday"), DeadReason.BAD_TIME, "'yesterday'"),
    (track(timestamp="2024-02-30"), DeadReason.BAD_TIME, "'2024-02-30'"),
    (track(timestamp="1900-01-01"), DeadReason.TIME_OUT_OF_RANGE, "1980"),
    (track(timestamp="3000-01-01T00:00:00Z"), DeadReason.TIME_OUT_OF_RANGE, "2100"),
    (track(timestamp="0001-01-01T00:00:00+14:00"), DeadReason.TIME_OUT_OF_RANGE, "1980"),
    (track(timestamp="9999-12-31T23:59:59-14:00"), DeadReason.TIME_OUT_OF_RANGE, "2100"),
    (track(properties={"revenue": "12,50"}), DeadReason.BAD_VALUE, "'12,50'"),
    (track(properties={"revenue": "nan"}), DeadReason.BAD_VALUE, "'nan'"),
    (track(properties={"revenue": "inf"}), DeadReason.BAD_VALUE, "'inf'"),
    (track(properties={"revenue": "1_000"}), DeadReason.BAD_VALUE, "'1_000'"),
    (track(properties={"revenue": True}), DeadReason.BAD_VALUE, "true"),
    (track(properties={"revenue": [1]}), DeadReason.BAD_VALUE, "a list"),
    (track(properties={"revenue": 10**400}), DeadReason.BAD_VALUE, "very large"),
    (track(properties={"revenue": 0}).replace(b"0}", b"1e999}"), DeadReason.BAD_VALUE, "out of range"),
    (
        track(event="Cart Viewed", properties={"revenue": 0}).replace(b"0}", b"1e999}"),
        DeadReason.BAD_VALUE,
        "out of range",
    ),
    (track(properties={"total": 0}).replace(b"0}", b"1e999}"), DeadReason.BAD_PROPERTIES, "'total'"),
    (track(properties=[1]), DeadReason.BAD_PROPERTIES, "object"),
    (track(properties="x"), DeadReason.BAD_PROPERTIES, "object"),
    (track(traits=[1]), DeadReason.BAD_TRAIT, "object"),
    (track(traits={"country": ["DE"]}), DeadReason.BAD_TRAIT, "'country' is a list"),
    (track(traits={"country": "x" * 257}), DeadReason.BAD_TRAIT, "256"),
    (track(traits={"age": "old"}), DeadReason.BAD_TRAIT, "'old'"),
    (track(traits={"age": 0}).replace(b"0}", b"1e999}"), DeadReason.BAD_TRAIT, "out of range"),
    (track(messageId=[]), DeadReason.BAD_MESSAGE_ID, "a list"),
    (track(messageId=1.5), DeadReason.BAD_MESSAGE_ID, "1.5"),
]


@pytest.mark.parametrize(
    ("raw", "reason", "detail"), BAD, ids=[f"{reason}-{n}" for n, (_, reason, _) in enumerate(BAD)]
)
def test_a_bad_record_says_why(raw: bytes, reason: DeadReason, detail: str) -> None:
    found, text = refused(raw)
    assert found is reason
    assert detail in text
    assert len(text) < 300
    assert "\n" not in text


def test_a_trait_that_the_catalog_does_not_name_may_be_anything() -> None:
    assert good(track(traits={"cart": ["a"]})).traits is None


@pytest.mark.parametrize("name", ["Tideline Message Sent", "Tideline Message Dropped"])
def test_of_a_note_of_a_campaign_nothing_is_read_but_whom_it_is_about(name: str) -> None:
    said = {"properties": {"revenue": "none", "total": 5}, "traits": {"age": "young", "country": "DE"}}
    event = good(track(event=name, **said))
    assert event.name == name
    assert isnan(event.value)
    assert (event.properties, event.traits) == (None, None)


def test_a_long_user_id_at_the_limit_is_accepted() -> None:
    assert good(track(userId="é" * 256)).user == "é" * 256
    assert good(track(userId="x" * 512, event="y" * 256)).name == "y" * 256


def test_an_identify_needs_no_event_name_and_looks_at_no_values() -> None:
    assert good(track(type="identify", event=None, properties={"total": "x"})).name is None


def test_a_name_is_checked_also_when_it_comes_a_second_time() -> None:
    decoder = build_decoder(SHOP)
    for _ in range(2):
        assert refused(track(event="x" * 300), decoder)[0] is DeadReason.BAD_EVENT
        assert good(track(event="fine"), decoder).name == "fine"


def test_many_names_are_not_remembered_for_ever() -> None:
    decoder = build_decoder(SHOP)
    for n in range(3_000):
        assert good(track(event=f"name {n}"), decoder).name == f"name {n}"
    assert len(decoder._names) <= 1_024  # type: ignore[attr-defined]


def test_events_later_than_the_given_time_are_refused() -> None:
    decoder = build_decoder(SHOP, latest_s=NOON_S)
    assert good(track(), decoder).time_s == NOON_S
    assert refused(track(timestamp="2024-05-31T12:00:00.001Z"), decoder)[0] is DeadReason.TIME_IN_FUTURE
    # Its time is read all the same: the order of a file must not depend on the clock.
    assert decoder.read_time(track(timestamp="2024-05-31T12:00:00.001Z")) == NOON_S + 0.001


def test_the_size_limit_is_that_of_the_catalog() -> None:
    raw = track(properties={"x": "y" * 1_000})
    small = build_decoder(catalog(SEGMENT, property_bytes=len(raw) - 1))
    assert refused(raw, small)[0] is DeadReason.TOO_LARGE
    assert good(raw, build_decoder(catalog(SEGMENT, property_bytes=len(raw)))).user == "ann"
    tiny = build_decoder(catalog(SEGMENT, property_bytes=256))
    assert refused(b" " * 300 + track(), tiny)[0] is DeadReason.TOO_LARGE


def test_many_brackets_that_are_not_deep_are_fine() -> None:
    raw = track(properties={"items": [{"a": [1]} for _ in range(500)], "text": "[" * 5_000 + '"{' * 50})
    assert good(raw).user == "ann"


def test_a_catalog_that_needs_no_properties_reads_none() -> None:
    text = SEGMENT.split("features")[0] + "predictions: {p: {name: P, window: 7d, goal: {did: Order Completed}}}"
    event = good(track(properties="what", traits=5), build_decoder(catalog(text)))
    assert (event.properties, event.traits) == (None, None)


def test_a_dead_letter_is_json_with_the_original_bytes() -> None:
    text = decode(track(userId=""))
    assert isinstance(text, BadEvent)
    letter = json.loads(text.to_json())
    assert letter["reason"] == "missing_user"
    assert letter["raw"].encode() == track(userId="")
    assert (letter["position"], letter["truncated"]) == (7, False)
    binary = decode(b"\xff\x00")
    assert isinstance(binary, BadEvent)
    assert json.loads(binary.to_json())["raw_base64"] == "/wA="


def test_a_dead_letter_is_cut_and_says_so() -> None:
    event = decode(b"x" * 100_000)
    assert isinstance(event, BadEvent)
    assert event.truncated
    assert len(event.raw) == DEAD_LETTER_BYTES


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([NOON, "2024-05-31", "track", "identify", "Order Completed", "Cart Viewed", "12.5", "", "nan"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
parts = st.dictionaries(st.sampled_from(["revenue", "total", "channel", "products", "country", "age", "x"]), anything)
records = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", "identify"]) | anything, "userId": st.text(max_size=9) | anything},
    optional={
        "event": st.sampled_from(["Order Completed", "Cart Viewed", "Other"]) | anything,
        "timestamp": st.datetimes().map(lambda t: t.isoformat() + "Z") | anything,
        "originalTimestamp": anything,
        "messageId": st.text(max_size=9) | anything,
        "properties": parts | anything,
        "traits": parts | anything,
    },
)


def check(event: Event | BadEvent, raw: bytes) -> None:
    """What holds for whatever comes out of a decoder."""
    if isinstance(event, BadEvent):
        assert event.raw == raw[:DEAD_LETTER_BYTES]
        msgspec.json.decode(event.to_json())
        return
    assert event.user.strip()
    assert "\0" not in event.user
    assert 0 < len(event.user.encode()) <= 512
    assert event.name is None or (event.name.strip() and len(event.name.encode()) <= 256)
    assert EARLIEST_S <= event.time_s <= LATEST_S
    assert isnan(event.value) or abs(event.value) < float("inf")
    assert 0 <= event.message_hash < 2**64
    assert event.traits is None or {type(x) for x in event.traits.values()} <= {str, float, bool}
    assert event.properties != {}


@given(records.map(lambda record: json.dumps(record).encode()))
def test_whatever_the_fields_hold_the_record_is_an_event_or_a_dead_letter(raw: bytes) -> None:
    event = decode(raw)
    check(event, raw)
    assert repr(decode(raw)) == repr(event)
    if isinstance(event, Event):
        assert DECODER.read_time(raw) == event.time_s


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\\ue0d8tynaf. ', max_size=60).map(str.encode))
def test_whatever_the_bytes_are_the_record_is_an_event_or_a_dead_letter(raw: bytes) -> None:
    check(decode(raw), raw)
    DECODER.read_time(raw)


@given(st.binary(max_size=3), st.integers(60, 3_000), st.sampled_from([b"[", b'{"a":', b'["x",{"b":', b'"\\"[",[']))
def test_depth_never_reaches_the_parsers_limit(before: bytes, levels: int, step: bytes) -> None:
    raw = before + step * levels
    check(decode(raw), raw)
    closed = b'{"properties":{"total":' + b"[" * levels + b"]" * levels + b"}}"
    check(decode(closed), closed)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_place_hashes_are_unsigned_64_bit_numbers(source_hash: int, index: int) -> None:
    assert 0 <= place_hash(source_hash, index) < 2**64
    assert place_hash(source_hash, index) != place_hash(source_hash, index + 1)
