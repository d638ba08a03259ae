"""The monthly budget: all costs of the calendar month count, also of removed videos."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from db import reservations
from db.engine import writing
from db.migrate import open_library
from db.models import Analysis
from db.reservations import Describing
from db.runs import ProcessIdentity
from enrich.costs import check_budget, month_start, spent_this_month
from enrich.errors import BudgetError, SettingsError
from enrich.settings import load_settings
from tests.db.library import add, extract, new_call

SENDER = ProcessIdentity("here", 1, 1.0)
NOW = datetime(2026, 5, 15, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path))
    monkeypatch.setenv("EVERYFRAME_MONTHLY_BUDGET_USD", "1")
    return load_settings()


@pytest.fixture
def zone(monkeypatch):
    def put(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def connection(tmp_path):
    engine = open_library(f"sqlite:///{tmp_path / 'library.db'}")
    with writing(engine) as connection:
        yield connection
    engine.dispose()


def pay(connection, usd, at):
    call = new_call(cost_usd=usd)
    values = {name: getattr(call, name) for name in call.__dataclass_fields__}
    connection.execute(insert(Analysis).values(**values, **{"pass": "quick"}, frame_id=None, created_at=at))


@pytest.mark.parametrize(
    ("name", "now", "start"),
    [
        ("UTC", NOW, datetime(2026, 5, 1, tzinfo=UTC)),
        ("UTC", datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)),
        ("Asia/Tokyo", datetime(2026, 5, 31, 16, tzinfo=UTC), datetime(2026, 5, 31, 15, tzinfo=UTC)),
        # Daylight saving time begins within the month, so its first and last day have different offsets.
        ("Europe/Berlin", datetime(2026, 3, 30, tzinfo=UTC), datetime(2026, 2, 28, 23, tzinfo=UTC)),
    ],
)
def test_month_is_in_the_users_time_zone(zone, name, now, start):
    zone(name)
    assert month_start(now) == start


def test_budget_allows_what_fits_and_refuses_more(connection, settings, zone):
    zone("UTC")
    pay(connection, 0.7, NOW - timedelta(days=3))
    pay(connection, 5.0, NOW - timedelta(days=30))
    assert spent_this_month(connection, NOW) == pytest.approx(0.7)
    check_budget(connection, settings, 0.3, now=NOW)
    with pytest.raises(
        BudgetError, match=r"up to \$0.310 exceeds what is left of this month's budget of \$1.00: \$0.700 is spent"
    ):
        check_budget(connection, settings, 0.31, now=NOW)


def reserve(connection, usd, at, *, request="r"):
    [frame] = extract(connection, add(connection, f"video-{request}"), 1)
    what = Describing("claude", "claude-haiku-5-5", "quick-1")
    shares = {reservations.label_of(frame): usd}
    reservations.reserve(connection, request, shares, what, sender=SENDER, now=at)


def test_reserved_money_counts_until_it_is_released(connection, settings, zone):
    zone("UTC")
    reserve(connection, 0.6, NOW)
    with pytest.raises(BudgetError, match=r"\$0.600 is reserved for requests under way"):
        check_budget(connection, settings, 0.5, now=NOW)
    reservations.release(connection, ["r"])
    check_budget(connection, settings, 0.5, now=NOW)


def test_cost_counts_in_the_month_in_which_it_was_sent(connection, settings, zone):
    zone("UTC")
    last_second = datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC)
    reserve(connection, 0.9, last_second)
    check_budget(connection, settings, 0.9, now=last_second + timedelta(seconds=2))
    assert reservations.record_uncertain(connection, "r", "killed") == 1  # also when it is recorded in the next one
    assert spent_this_month(connection, last_second + timedelta(seconds=2)) == 0.0
    assert spent_this_month(connection, last_second) == pytest.approx(0.9)


def test_clock_that_is_set_back_frees_no_money(connection, settings, zone):
    zone("UTC")
    pay(connection, 0.5, NOW)
    reserve(connection, 0.4, NOW)
    for earlier in (NOW - timedelta(days=40), NOW - timedelta(days=4000)):
        with pytest.raises(BudgetError):
            check_budget(connection, settings, 0.2, now=earlier)


@pytest.mark.parametrize("amount", ["nan", "inf", "-1", "-0.01", "1e999"])
def test_budget_that_limits_nothing_is_refused(monkeypatch, tmp_path, amount):
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path))
    monkeypatch.setenv("EVERYFRAME_MONTHLY_BUDGET_USD", amount)
    with pytest.raises(SettingsError, match="EVERYFRAME_MONTHLY_BUDGET_USD"):
        load_settings()


def test_zero_budget_allows_free_work_only(connection, settings):
    nothing = settings.model_copy(update={"monthly_budget_usd": 0.0})
    check_budget(connection, nothing, 0.0, now=NOW)
    with pytest.raises(BudgetError):
        check_budget(connection, nothing, 0.001, now=NOW)
