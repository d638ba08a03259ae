"""The client of Claude's API: API key, error messages, and the official SDK with our own backoff.

A request that Claude rejected for now (429, 529, 5xx) was not charged; it is retried with backoff, or after the API's
`retry-after`, up to a limit. A request whose connection broke, or that a gateway answered, is not retried, because it
may have been charged. `may_be_charged` tells the two apart.

A message or a batch can be created with a `ReservedRequest` only, the proof that the most it may cost is set aside in
the library's budget and that nobody else sends its images. No other module creates any.

The SDK reads whatever arrives and does not check its types. So responses have a limit of size and of time, and
`ClaudeClient.call` turns every failure into one of our errors, including those of reading a response.

The API key is read here only, from the environment or the system's keyring. It is passed on in a `SecretStr`, and is
never stored or logged.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from enrich.describe.quick.protocol import ReservedRequest
from enrich.errors import (
    AccountError,
    BudgetError,
    CallFailedError,
    CallTimeoutError,
    DescribeError,
    EveryFrameError,
    HostBusyError,
    HostDownError,
    ModelError,
    SettingsError,
)
from enrich.settings import external_variable
from enrich.wording import format_duration, one_line

if TYPE_CHECKING:
    from anthropic import AnthropicError, AsyncAnthropic
    from anthropic.types import Message

KEY_VARIABLE = "ANTHROPIC_API_KEY"
SERVICE, USER = "everyframe", "anthropic"
KEY_HELP = (
    f"set {KEY_VARIABLE} in the environment, or put the key into the system's keyring: `keyring set {SERVICE} {USER}`"
)
BILLING_URL = "https://platform.claude.com/settings/billing"
STATUS_URL = "https://status.claude.com"
UNREACHABLE = "Claude cannot be reached: check the internet connection, then try again"
MAX_MESSAGE_CHARACTERS = 200  # of the API's own message
OVERLOADED = 529  # an HTTP status of Claude's own
INTERNAL_ERROR = HTTPStatus.INTERNAL_SERVER_ERROR
GATEWAY_STATUSES = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
DEFAULT_ADDRESS = "https://api.anthropic.com"
ADDRESS_VARIABLE = "ANTHROPIC_BASE_URL"
MAX_WAIT_SECONDS = 300.0  # backoff of one request in total
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 2.0, 60.0  # without `retry-after`; doubled each time
REQUEST_TIMEOUT_SECONDS = 300.0  # without a byte
RESPONSE_TIMEOUT_SECONDS = 900.0  # in total: the limit above alone would accept a byte now and then
MAX_RESPONSE_BYTES = 1_000_000
MAX_BATCH_RESPONSE_BYTES = 64_000_000  # the results of all requests of a batch
NO_ANSWER_IN_TIME = "Claude did not answer in time, so nothing was saved: try again later"
UNREADABLE = "Claude's response could not be read: try again later"
Result = TypeVar("Result")


class RequestRefusedError(CallFailedError):
    """The API rejected the request: something is wrong with its text or images."""


class NotFoundError(CallFailedError):
    """The requested object does not exist at Anthropic, or not for this key."""


class NotSentError(HostDownError):
    """There was no connection, so nothing was sent."""


class GatewayError(HostBusyError):
    """A server on the way to Claude reported an error: the request may have arrived."""


class ImagesTakenError(DescribeError):
    """Another process is sending these images, or has sent them. `labels`: which."""

    def __init__(self, labels: Collection[str]) -> None:
        super().__init__("another process is describing these frames")
        self.labels = frozenset(labels)


UNCHARGED = (
    NotSentError,
    HostBusyError,
    ModelError,
    SettingsError,
    RequestRefusedError,
    NotFoundError,
    BudgetError,
    ImagesTakenError,
)


def may_be_charged(error: BaseException) -> bool:
    """Whether a request that ended with this error may have been charged. Also if it was cancelled."""
    return isinstance(error, GatewayError) or not isinstance(error, UNCHARGED)


def api_key() -> SecretStr:
    """The API key. Raises AccountError, with instructions, if there is none."""
    key = find_key()
    if key is None:
        raise AccountError(f"no Claude API key found: {KEY_HELP}")
    return key


def find_key() -> SecretStr | None:
    """The API key, from the environment or else the keyring; None if there is none."""
    key = external_variable(KEY_VARIABLE) or _keyring_key().strip()
    return SecretStr(key) if key else None


def _keyring_key() -> str:
    """The key in the keyring; "" if there is none, or no keyring."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return keyring.get_password(SERVICE, USER) or ""
    except (KeyringError, OSError, RuntimeError):
        return ""


def to_describe_error(error: "AnthropicError", *, model: str) -> DescribeError:
    """Translate an SDK error into ours, with a message that names the next step."""
    from anthropic import APIConnectionError, APIStatusError, APITimeoutError
    from httpx2 import ConnectError, ConnectTimeout

    if isinstance(error, APIConnectionError) and isinstance(error.__cause__, (ConnectError, ConnectTimeout)):
        return NotSentError(UNREACHABLE)
    if isinstance(error, APITimeoutError):
        return CallTimeoutError(NO_ANSWER_IN_TIME)
    if isinstance(error, APIConnectionError):
        return HostDownError(UNREACHABLE)
    if isinstance(error, APIStatusError):
        code = error.error_code or error.type or ""
        if error.status_code in GATEWAY_STATUSES or (error.status_code >= INTERNAL_ERROR and error.type is None):
            return GatewayError(f"a gateway answered instead of Claude (HTTP {error.status_code}): try again later")
        return error_for_response(error.status_code, code, error.api_message or "", model=model)
    return CallFailedError(UNREADABLE)


def error_for_response(status: int, kind: str, message: str, *, model: str) -> DescribeError:  # noqa: PLR0911  # a table
    """Our error for an HTTP status, the API's error code or type, and its message."""
    message = one_line(message, MAX_MESSAGE_CHARACTERS)
    account = _account_error(status, kind, message, model)
    if account is not None:
        return account
    if status == HTTPStatus.NOT_FOUND or kind == "not_found_error":
        if message.startswith("model"):
            return ModelError(f"Claude has no model {model}: set EVERYFRAME_QUICK_MODEL to another one")
        return NotFoundError(f"Claude did not find the requested object: {message or 'no reason given'}")
    if status == HTTPStatus.TOO_MANY_REQUESTS or kind == "rate_limit_error":
        return HostBusyError("Claude's rate limit is reached: try again in a few minutes")
    if status in (OVERLOADED, HTTPStatus.SERVICE_UNAVAILABLE) or kind == "overloaded_error":
        return HostBusyError(f"Claude is overloaded ({STATUS_URL}): try again in a few minutes")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or kind in ("api_error", "timeout_error"):
        return HostBusyError(f"Claude had an internal error ({STATUS_URL}): try again in a few minutes")
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return RequestRefusedError("the images are too large for one request to Claude: choose fewer key frames")
    return RequestRefusedError(f"Claude rejected the request: {message or f'HTTP {status}'}")


def _account_error(status: int, kind: str, message: str, model: str) -> AccountError | None:
    """Errors that only the account's owner can fix. Checked first, because some of them come as a rate limit."""
    text = message.lower()
    if status == HTTPStatus.UNAUTHORIZED or kind == "authentication_error":
        return AccountError(f"Claude rejected the API key: {KEY_HELP}")
    if status == HTTPStatus.PAYMENT_REQUIRED or kind == "billing_error" or "credit balance" in text:
        return AccountError(f"the Claude account has no credit left: add credit at {BILLING_URL}, then try again")
    if "spend_limit" in kind or "spend limit" in text or "usage limits" in text:
        return AccountError(f"the Claude account has reached its spend limit: raise it at {BILLING_URL}, or wait")
    if status == HTTPStatus.FORBIDDEN or kind == "permission_error":
        return AccountError(f"this API key may not use {model}: {message or 'ask the owner of the key'}")
    return None


def anthropic_sdk() -> ModuleType:
    """The SDK. Raises SettingsError if it is not installed."""
    try:
        import anthropic
    except ImportError as error:
        raise SettingsError("the Claude SDK is not installed: run `pip install 'everyframe[claude]'`") from error
    return anthropic


def api_address() -> str:
    """The address of the API: Anthropic's, unless the SDK's variable for a gateway is set."""
    return (external_variable(ADDRESS_VARIABLE) or DEFAULT_ADDRESS).rstrip("/")


class ClaudeClient:
    """One connection, for one event loop. Holds the API key and does not expose it."""

    def __init__(
        self,
        *,
        connect_seconds: float,
        on_wait: Callable[[str], None] = lambda _: None,
        stop: asyncio.Event | None = None,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        """`on_wait` is called with a sentence before each backoff; setting `stop` ends the backoff.

        Raises AccountError without a key, SettingsError without the SDK.
        """
        sdk = anthropic_sdk()
        key = api_key()
        self._on_wait, self._stop = on_wait, stop or asyncio.Event()
        self._max_wait_seconds = max_wait_seconds
        timeout = sdk.Timeout(REQUEST_TIMEOUT_SECONDS, connect=connect_seconds)
        self._sdk: AsyncAnthropic = sdk.AsyncAnthropic(
            api_key=key.get_secret_value(),
            base_url=api_address(),
            timeout=timeout,
            http_client=sdk.DefaultAsyncHttpxClient(timeout=timeout, event_hooks={"response": [_limit_size]}),
            default_headers={"Accept-Encoding": "identity"},  # so that a few bytes cannot become gigabytes
            max_retries=0,  # the SDK would wait silently, and resend requests that may have been charged
            open_telemetry=False,
        )

    @property
    def address(self) -> str:
        """The API's address, without the path."""
        return api_address()

    async def create_message(
        self,
        parameters: Mapping[str, Any],
        reservation: ReservedRequest,
        read: "Callable[[Message], Result]",
        *,
        model: str,
    ) -> Result:
        """Send a message and return what `read` makes of the reply. Costs money. Raises as `call`."""
        if not isinstance(reservation, ReservedRequest):
            raise TypeError("a message needs a reservation")

        async def create(sdk: "AsyncAnthropic") -> Result:
            return read(await sdk.messages.create(**parameters))

        return await self._call(create, model=model, is_paid=True)

    async def create_batch(
        self, requests: Sequence[Mapping[str, Any]], reservations: Sequence[ReservedRequest], *, model: str
    ) -> str:
        """Send a batch and return its id. Costs money. Raises as `call`."""
        if {request["custom_id"] for request in requests} != {reservation.id for reservation in reservations}:
            raise TypeError("every request of a batch needs a reservation")

        async def create(sdk: "AsyncAnthropic") -> str:
            batch = await sdk.messages.batches.create(requests=requests)  # type: ignore[arg-type]  # dicts of that form
            return identifier(batch.id)

        return await self._call(create, model=model, is_paid=True)

    async def call(self, request: Callable[["AsyncAnthropic"], Awaitable[Result]], *, model: str) -> Result:
        """Return the result of `request`, which also reads the response. For requests that are free of charge.

        Raises DescribeError's subclasses: HostBusyError after the last retry, CallFailedError if the response has
        another form than the API documents.
        """
        return await self._call(request, model=model, is_paid=False)

    async def _call(
        self, request: Callable[["AsyncAnthropic"], Awaitable[Result]], *, model: str, is_paid: bool
    ) -> Result:
        from anthropic import AnthropicError

        waited, backoff = 0.0, INITIAL_BACKOFF_SECONDS
        while True:
            try:
                return await self._attempt(request)
            except AnthropicError as error:
                if isinstance(error.__cause__, DescribeError):  # while the SDK read the response
                    raise error.__cause__ from None
                problem = to_describe_error(error, model=model)
                if not isinstance(problem, HostBusyError) or (is_paid and may_be_charged(problem)):
                    raise problem from None
                wait = retry_after_seconds(error) or backoff
                if waited + wait > self._max_wait_seconds:
                    raise problem from None
            self._on_wait(f"Claude is busy; retrying in {format_duration(wait)}")
            if await self._stopped_within(wait):
                raise problem
            waited += wait
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)

    async def _attempt(self, request: Callable[["AsyncAnthropic"], Awaitable[Result]]) -> Result:
        """The result of one request. Raises AnthropicError or DescribeError's subclasses."""
        from anthropic import AnthropicError
        from httpx2 import HTTPError

        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
                return await request(self._sdk)
        except (AnthropicError, EveryFrameError):
            raise
        except TimeoutError:
            raise CallTimeoutError(NO_ANSWER_IN_TIME) from None
        except HTTPError:  # while a streamed response was read
            raise HostDownError(UNREACHABLE) from None
        except Exception as error:
            raise CallFailedError(UNREADABLE) from error

    async def _stopped_within(self, seconds: float) -> bool:
        """Sleep until `stop` is set or the seconds have passed. Returns whether `stop` is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return self._stop.is_set()

    async def close(self) -> None:
        """Close the connection."""
        await self._sdk.close()


async def _limit_size(response: Any) -> None:
    """Limit how much of a response is read. Called by the SDK's client when its headers have arrived."""
    from httpx2 import AsyncByteStream

    is_batch = str(response.request.url.path).endswith("/results")
    limit = MAX_BATCH_RESPONSE_BYTES if is_batch else MAX_RESPONSE_BYTES
    stream = response.stream

    class LimitedStream(AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            received = 0
            async for part in stream:
                received += len(part)
                if received > limit:
                    raise CallFailedError(f"Claude sent more than {limit / 1e6:g} MB: try again later")
                yield part

        async def aclose(self) -> None:
            await stream.aclose()

    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise CallFailedError("Claude sent a compressed response, which was not asked for: try again later")
    response.stream = LimitedStream()


def identifier(value: object) -> str:
    """An id of the API. Raises TypeError, because an SDK object may hold any type."""
    if not isinstance(value, str) or not value:
        raise TypeError("the response has no id")
    return one_line(value)


def retry_after_seconds(error: "AnthropicError") -> float | None:
    """The seconds of the response's `retry-after` header; None without a usable one."""
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after", "") if response is not None else ""
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
