"""Reading times: ISO 8601 with and without a zone, seconds, milliseconds, and what is none of these."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalog import TimeField
from config.errors import CatalogError
from streams.core.event_time import EARLIEST_S, LATEST_S, TimeReader, time_reader, zone
from streams.core.events import DeadReason
from streams.core.refusal import Refused
from tests.unit.decode_world import NOON_S

ISO = time_reader()
BERLIN = time_reader(TimeField(field="t", timezone="Europe/Berlin"))
SECONDS = time_reader(TimeField(field="t", unit="s"))
MILLIS = time_reader(TimeField(field="t", unit="ms"))

MIDNIGHT_S = NOON_S - 43_200


@pytest.mark.parametrize(
    ("reader", "value", "time_s"),
    [
        (ISO, "2024-05-31T12:00:00Z", NOON_S),
        (ISO, "2024-05-31T12:00:00+00:00", NOON_S),
        (ISO, "2024-05-31T14:00:00+02:00", NOON_S),
        (ISO, "2024-05-31T12:00:00", NOON_S),
        (ISO, "2024-05-31 12:00", NOON_S),
        (ISO, "2024-05-31T12:00:00.250Z", NOON_S + 0.25),
        (ISO, "2024-05-31T12:00:00.123456789Z", NOON_S + 0.123456),
        (ISO, "20240531T120000Z", NOON_S),
        (ISO, "2024-05-31 12:00:00 UTC", NOON_S),
        (ISO, "  2024-05-31T12:00:00Z\n", NOON_S),
        (ISO, "2024-05-31", MIDNIGHT_S),
        (ISO, "20240531", MIDNIGHT_S),
        (BERLIN, "2024-05-31", MIDNIGHT_S - 7200),
        (BERLIN, "2024-05-31T14:00:00", NOON_S),
        (BERLIN, "2024-01-31T13:00:00", datetime(2024, 1, 31, 12, tzinfo=UTC).timestamp()),
        (BERLIN, "2024-05-31T12:00:00Z", NOON_S),
        (SECONDS, 1717156800, NOON_S),
        (SECONDS, 1717156800.5, NOON_S + 0.5),
        (SECONDS, "1717156800", NOON_S),
        (SECONDS, " 1717156800.5 ", NOON_S + 0.5),
        (SECONDS, "1.7171568e9", NOON_S),
        (MILLIS, 1717156800250, NOON_S + 0.25),
        (MILLIS, "1717156800250", NOON_S + 0.25),
        (SECONDS, EARLIEST_S, EARLIEST_S),
        (SECONDS, LATEST_S, LATEST_S),
    ],
)
def test_a_time_is_read(reader: TimeReader, value: object, time_s: float) -> None:
    for _ in range(2):  # dates are remembered
        assert reader(value) == pytest.approx(time_s, abs=1e-7)


@pytest.mark.parametrize(
    ("reader", "value", "reason"),
    [
        (ISO, "2024-13-01", DeadReason.BAD_TIME),
        (ISO, "2024-05-31T25:00:00Z", DeadReason.BAD_TIME),
        (ISO, "2024-05-31T23:59:60Z", DeadReason.BAD_TIME),
        (ISO, "31.05.2024", DeadReason.BAD_TIME),
        (ISO, "NaN", DeadReason.BAD_TIME),
        (ISO, "NaT", DeadReason.BAD_TIME),
        (ISO, "1717156800", DeadReason.BAD_TIME),
        (ISO, "\ud800", DeadReason.BAD_TIME),
        (ISO, 1717156800, DeadReason.BAD_TIME),
        (ISO, [], DeadReason.BAD_TIME),
        (ISO, "", DeadReason.MISSING_TIME),
        (ISO, "  ", DeadReason.MISSING_TIME),
        (ISO, None, DeadReason.MISSING_TIME),
        (ISO, "1979-12-31T23:59:59Z", DeadReason.TIME_OUT_OF_RANGE),
        (ISO, "1979-12-31", DeadReason.TIME_OUT_OF_RANGE),
        (ISO, "2100-01-01T00:00:01Z", DeadReason.TIME_OUT_OF_RANGE),
        (ISO, "1717156800250", DeadReason.BAD_TIME),
        (BERLIN, "0001-01-01", DeadReason.TIME_OUT_OF_RANGE),
        (BERLIN, "9999-12-31", DeadReason.TIME_OUT_OF_RANGE),
        (SECONDS, float("nan"), DeadReason.TIME_OUT_OF_RANGE),
        (SECONDS, "nan", DeadReason.TIME_OUT_OF_RANGE),
        (SECONDS, float("inf"), DeadReason.TIME_OUT_OF_RANGE),
        (SECONDS, 10**400, DeadReason.TIME_OUT_OF_RANGE),
        (SECONDS, 1717156800250, DeadReason.TIME_OUT_OF_RANGE),
        (SECONDS, 0, DeadReason.TIME_OUT_OF_RANGE),
        (SECONDS, "2024-05-31", DeadReason.BAD_TIME),
        (SECONDS, "1_717_156_800", DeadReason.BAD_TIME),
        (SECONDS, True, DeadReason.BAD_TIME),
        (SECONDS, "", DeadReason.MISSING_TIME),
        (SECONDS, None, DeadReason.MISSING_TIME),
        (MILLIS, 1717156800, DeadReason.TIME_OUT_OF_RANGE),
        (MILLIS, {}, DeadReason.BAD_TIME),
    ],
)
def test_what_is_no_time_says_why(reader: TimeReader, value: object, reason: DeadReason) -> None:
    with pytest.raises(Refused) as refused:
        reader(value)
    assert refused.value.reason is reason
    assert len(refused.value.detail) < 200


def test_a_wrong_unit_is_hinted_at() -> None:
    with pytest.raises(Refused, match=r"input\.time\.unit"):
        SECONDS(1717156800250)
    with pytest.raises(Refused, match=r"input\.time\.unit"):
        ISO("1717156800")


moments = st.datetimes(min_value=datetime.fromisoformat("1981-01-01"), max_value=datetime.fromisoformat("2099-01-01"))
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments, offsets)
def test_iso_times_with_an_offset_are_those_of_datetime(moment: datetime, offset: timezone) -> None:
    aware = moment.replace(tzinfo=offset)
    assert ISO(aware.isoformat()) == BERLIN(aware.isoformat()) == aware.timestamp()


@given(moments)
def test_naive_times_are_in_the_zone_of_the_mapping(moment: datetime) -> None:
    assert ISO(moment.isoformat()) == moment.replace(tzinfo=UTC).timestamp()
    assert BERLIN(moment.isoformat()) == moment.replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


CLOCK_CHANGES = [
    # In spring an hour is missing: read with the offset from before it, so it ends up an hour later on the clock.
    (BERLIN, "2024-03-31T01:59:59", "2024-03-31T00:59:59Z"),
    (BERLIN, "2024-03-31T02:30:00", "2024-03-31T01:30:00Z"),
    (BERLIN, "2024-03-31T03:30:00", "2024-03-31T01:30:00Z"),
    # In autumn an hour comes twice: the first time is meant.
    (BERLIN, "2024-10-27T01:59:59", "2024-10-26T23:59:59Z"),
    (BERLIN, "2024-10-27T02:30:00", "2024-10-27T00:30:00Z"),
    (BERLIN, "2024-10-27T03:00:00", "2024-10-27T02:00:00Z"),
    # Whoever writes the offset says which one.
    (BERLIN, "2024-10-27T02:30:00+02:00", "2024-10-27T00:30:00Z"),
    (BERLIN, "2024-10-27T02:30:00+01:00", "2024-10-27T01:30:00Z"),
    # A midnight that does not exist: the day begins at one.
    (time_reader(TimeField(field="t", timezone="America/Sao_Paulo")), "2018-11-04", "2018-11-04T03:00:00Z"),
    # A zone that is a fixed offset has no such hours.
    (time_reader(TimeField(field="t", timezone="Etc/GMT-1")), "2024-03-31T02:30:00", "2024-03-31T01:30:00Z"),
]


@pytest.mark.parametrize(("reader", "text", "utc"), CLOCK_CHANGES)
def test_hours_that_clocks_leave_out_or_repeat(reader: TimeReader, text: str, utc: str) -> None:
    assert reader(text) == ISO(utc)


@given(st.lists(st.dates(min_value=date(1981, 1, 1), max_value=date(2099, 1, 1)), max_size=20))
def test_dates_are_midnight(days: list[date]) -> None:
    for day in days + days:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        assert ISO(day.isoformat()) == ISO(day.strftime("%Y%m%d")) == midnight


@given(st.text(max_size=30) | st.text(alphabet="0123456789-:TZ+. W", max_size=30))
def test_any_text_is_a_time_in_range_or_refused(text: str) -> None:
    for reader in (ISO, BERLIN, SECONDS, MILLIS):
        try:
            time_s = reader(text)
        except Refused:
            continue
        assert EARLIEST_S <= time_s <= LATEST_S


@pytest.mark.parametrize("name", ["Nowhere/City", "../etc/passwd", "", "Europe"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(CatalogError, match=r"input\.time\.timezone"):
        zone(name)
