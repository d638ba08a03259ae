"""HTTP client of one Ollama server. Requests have a time limit, responses a size limit; every failure is our error.

No proxy is used and no redirect is followed, so images reach only the address the user configured.
"""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx
import ollama

from enrich.describe.json_parser import parse_json
from enrich.errors import (
    CallFailedError,
    CallTimeoutError,
    ConnectionLostError,
    DescribeError,
    HostBusyError,
    HostDownError,
    ImageTooLargeError,
    ModelError,
    RunnerCrashedError,
)
from enrich.settings import DEFAULT_OLLAMA_HOST
from enrich.wording import one_line

KEEPALIVE_SECONDS = 2.0
JSON_HEADERS = {"Content-Type": "application/json"}
QUERY_TIMEOUT_SECONDS = 30.0  # for requests without a model call: installed and loaded models
MAX_MESSAGE_CHARACTERS = 200  # of the server's own message
# What Ollama says when its model runner ended during a call, or closed the connection to it.
RUNNER_CRASHED = re.compile(
    r"\brunner\b|\bEOF\b|connection (was )?(forcibly |unexpectedly )?(reset|refused|closed|aborted)|broken pipe"
    r"|exit status|signal: |unexpectedly stopped",
    re.IGNORECASE,
)
# What Ollama and llama.cpp say when the tokens of the image do not fit. Limits of time and rate are exceeded, too.
TOO_LARGE = re.compile(
    r"\A(?!.*\b(time.?out|time limit|deadline|pending|rate)\b).*"
    r"((prompt|input|image|request|payload|body)\b.{0,40}\b(too (long|large|big)|exceed)"
    r"|exceed_context_size|exceeds?\b.{0,40}\b(context|limit)|(larger|longer|more) than the (maximum )?context)",
    re.IGNORECASE,
)
MAX_RESPONSE_BYTES = 1_000_000  # far beyond any reply or list of models; a broken server may send without end
MAX_PAGE_CHARACTERS = 4_000  # of a response in which the server's own message is looked for


class ResponseStatusError(CallFailedError):
    """The server answered with an HTTP error status. `reason` is the server's own message."""

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class RunnerStatusError(ResponseStatusError, RunnerCrashedError):
    """The server reported that its model runner ended during the call."""


class _StatusError(Exception):
    """An HTTP error status, before it is known what it says of the model."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.text = _server_message(body)


class OllamaHost:
    """The server at one address. Every method raises DescribeError's subclasses and nothing else."""

    def __init__(self, address: str, *, connect_seconds: float) -> None:
        self.address = address
        # `within` limits the time of a whole call: httpx's read timeout covers only the gap between two bytes.
        timeout = httpx.Timeout(None, connect=connect_seconds)
        # Reusing connections saves a tenth of a core at eight concurrent calls. They expire soon, because one that the
        # server has closed in the meantime would look like a dead server.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEEPALIVE_SECONDS)
        verify = address.startswith("https")  # loading certificates takes 30 ms, so only where they are needed
        # Uncompressed, so that a few bytes cannot become gigabytes: see `_received`.
        headers = {"Accept-Encoding": "identity"}
        options: dict[str, Any] = {"timeout": timeout, "limits": limits, "verify": verify, "headers": headers}
        self._http = httpx.AsyncClient(base_url=address, trust_env=False, follow_redirects=False, **options)

    async def chat(self, request: dict[str, Any], *, seconds: float) -> ollama.ChatResponse:
        """Get one complete reply of a model. `request` takes the arguments of `ollama.AsyncClient.chat`."""
        async with self.within(seconds, model=str(request["model"])):
            try:
                given = {name: value for name, value in request.items() if value is not None} | {"stream": False}
                body = await asyncio.to_thread(_body, given)
                reply = ollama.ChatResponse.model_validate(await self._object("POST", "/api/chat", content=body))
            except (httpx.RemoteProtocolError, httpx.ReadError) as error:
                if "complete message body" in str(error) or "incomplete" in str(error):
                    await self._check_alive()  # if this raises, the host is down and the call is not at fault
                    raise CallFailedError(f"{self.address} closed the connection in the middle of a reply") from error
                raise
            if not reply.done:
                raise CallFailedError(f"{self.address} sent an incomplete reply")
            return reply

    async def get(self, path: str, *, seconds: float = QUERY_TIMEOUT_SECONDS) -> dict[str, Any]:
        """GET the JSON object at `path`."""
        async with self.within(seconds):
            return await self._object("GET", path)

    async def post(
        self, path: str, payload: dict[str, Any], *, seconds: float = QUERY_TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        """POST `payload` to `path` and return the JSON object of the response."""
        async with self.within(seconds, model=str(payload.get("model", ""))):
            return await self._object("POST", path, content=json.dumps(payload).encode())

    async def delete(self, path: str, payload: dict[str, Any], *, seconds: float = QUERY_TIMEOUT_SECONDS) -> None:
        """DELETE at `path` what `payload` names."""
        async with self.within(seconds, model=str(payload.get("model", ""))):
            await self._fetch("DELETE", path, content=json.dumps(payload).encode())

    async def lines(self, path: str, payload: dict[str, Any], *, max_gap: float) -> AsyncIterator[dict[str, Any]]:
        """POST `payload` to `path` and yield the JSON objects of the stream, at most `max_gap` seconds apart."""
        model = str(payload.get("model", ""))
        timeout = httpx.Timeout(max_gap, connect=self._http.timeout.connect)
        async with (
            self.within(None, model=model),
            self._http.stream("POST", path, json=payload, timeout=timeout) as response,
        ):
            if not response.is_success:
                raise _StatusError(response.status_code, await self._received(response))
            lines = self._lines_of(response)
            while True:
                async with asyncio.timeout(max_gap):  # httpx's limit alone would accept a byte now and then
                    line = await anext(lines, None)
                if line is None:
                    break
                part = _json_object(line)
                if part.get("error"):
                    raise CallFailedError(f"{self.address}: {_short(str(part['error']))}")
                yield part

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    @asynccontextmanager
    async def within(self, seconds: float | None, *, model: str = "") -> AsyncIterator[None]:
        """Limit the block to this many seconds, and raise every failure in it as a DescribeError."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except DescribeError:
            raise
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout) as error:
            raise no_answer_in_time(self.address, seconds) from error
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, ConnectionResetError) as error:
            raise ConnectionLostError(
                f"Ollama at {self.address} closed the connection during a call: see its log, or start it with "
                "`ollama serve`"
            ) from error
        except (ConnectionError, httpx.NetworkError, httpx.ConnectTimeout) as error:
            raise HostDownError(f"Ollama at {self.address} is not responding: start it with `ollama serve`") from error
        except _StatusError as error:
            raise self._status_error(error.status, error.text, model) from error
        except Exception as error:
            raise CallFailedError(
                f"{self.address} sent an unreadable response ({type(error).__name__}): {_short(str(error))}"
            ) from error

    async def _object(self, method: str, path: str, *, content: bytes | None = None) -> dict[str, Any]:
        return _json_object(await self._fetch(method, path, content=content))

    async def _fetch(self, method: str, path: str, *, content: bytes | None = None, **options: Any) -> bytes:
        """The body of a successful response. Raises _StatusError, httpx's errors, or CallFailedError if it is huge."""
        async with self._http.stream(method, path, content=content, headers=JSON_HEADERS, **options) as response:
            body = await self._received(response)
        if not response.is_success:
            raise _StatusError(response.status_code, body)
        return body

    async def _received(self, response: httpx.Response) -> bytes:
        """A response's body; of an error only the beginning. Raises CallFailedError beyond MAX_RESPONSE_BYTES."""
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("", "identity") and response.is_success:
            raise CallFailedError(f"{self.address} sent a compressed response, which was not asked for")
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > MAX_RESPONSE_BYTES:
                if response.is_success:
                    raise CallFailedError(f"{self.address} sent more than {MAX_RESPONSE_BYTES / 1e6:g} MB")
                break
        return bytes(body)

    async def _lines_of(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """A response's lines that are not blank. Raises CallFailedError for one beyond MAX_RESPONSE_BYTES."""
        rest = b""
        async for part in response.aiter_raw():
            *lines, rest = (rest + part).split(b"\n")
            for line in filter(bytes.strip, lines):
                yield line
            if len(rest) > MAX_RESPONSE_BYTES:
                raise CallFailedError(f"{self.address} sent a line of more than {MAX_RESPONSE_BYTES / 1e6:g} MB")
        if rest.strip():
            yield rest

    def _status_error(self, status: int, text: str, model: str) -> DescribeError:  # noqa: PLR0911  # a table
        """Our error for an HTTP status and its text."""
        text = text or "no reason given"
        match status:
            case HTTPStatus.SERVICE_UNAVAILABLE | HTTPStatus.TOO_MANY_REQUESTS:
                return HostBusyError(f"{self.address} is overloaded: {text}")
            case HTTPStatus.BAD_GATEWAY:  # what a proxy sends also when the server closes the connection during a call
                return ConnectionLostError(f"Ollama behind {self.address} is not responding: see its log")
            case HTTPStatus.GATEWAY_TIMEOUT:  # perhaps over this image only: a probe tells whether the server is down
                return CallTimeoutError(f"Ollama behind {self.address} did not answer within the limit of its proxy")
            case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                return ImageTooLargeError(f"{self.address} takes no request of this size ({status}): {text}")
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                return ModelError(f"{self.address} refuses access to `{model}`: {text}")
            case HTTPStatus.NOT_FOUND if "model" in text.lower():
                return ModelError(f"`{model}` is not installed at {self.address}: run `{self.pull_command(model)}`")
        if re.search(r"more system memory|does not support.*(image|vision|multimodal)", text, re.IGNORECASE):
            return ModelError(f"`{model}` cannot be used at {self.address}: {text}. See `everyframe models`")
        failure = f"{self.address} returned an error ({status}): {text}"
        if TOO_LARGE.search(text):
            return ImageTooLargeError(failure)
        is_crash = status >= HTTPStatus.INTERNAL_SERVER_ERROR and RUNNER_CRASHED.search(text)
        return (RunnerStatusError if is_crash else ResponseStatusError)(failure, status=status, reason=text)

    def pull_command(self, model: str) -> str:
        """The command that installs a model on this server."""
        prefix = "" if self.address == DEFAULT_OLLAMA_HOST else f"OLLAMA_HOST={self.address} "
        return f"{prefix}ollama pull {model}"

    async def _check_alive(self) -> None:
        """Raise the httpx error if the server no longer responds."""
        await self._fetch("GET", "/api/version", timeout=httpx.Timeout(QUERY_TIMEOUT_SECONDS, connect=1))


def no_answer_in_time(address: str, seconds: float | None) -> CallTimeoutError:
    """The error for a server that exceeded a time limit; None: the limit of a part of its response."""
    limit = "in time" if seconds is None else f"within {seconds:g} seconds"
    return CallTimeoutError(f"{address} did not answer {limit}")


def _body(request: dict[str, Any]) -> bytes:
    """The request as JSON, with its images in base64."""
    messages = [
        message | {"images": [base64.b64encode(jpeg).decode() for jpeg in message["images"]]}
        for message in request["messages"]
    ]
    return json.dumps(request | {"messages": messages}).encode()


def _json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a response. Raises ValueError or TypeError."""
    value = parse_json(body.decode("utf-8", "replace"))
    if not isinstance(value, dict):
        raise TypeError(f"expected a JSON object, got {type(value).__name__}")
    return value


def _server_message(body: bytes) -> str:
    """The server's own message in the body of an error, on one line."""
    text = body.decode("utf-8", "replace")
    try:
        value = parse_json(text)
    except ValueError:
        value = text
    return _short(str(value.get("error") or "") if isinstance(value, dict) else str(value))


def _short(text: str) -> str:
    """A server's text on one short line, without HTML tags: proxies send whole pages."""
    text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text[:MAX_PAGE_CHARACTERS], flags=re.DOTALL | re.IGNORECASE)
    return one_line(text, MAX_MESSAGE_CHARACTERS)
