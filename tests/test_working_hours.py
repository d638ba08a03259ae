"""Working hours in local time: across midnight, and across clock changes."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from enrich.clock import Hours, parse_hours
from enrich.errors import SettingsError
from enrich.settings import load_settings

BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half-hour clock changes
KOLKATA = ZoneInfo("Asia/Kolkata")


def berlin(*when, fold=0):
    return datetime(*when, tzinfo=BERLIN, fold=fold)


@pytest.mark.parametrize(
    ("clock", "is_open"),
    [((21, 59), False), ((22, 0), True), ((23, 59), True), ((0, 0), True), ((6, 59), True), ((7, 0), False)],
)
def test_hours_cross_midnight(clock, is_open):
    hours = parse_hours("22:00-07:00", BERLIN)
    assert hours.is_open(berlin(2026, 11, 22, *clock)) is is_open


def test_hours_are_local_for_any_time_zone():
    hours = parse_hours("22:00-07:00", BERLIN)
    assert hours.is_open(datetime(2026, 7, 1, 20, 0, tzinfo=UTC))  # 22:00 there in summer
    assert not hours.is_open(datetime(2026, 7, 1, 19, 59, tzinfo=UTC))


def test_next_change_is_the_end_or_the_start():
    hours = parse_hours("22:00-07:00", BERLIN)
    assert hours.next_change(berlin(2026, 11, 22, 14, 30, 15)) == berlin(2026, 11, 22, 22, 0)
    assert hours.next_change(berlin(2026, 11, 22, 22, 0)) == berlin(2026, 11, 23, 7, 0)
    assert hours.next_change(berlin(2026, 11, 23, 6, 59, 59)) == berlin(2026, 11, 23, 7, 0)


def test_spans_may_touch_and_overlap():
    hours = parse_hours("12:00-13:00, 13:00-14:00,22:00-07:00,06:00-08:00", BERLIN)
    assert hours.next_change(berlin(2026, 11, 22, 12, 30)) == berlin(2026, 11, 22, 14, 0)
    assert hours.next_change(berlin(2026, 11, 22, 23, 0)) == berlin(2026, 11, 23, 8, 0)


@pytest.mark.parametrize("text", ["", " , ", "00:00-24:00", "00:00-12:00,12:00-24:00", "18:00-07:00,07:00-18:00"])
def test_hours_without_a_gap_never_change(text):
    hours = parse_hours(text, BERLIN)
    assert all(hours.is_open(berlin(2026, 11, 22, hour, 30)) for hour in range(24))
    assert hours.next_change(berlin(2026, 11, 22, 12)) is None


def test_midnight_can_be_written_in_two_ways():
    for text in ("18:00-24:00", "18:00-00:00"):
        hours = parse_hours(text, BERLIN)
        assert hours.is_open(berlin(2026, 11, 22, 23, 59))
        assert not hours.is_open(berlin(2026, 11, 23, 0, 0))
        assert hours.next_change(berlin(2026, 11, 22, 20)) == berlin(2026, 11, 23)


def test_clock_changes_alter_the_length_of_a_night():
    hours = parse_hours("22:00-07:00", BERLIN)
    for evening, length in (((2026, 3, 28, 22), 8), ((2026, 10, 24, 22), 10), ((2026, 11, 21, 22), 9)):
        begin = berlin(*evening)
        end = hours.next_change(begin)
        assert end.astimezone(UTC) - begin.astimezone(UTC) == timedelta(hours=length)
        assert (end.hour, end.minute) == (7, 0)


def test_hours_starting_in_the_skipped_hour_start_after_it():
    hours = parse_hours("02:30-05:00", BERLIN)  # on 29 March 2026 the clock goes from 02:00 to 03:00
    assert hours.next_change(berlin(2026, 3, 29, 1, 30)) == berlin(2026, 3, 29, 3, 0)
    assert hours.next_change(berlin(2026, 3, 29, 3, 0)) == berlin(2026, 3, 29, 5, 0)


def test_fully_skipped_hours_come_a_day_later():
    hours = parse_hours("02:15-02:45", BERLIN)
    assert hours.next_change(berlin(2026, 3, 29, 1, 0)) == berlin(2026, 3, 30, 2, 15)


def test_hours_ending_in_the_skipped_hour_end_after_it():
    hours = parse_hours("22:00-02:30", BERLIN)
    assert hours.next_change(berlin(2026, 3, 29, 1, 0)) == berlin(2026, 3, 29, 3, 0)


def test_repeated_hour_counts_twice():
    hours = parse_hours("02:15-02:45", BERLIN)  # on 25 October 2026 the clock goes from 03:00 back to 02:00
    changes, moment = [], berlin(2026, 10, 25, 1, 0)
    for _ in range(5):
        moment = hours.next_change(moment)
        changes.append(moment.astimezone(UTC).strftime("%d %H:%M"))
    assert changes == ["25 00:15", "25 00:45", "25 01:15", "25 01:45", "26 01:15"]


def test_half_hour_clock_change():
    hours = parse_hours("01:45-03:00", LORD_HOWE)  # on 5 April 2026 from 02:00 back to 01:30
    begin = hours.next_change(datetime(2026, 4, 4, 12, 0, tzinfo=LORD_HOWE))
    back = hours.next_change(begin)
    again = hours.next_change(back)
    end = hours.next_change(again)
    assert [at.astimezone(UTC) - begin.astimezone(UTC) for at in (back, again, end)] == [
        timedelta(minutes=15),
        timedelta(minutes=30),
        timedelta(minutes=105),
    ]
    # On 4 October 2026 from 02:00 to 02:30: hours starting at 02:10 start at 02:30.
    skipped = parse_hours("02:10-04:00", LORD_HOWE)
    at = skipped.next_change(datetime(2026, 10, 4, 1, 0, tzinfo=LORD_HOWE))
    assert (at.hour, at.minute, at.utcoffset()) == (2, 30, timedelta(hours=11))


def test_time_zone_with_half_hour_offset():
    hours = parse_hours("22:00-07:00", KOLKATA)
    assert hours.next_change(datetime(2026, 11, 22, 12, 0, tzinfo=UTC)) == datetime(2026, 11, 22, 16, 30, tzinfo=UTC)


NIGHTS = parse_hours("22:00-06:00", BERLIN)
HOUR = 3600


@pytest.mark.parametrize(
    ("start", "hours", "end"),
    [
        (berlin(2026, 11, 22, 22, 0), 1, berlin(2026, 11, 22, 23, 0)),
        (berlin(2026, 11, 22, 14, 0), 1, berlin(2026, 11, 22, 23, 0)),  # it waits for the evening
        (berlin(2026, 11, 22, 22, 0), 8, berlin(2026, 11, 23, 6, 0)),  # a whole night
        (berlin(2026, 11, 22, 22, 0), 10, berlin(2026, 11, 24, 0, 0)),  # the rest in the next one
        (berlin(2026, 11, 22, 5, 59, 30), 1, berlin(2026, 11, 22, 22, 59, 30)),
        (berlin(2026, 11, 22, 12, 0), 80, berlin(2026, 12, 2, 6, 0)),  # ten nights
        (berlin(2026, 3, 28, 22, 0), 8, berlin(2026, 3, 29, 23, 0)),  # a night of seven hours
        (berlin(2026, 10, 24, 22, 0), 9, berlin(2026, 10, 25, 6, 0)),  # a night of nine hours
        (berlin(2026, 10, 1, 22, 0), 8 * 100, berlin(2027, 1, 9, 5, 0)),  # one of a hundred has nine hours
        (berlin(2026, 11, 22, 14, 0), 0, berlin(2026, 11, 22, 14, 0)),
    ],
)
def test_work_ends_within_working_hours(start, hours, end):
    assert NIGHTS.end_of_work(start, hours * HOUR) == end
    assert NIGHTS.seconds_between(start, end) == pytest.approx(hours * HOUR)


def test_work_without_working_hours_ends_by_the_clock():
    always, start = parse_hours("", BERLIN), berlin(2026, 3, 28, 22, 0)
    assert always.end_of_work(start, 10 * HOUR) == start.astimezone(UTC) + timedelta(hours=10)
    later = start.astimezone(UTC) + timedelta(days=400, seconds=1.5)
    assert always.seconds_between(start, later) == pytest.approx(400 * 24 * HOUR + 1.5)
    assert always.seconds_between(start, start - timedelta(hours=1)) == 0


def test_no_minute_is_looked_at_without_working_hours(monkeypatch):
    """The status is read twice a second."""
    monkeypatch.setattr(Hours, "_contains", None)
    start = berlin(2026, 11, 22, 3, 7)
    assert Hours().end_of_work(start, 10 * 24 * HOUR + 5) == start + timedelta(days=10, seconds=5)


def test_several_spans_add_up():
    hours = parse_hours("12:00-13:30,22:00-00:00", BERLIN)
    assert hours.seconds_between(berlin(2026, 11, 22, 0, 0), berlin(2026, 11, 24, 0, 0)) == 7 * HOUR
    assert hours.end_of_work(berlin(2026, 11, 22, 13, 0), HOUR) == berlin(2026, 11, 22, 22, 30)


def test_endless_work_has_no_end():
    assert NIGHTS.end_of_work(berlin(2026, 11, 22), 10**9) is None
    assert parse_hours("").end_of_work(berlin(2026, 11, 22), float("inf")) is None


def test_work_time_equals_that_of_the_minutes():
    """Whole days are not counted minute by minute."""
    hours = parse_hours("01:45-03:00,20:10-21:00", LORD_HOWE)
    for day in (datetime(2026, 4, 3, 13, 7, tzinfo=UTC), datetime(2026, 10, 2, 3, 41, tzinfo=UTC)):
        minutes = sum(hours.is_open(day + timedelta(minutes=minute)) for minute in range(3 * 24 * 60))
        assert hours.seconds_between(day, day + timedelta(days=3)) == 60 * minutes


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ignores TZ")
def test_default_is_the_system_time_zone():
    script = (
        "from datetime import UTC, datetime; from enrich.clock import Hours, parse_hours; "
        "hours = parse_hours('22:00-07:00'); moment = datetime(2026, 7, 1, 20, 0, tzinfo=UTC); "
        "print(hours.is_open(moment), hours.next_change(moment).isoformat())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TZ": "CET-1CEST,M3.5.0,M10.5.0/3"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["True", "2026-07-02T07:00:00+02:00"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("22-7", "22:00-07:00"),
        (" 22:00 – 7:30 ", "22:00-07:30"),
        ("24:00-06:00", "00:00-06:00"),
        ("12:00-13:00,22:00-07:00", "12:00-13:00,22:00-07:00"),
        ("", ""),
    ],
)
def test_input_is_normalized(text, meant):
    assert str(parse_hours(text)) == meant
    assert parse_hours(meant) == parse_hours(text)


@pytest.mark.parametrize(
    "text", ["night", "22:00", "22:00-25:00", "22:60-07:00", "24:01-07:00", "-", "10pm-7am", "7-7"]
)
def test_invalid_hours_name_the_format(text):
    with pytest.raises(ValueError, match=r"22:00-07:00|leave working hours empty"):
        parse_hours(text)


def test_invalid_hours_setting_names_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path))
    monkeypatch.setenv("EVERYFRAME_HOURS", "22 to 7")
    with pytest.raises(SettingsError, match=r"EVERYFRAME_HOURS: '22 to 7' is not a valid time range"):
        load_settings()
    monkeypatch.setenv("EVERYFRAME_HOURS", "22-7")
    assert load_settings().hours == "22:00-07:00"
