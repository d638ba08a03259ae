"""The connection to Claude's API: the official SDK, with waiting that is bounded and told.

A request that was refused for the moment (429, 529, 5xx) is sent again after the time the API asks for; it was not
paid. One whose connection broke is not sent again by itself: it may have been paid.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from enrich.describe.claude_errors import AWAY, translated
from enrich.describe.claude_key import api_key
from enrich.errors import HostBusyError, HostDownError, SettingsError
from enrich.settings import foreign_variable
from enrich.wording import span

if TYPE_CHECKING:
    from anthropic import AnthropicError, AsyncAnthropic

OWN_ADDRESS = "https://api.anthropic.com"
GATEWAY = "ANTHROPIC_BASE_URL"
MOST_WAIT_SECONDS = 300.0  # all waits of one request together
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 60.0  # where the API does not say how long; doubled each time
REPLY_SECONDS = 300.0  # time limit of one request
Result = TypeVar("Result")


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
