"""What Claude's API says no with, in sentences for the user."""

from typing import TYPE_CHECKING

from enrich.describe.claude_key import REMEDY
from enrich.errors import (
    AccountError,
    CallFailedError,
    CallTimeoutError,
    DescribeError,
    HostBusyError,
    HostDownError,
    ModelError,
)

if TYPE_CHECKING:
    from anthropic import AnthropicError, APIStatusError

BILLING = "https://platform.claude.com/settings/billing"
STATUS = "https://status.claude.com"
AWAY = "Claude cannot be reached: check the connection to the internet, then ask again"
LONGEST_MESSAGE = 200  # characters of what the API says
BAD_REQUEST, UNAUTHORIZED, PAYMENT, FORBIDDEN, NOT_FOUND, TOO_LARGE = 400, 401, 402, 403, 404, 413
LIMITED, UNAVAILABLE, OVERLOADED = 429, 503, 529
SERVER_ERRORS = 500


class RequestRefusedError(CallFailedError):
    """The API did not take the request as it is: something is wrong with its words or pictures."""


class NotThereError(CallFailedError):
    """What was asked for does not exist at Anthropic, or not for this key."""


def translated(error: "AnthropicError", *, model: str) -> DescribeError:
    """Our error for one of the SDK's, with a sentence that says what to do."""
    from anthropic import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APITimeoutError):
        return CallTimeoutError("Claude gave no answer in time; nothing of the request is stored: ask again later")
    if isinstance(error, APIConnectionError):
        return HostDownError(AWAY)
    if isinstance(error, APIStatusError):
        return refused(error.status_code, error.error_code or error.type or "", _said(error), model=model)
    return CallFailedError("Claude's answer cannot be understood: ask again later")


def refused(status: int, kind: str, said: str, *, model: str) -> DescribeError:  # noqa: PLR0911  # a table of cases
    """Our error for an HTTP status, the API's code or kind of error, and its own words."""
    account = _account_problem(status, kind, said, model)
    if account is not None:
        return account
    if status == NOT_FOUND or kind == "not_found_error":
        if said.startswith("model"):
            return ModelError(f"Claude knows no model {model}: choose another (EVERYFRAME_QUICK_MODEL)")
        return NotThereError(f"Claude does not find what was asked for: {said or 'nothing there'}")
    if status == LIMITED or kind == "rate_limit_error":
        return HostBusyError("Claude allows no more requests for now (rate limit): ask again in a few minutes")
    if status in (OVERLOADED, UNAVAILABLE) or kind == "overloaded_error":
        return HostBusyError(f"Claude is overloaded ({STATUS}): ask again in a few minutes")
    if status >= SERVER_ERRORS or kind in ("api_error", "timeout_error"):
        return HostBusyError(f"Claude had a fault of its own ({STATUS}): ask again in a few minutes")
    if status == TOO_LARGE:
        return RequestRefusedError("the pictures are too many bytes for one request to Claude")
    return RequestRefusedError(f"Claude did not take the request: {said or f'HTTP {status}'}")


def _account_problem(status: int, kind: str, said: str, model: str) -> AccountError | None:
    """What only the owner of the account can mend; before all else, since some of it comes as a rate limit."""
    words = said.lower()
    if status == UNAUTHORIZED or kind == "authentication_error":
        return AccountError(f"Claude refuses the key: {REMEDY}")
    if status == PAYMENT or kind == "billing_error" or "credit balance" in words:
        return AccountError(f"the Claude account has no credit left: add some at {BILLING}, then ask again")
    if "spend_limit" in kind or "spend limit" in words or "usage limits" in words:
        return AccountError(f"the Claude account has reached its own spend limit: raise it at {BILLING}, or wait")
    if status == FORBIDDEN or kind == "permission_error":
        return AccountError(f"this key may not use {model}: {said or 'ask who gave it to you'}")
    return None


def _said(error: "APIStatusError") -> str:
    """The API's own words, in one line."""
    words = " ".join((error.api_message or "").split())
    return words if len(words) <= LONGEST_MESSAGE else f"{words[:LONGEST_MESSAGE]} …"
