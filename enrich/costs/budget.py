"""The month's budget: a calendar month of the user's own time, and all that was paid in it, for whatever."""

from datetime import datetime

from sqlalchemy import Connection

from db.costs import spent_between
from enrich.errors import BudgetError
from enrich.settings import Settings
from enrich.wording import dollars


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """The first moment of the calendar month here, and that of the next one."""
    here = now.astimezone()
    naive = datetime(here.year, here.month, 1)  # noqa: DTZ001  # the zone is that of that day, which may not be today's
    following = datetime(here.year + here.month // 12, here.month % 12 + 1, 1)  # noqa: DTZ001
    return naive.astimezone(), following.astimezone()


def spent_this_month(connection: Connection, now: datetime) -> float:
    """US dollars paid since the month began, also for films that were removed since."""
    return spent_between(connection, *month_of(now))


def check_budget(
    connection: Connection, settings: Settings, usd: float, *, now: datetime, promised: float = 0.0
) -> None:
    """Raise BudgetError if so much more does not fit into the month. `promised`: on its way and not booked yet."""
    spent = spent_this_month(connection, now)
    left = settings.monthly_budget_usd - spent - promised
    if usd > left:
        on_the_way = f" and {dollars(promised)} is on its way" if promised else ""
        raise BudgetError(
            f"{dollars(usd)} does not fit into this month's budget of {dollars(settings.monthly_budget_usd)}: "
            f"{dollars(spent)} is spent{on_the_way}. Allow more: everyframe settings set monthly_budget_usd AMOUNT"
        )
