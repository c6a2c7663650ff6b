"""Times as Fluent Bit's parsers read them."""

import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.timeformat import TimeFormat, Zone, parse_offset

NOW = 1_772_359_200_000_000_000


def parse(layout: str, text: str, zone: Zone | None = None) -> int | None:
    return TimeFormat(layout, zone=zone or Zone(), clock=lambda: NOW).parse(text)


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type]  # year, month, day, …


@pytest.mark.parametrize(
    ("layout", "text", "seconds", "nanoseconds"),
    [
        ("%Y-%m-%dT%H:%M:%S.%L%z", "2026-03-01T10:00:00.123Z", utc(2026, 3, 1, 10), 123_000_000),
        ("%Y-%m-%dT%H:%M:%S.%L%z", "2026-03-01T10:00:00.123456789+02:00", utc(2026, 3, 1, 8), 123_456_789),
        ("%Y-%m-%dT%H:%M:%S.%L", "2026-03-01T10:00:00.5", utc(2026, 3, 1, 10), 500_000_000),
        ("%d/%b/%Y:%H:%M:%S %z", "10/Oct/2025:13:55:36 -0700", utc(2025, 10, 10, 20, 55, 36), 0),
        ("%s", "1700000000", 1_700_000_000, 0),
        ("%s.%L", "1700000000.25", 1_700_000_000, 250_000_000),
        ("%F %T", "2026-03-01 10:00:01", utc(2026, 3, 1, 10, 0, 1), 0),
        ("%D %R", "03/01/26 10:02", utc(2026, 3, 1, 10, 2), 0),
        ("%a %b %e %H:%M:%S %Y", "Sun Mar  1 10:00:00 2026", utc(2026, 3, 1, 10), 0),
        ("%A, %d %B %Y %I:%M %p", "Sunday, 01 march 2026 12:30 am", utc(2026, 3, 1, 0, 30), 0),
        ("%Y %j", "2026 060", utc(2026, 3, 1), 0),
        ("%b %d %H:%M:%S", "Mar  1 09:00:00", utc(2026, 3, 1, 9), 0),
        ("%H:%M:%S", "09:00:00", utc(2026, 3, 1, 9), 0),
        ("%Y-%m-%d %H:%M:%S", "2016-12-31 23:59:60", utc(2017, 1, 1), 0),
        ("%Y-%m-%d", "2026-03-01 and more text", utc(2026, 3, 1), 0),
        ("100%% %Y", "100% 2026", utc(2026, 1, 1), 0),
    ],
)
def test_a_time_of_the_format_is_read(layout: str, text: str, seconds: int, nanoseconds: int) -> None:
    assert parse(layout, text) == seconds * 1_000_000_000 + nanoseconds


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("%Y-%m-%d", "yesterday"),
        ("%Y-%m-%d", "2026-13-01"),
        ("%Y-%m-%d", "2026-02-30"),
        ("%Y-%m-%d %z", "2026-03-01 nowhere"),
        ("%H:%M:%S.%L", "10:00:00."),
        ("%d/%b/%Y", "10/Oxt/2025"),
        ("%Y", ""),
    ],
)
def test_what_is_not_of_the_format_is_no_time(layout: str, text: str) -> None:
    assert parse(layout, text) is None


def test_a_time_without_zone_takes_the_offset_the_named_zone_or_the_hosts() -> None:
    text, layout = "2026-07-01 12:00:00", "%Y-%m-%d %H:%M:%S"
    assert parse(layout, text, Zone(offset=7200)) == utc(2026, 7, 1, 10) * 10**9
    assert parse(layout, text, Zone(named=ZoneInfo("America/New_York"))) == utc(2026, 7, 1, 16) * 10**9
    assert parse(layout, text, Zone(local=True)) == int(time.mktime((2026, 7, 1, 12, 0, 0, 0, 0, -1))) * 10**9


def test_an_unknown_directive_is_refused() -> None:
    with pytest.raises(ValueError, match="'%Q' is not supported"):
        TimeFormat("%Y %Q", zone=Zone(), clock=lambda: NOW)


@pytest.mark.parametrize(
    ("text", "seconds"), [("Z", 0), ("+0200", 7200), ("-07:30", -27000), ("+02", 7200), ("+0000", 0)]
)
def test_an_offset_is_read(text: str, seconds: int) -> None:
    assert parse_offset(text) == seconds


@pytest.mark.parametrize("text", ["", "0200", "+2", "+0260", "CET"])
def test_a_malformed_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an offset"):
        parse_offset(text)


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
    st.integers(0, 999),
)
def test_a_written_time_is_read_back(when: datetime, minutes: int, milliseconds: int) -> None:
    zoned = when.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    text = zoned.strftime(f"%Y-%m-%dT%H:%M:%S.{milliseconds:03d}%z")
    read = parse("%Y-%m-%dT%H:%M:%S.%L%z", text)
    assert read is not None
    assert abs(read - (int(zoned.timestamp()) * 10**9 + milliseconds * 10**6)) <= 1  # through a double, as Fluent Bit


def test_the_same_second_is_remembered_but_not_its_fraction() -> None:
    layout = TimeFormat("%H:%M:%S.%L %Y", zone=Zone(), clock=lambda: NOW)
    first, second = layout.parse("10:00:00.1 2026"), layout.parse("10:00:00.9 2026")
    assert first is not None
    assert second is not None
    assert second - first == 800_000_000
