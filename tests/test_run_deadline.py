"""Run deadlines: parsing, and clock changes."""

import time as clock
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta

import pytest

from enrich.clock import end_after, end_by, format_deadline, next_occurrence

EVENING = datetime(2026, 11, 25, 22, 30, tzinfo=UTC)  # a Wednesday


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the system time zone."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        clock.tzset()

    yield set_zone
    monkeypatch.undo()
    clock.tzset()


def test_within_adds_a_duration() -> None:
    assert end_after("8h", EVENING) == EVENING + timedelta(hours=8)
    assert end_after("1h30m", EVENING) == EVENING + timedelta(minutes=90)
    for text, words in (("soon", "write 8h"), ("", "write 8h"), ("-3h", "write 8h"), ("9000h", "longer than a year")):
        with pytest.raises(ValueError, match=words):
            end_after(text, EVENING)


def test_by_is_the_next_occurrence(zone: Callable[[str], None]) -> None:
    zone("Europe/Vienna")  # 23:30 there
    assert end_by("07:00", EVENING) == datetime(2026, 11, 26, 6, 0, tzinfo=UTC)
    assert end_by("7:00", EVENING) == datetime(2026, 11, 26, 6, 0, tzinfo=UTC)
    assert end_by("23:31", EVENING) == datetime(2026, 11, 25, 22, 31, tzinfo=UTC)
    assert end_by("23:30", EVENING) == datetime(2026, 11, 26, 22, 30, tzinfo=UTC)
    assert end_by("2026-11-27 07:00", EVENING) == datetime(2026, 11, 27, 6, 0, tzinfo=UTC)
    assert end_by("2026-11-27T07:00+00:00", EVENING) == datetime(2026, 11, 27, 7, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7", "write 07:00"),
        ("25:00", "not a valid time"),
        ("07:60", "not a valid time"),
        ("morning", "write 07:00"),
        ("2026-11-27", "write 2026-11-27 07:00"),
        ("2026-11-24 07:00", "in the past"),
    ],
)
def test_invalid_deadline_names_the_format(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        end_by(text, EVENING)


def test_deadline_is_local_time_across_clock_changes(zone: Callable[[str], None]) -> None:
    zone("Europe/Vienna")
    before_autumn = datetime(2026, 10, 24, 20, 0, tzinfo=UTC)  # 22:00; at 3:00 it is 2:00 once more
    assert next_occurrence(time(7), before_autumn) == datetime(2026, 10, 25, 6, 0, tzinfo=UTC)
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert next_occurrence(time(2, 30), before_autumn) == first
    assert next_occurrence(time(2, 30), first) == second
    before_spring = datetime(2026, 3, 28, 21, 0, tzinfo=UTC)  # 22:00; after 2:00 comes 3:00
    assert next_occurrence(time(7), before_spring) == datetime(2026, 3, 29, 5, 0, tzinfo=UTC)
    assert next_occurrence(time(2, 30), before_spring) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_deadline_format(zone: Callable[[str], None]) -> None:
    zone("UTC")
    assert format_deadline(EVENING + timedelta(hours=8.5), EVENING) == "07:00"
    assert format_deadline(EVENING + timedelta(hours=32.5), EVENING) == "Friday 07:00"
    assert format_deadline(EVENING + timedelta(days=8), EVENING) == "3 December 22:30"
