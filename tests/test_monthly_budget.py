"""The monthly budget: all costs of the calendar month count, also of removed videos."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from db.engine import writing
from db.migrate import open_library
from db.models import Analysis
from enrich.costs import check_budget, month_of, spent_this_month
from enrich.errors import BudgetError
from enrich.settings import load_settings
from tests.db.library import new_call

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
    ("name", "now", "start", "end"),
    [
        ("UTC", NOW, datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)),
        (
            "UTC",
            datetime(2026, 12, 31, 23, 59, tzinfo=UTC),
            datetime(2026, 12, 1, tzinfo=UTC),
            datetime(2027, 1, 1, tzinfo=UTC),
        ),
        (
            "Asia/Tokyo",
            datetime(2026, 5, 31, 16, tzinfo=UTC),
            datetime(2026, 5, 31, 15, tzinfo=UTC),
            datetime(2026, 6, 30, 15, tzinfo=UTC),
        ),
        # Daylight saving time begins within the month, so its first and last day have different offsets.
        (
            "Europe/Berlin",
            datetime(2026, 3, 30, tzinfo=UTC),
            datetime(2026, 2, 28, 23, tzinfo=UTC),
            datetime(2026, 3, 31, 22, tzinfo=UTC),
        ),
    ],
)
def test_month_is_in_the_users_time_zone(zone, name, now, start, end):
    zone(name)
    assert month_of(now) == (start, end)


def test_budget_allows_what_fits_and_refuses_more(connection, settings, zone):
    zone("UTC")
    pay(connection, 0.7, NOW - timedelta(days=3))
    pay(connection, 5.0, NOW - timedelta(days=30))
    assert spent_this_month(connection, NOW) == pytest.approx(0.7)
    check_budget(connection, settings, 0.3, now=NOW)
    with pytest.raises(
        BudgetError, match=r"\$0.310 exceeds what is left of this month's budget of \$1.00: \$0.700 is spent"
    ):
        check_budget(connection, settings, 0.31, now=NOW)


def test_pending_cost_counts(connection, settings, zone):
    zone("UTC")
    check_budget(connection, settings, 0.5, now=NOW, pending_usd=0.5)
    with pytest.raises(BudgetError, match=r"\$0.600 is pending in batches"):
        check_budget(connection, settings, 0.5, now=NOW, pending_usd=0.6)


def test_zero_budget_allows_free_work_only(connection, settings):
    nothing = settings.model_copy(update={"monthly_budget_usd": 0.0})
    check_budget(connection, nothing, 0.0, now=NOW)
    with pytest.raises(BudgetError):
        check_budget(connection, nothing, 0.001, now=NOW)
