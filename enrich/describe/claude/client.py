"""The connection to Claude's API: the official SDK, with waiting that is bounded and told.

A request that was refused for the moment (429, 529, 5xx) is sent again after the time the API asks for; it was not
paid. One whose connection broke is not sent again by itself: it may have been paid.

The key to Claude's API: read here and nowhere else, from the environment or the system's keyring.

It is handed on in a wrapper that does not show it. It is never stored by us, and never logged.

What Claude's API says no with, in sentences for the user.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from pydantic import SecretStr

from enrich.errors import (
    AccountError,
    CallFailedError,
    CallTimeoutError,
    DescribeError,
    HostBusyError,
    HostDownError,
    ModelError,
    SettingsError,
)
from enrich.settings import foreign_variable
from enrich.wording import span

if TYPE_CHECKING:
    from anthropic import AnthropicError, APIStatusError, AsyncAnthropic

VARIABLE = "ANTHROPIC_API_KEY"
SERVICE, USER = "everyframe", "anthropic"
REMEDY = f"set {VARIABLE} in the environment, or put the key into the system's keyring: `keyring set {SERVICE} {USER}`"
BILLING = "https://platform.claude.com/settings/billing"
STATUS = "https://status.claude.com"
AWAY = "Claude cannot be reached: check the connection to the internet, then ask again"
LONGEST_MESSAGE = 200  # characters of what the API says
BAD_REQUEST, UNAUTHORIZED, PAYMENT, FORBIDDEN, NOT_FOUND, TOO_LARGE = 400, 401, 402, 403, 404, 413
LIMITED, UNAVAILABLE, OVERLOADED = 429, 503, 529
SERVER_ERRORS = 500
OWN_ADDRESS = "https://api.anthropic.com"
GATEWAY = "ANTHROPIC_BASE_URL"
MOST_WAIT_SECONDS = 300.0  # all waits of one request together
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 60.0  # where the API does not say how long; doubled each time
REPLY_SECONDS = 300.0  # time limit of one request
Result = TypeVar("Result")


def api_key() -> SecretStr:
    """The key. Raises AccountError, which says how to give one, if there is none."""
    key = find_key()
    if key is None:
        raise AccountError(f"there is no key for Claude: {REMEDY}")
    return key


def find_key() -> SecretStr | None:
    """The key, the environment's first; None if there is none."""
    key = foreign_variable(VARIABLE) or _in_keyring().strip()
    return SecretStr(key) if key else None


def _in_keyring() -> str:
    """What the keyring holds for us; a machine without a keyring has nothing there."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return keyring.get_password(SERVICE, USER) or ""
    except (KeyringError, OSError, RuntimeError):
        return ""


class RequestRefusedError(CallFailedError):
    """The API did not take the request as it is: something is wrong with its words or pictures."""


class NotFoundError(CallFailedError):
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
        return NotFoundError(f"Claude does not find what was asked for: {said or 'nothing there'}")
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


def anthropic_sdk() -> ModuleType:
    """The SDK. Raises SettingsError if it is not installed."""
    try:
        import anthropic
    except ImportError as error:
        raise SettingsError("for Claude a package is missing: pip install 'everyframe[claude]'") from error
    return anthropic


def api_address() -> str:
    """Where requests go: Anthropic's own address, unless the SDK's variable for a gateway is set."""
    return (foreign_variable(GATEWAY) or OWN_ADDRESS).rstrip("/")


class ClaudeClient:
    """One connection, for one event loop. Holds the key, and shows it nowhere."""

    def __init__(
        self,
        *,
        connect_seconds: float,
        told: Callable[[str], None] = lambda _: None,
        stop: asyncio.Event | None = None,
        most_wait: float = MOST_WAIT_SECONDS,
    ) -> None:
        """`told` hears of each wait, in a sentence; once `stop` is set nothing is waited for.

        Raises AccountError, SettingsError if the SDK is missing.
        """
        sdk = anthropic_sdk()
        key = api_key()
        self._told, self._stop = told, stop or asyncio.Event()
        self._most_wait = most_wait
        self._sdk: AsyncAnthropic = sdk.AsyncAnthropic(
            api_key=key.get_secret_value(),
            base_url=api_address(),
            timeout=sdk.Timeout(REPLY_SECONDS, connect=connect_seconds),
            max_retries=0,  # it would wait without a word, and send a request again that may have been paid
            open_telemetry=False,
        )

    @property
    def address(self) -> str:
        """The API's address, without the path."""
        return api_address()

    async def call(self, request: Callable[["AsyncAnthropic"], Awaitable[Result]], *, model: str) -> Result:
        """What `request` brings. Raises DescribeError's subclasses, HostBusyError after all waiting was in vain."""
        from anthropic import AnthropicError
        from httpx2 import HTTPError

        waited, pause = 0.0, FIRST_WAIT_SECONDS
        while True:
            try:
                return await request(self._sdk)
            except HTTPError:  # in the middle of a reply that is read bit by bit
                raise HostDownError(AWAY) from None
            except AnthropicError as error:
                problem = translated(error, model=model)
                if not isinstance(problem, HostBusyError):
                    raise problem from None
                wait = asked_wait(error) or pause
                if waited + wait > self._most_wait:
                    raise problem from None
            self._told(f"Claude is busy; the request is sent again in {span(wait)}")
            if await self._is_over(wait):
                raise problem
            waited += wait
            pause = min(2 * pause, LONGEST_WAIT_SECONDS)

    async def _is_over(self, seconds: float) -> bool:
        """Wait so long; whether somebody wants an end meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return self._stop.is_set()

    async def close(self) -> None:
        """Let go of connections."""
        await self._sdk.close()


def asked_wait(error: "AnthropicError") -> float | None:
    """The seconds the API asks to be left alone for; None if it does not say."""
    response = getattr(error, "response", None)
    said = response.headers.get("retry-after", "") if response is not None else ""
    try:
        seconds = float(said)
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
