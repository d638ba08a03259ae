"""One Ollama server: its requests, each with a time limit, and whatever goes wrong told as one of our errors.

Nothing goes through a proxy and no redirect is followed: pictures go to the address the user named, nowhere else.
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

from enrich.errors import (
    CallFailedError,
    CallTimeoutError,
    DescribeError,
    HostBusyError,
    HostDownError,
    ModelError,
)
from enrich.settings import DEFAULT_OLLAMA_HOST

KEEPALIVE_SECONDS = 2.0
JSON_HEADERS = {"Content-Type": "application/json"}
QUESTION_SECONDS = 30.0  # for questions that need no model: what is installed, what is loaded
LONGEST_MESSAGE = 200


class OllamaHost:
    """The server at one address. Every method raises DescribeError's subclasses and nothing else."""

    def __init__(self, address: str, *, connect_seconds: float) -> None:
        self.address = address
        # Reads are limited by `within`, around the whole call: httpx counts only the silence between two bytes.
        timeout = httpx.Timeout(None, connect=connect_seconds)
        # Connections are used again for calls that follow at once, which saves a tenth of a core at eight calls; they
        # are not left to lie: one that the server closed meanwhile would look like a dead server.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEEPALIVE_SECONDS)
        verify = address.startswith("https")  # certificates take 30 ms to load: not where nothing asks for them
        how: dict[str, Any] = {"timeout": timeout, "limits": limits, "verify": verify}
        self._ollama = ollama.AsyncClient(address, trust_env=False, follow_redirects=False, **how)
        self._http = httpx.AsyncClient(base_url=address, trust_env=False, follow_redirects=False, **how)

    async def chat(self, request: dict[str, Any], *, seconds: float) -> ollama.ChatResponse:
        """One whole reply of a model. `request` is what `AsyncClient.chat` takes."""
        async with self.within(seconds, model=str(request["model"])):
            try:
                given = {name: value for name, value in request.items() if value is not None} | {"stream": False}
                body = await asyncio.to_thread(_body, given)
                answer = _json_object(await self._http.post("/api/chat", content=body, headers=JSON_HEADERS))
                reply = ollama.ChatResponse.model_validate(answer)
            except (httpx.RemoteProtocolError, httpx.ReadError) as error:
                if "complete message body" in str(error) or "incomplete" in str(error):
                    await self._still_answers()  # or else the host is down, and the call not to blame
                    raise CallFailedError(f"{self.address} broke off in the middle of an answer") from error
                raise
            if not reply.done:
                raise CallFailedError(f"{self.address} gave half an answer")
            return reply

    async def get(self, path: str, *, seconds: float = QUESTION_SECONDS) -> dict[str, Any]:
        """The JSON object at `path`."""
        async with self.within(seconds):
            return _json_object(await self._http.get(path))

    async def post(self, path: str, payload: dict[str, Any], *, seconds: float = QUESTION_SECONDS) -> dict[str, Any]:
        """The JSON object that `path` answers to `payload`."""
        async with self.within(seconds, model=str(payload.get("model", ""))):
            return _json_object(await self._http.post(path, json=payload))

    async def delete(self, path: str, payload: dict[str, Any], *, seconds: float = QUESTION_SECONDS) -> None:
        """Have what `payload` names at `path` deleted."""
        async with self.within(seconds, model=str(payload.get("model", ""))):
            response = await self._http.request("DELETE", path, json=payload)
            if not response.is_success:
                raise ollama.ResponseError(response.text, response.status_code)

    async def lines(self, path: str, payload: dict[str, Any], *, silence: float) -> AsyncIterator[dict[str, Any]]:
        """The JSON objects that `path` answers one by one, at most `silence` seconds apart."""
        model = str(payload.get("model", ""))
        timeout = httpx.Timeout(silence, connect=self._http.timeout.connect)
        async with (
            self.within(None, model=model),
            self._http.stream("POST", path, json=payload, timeout=timeout) as response,
        ):
            if response.is_error:
                await response.aread()
                _json_object(response)
            async for line in response.aiter_lines():
                if not line.strip():
                    continue
                part = json.loads(line)
                if part.get("error"):
                    raise CallFailedError(f"{self.address}: {one_line(str(part['error']))}")
                yield part

    async def close(self) -> None:
        """Let go of connections."""
        await self._ollama.close()  # type: ignore[no-untyped-call]  # its author left it bare
        await self._http.aclose()

    @asynccontextmanager
    async def within(self, seconds: float | None, *, model: str = "") -> AsyncIterator[None]:
        """Limit what is done inside to so many seconds, and raise whatever goes wrong there as a DescribeError."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except DescribeError:
            raise
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout) as error:
            limit = "in time" if seconds is None else f"within {seconds:g} seconds"
            raise CallTimeoutError(f"no answer from {self.address} {limit}") from error
        except (ConnectionError, httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError) as error:
            raise HostDownError(f"Ollama does not answer at {self.address}: start it with `ollama serve`") from error
        except ollama.ResponseError as error:
            raise self._answered(error.status_code, str(error.error), model) from error
        except Exception as error:
            raise CallFailedError(
                f"{self.address} gave no answer that can be understood ({type(error).__name__}): {one_line(str(error))}"
            ) from error

    def _answered(self, status: int, text: str, model: str) -> DescribeError:
        """What an HTTP status and its text mean."""
        text = one_line(text) or "no reason given"
        match status:
            case HTTPStatus.SERVICE_UNAVAILABLE | HTTPStatus.TOO_MANY_REQUESTS:
                return HostBusyError(f"{self.address} has too much to do: {text}")
            case HTTPStatus.BAD_GATEWAY | HTTPStatus.GATEWAY_TIMEOUT:
                return HostDownError(f"Ollama does not answer behind {self.address}: start it with `ollama serve`")
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
                return ModelError(f"{self.address} refuses `{model}`: {text}")
            case HTTPStatus.NOT_FOUND if "model" in text.lower():
                return ModelError(f"`{model}` is not installed at {self.address}: run `{self.pull_command(model)}`")
        if re.search(r"more system memory|does not support.*(image|vision|multimodal)", text, re.IGNORECASE):
            return ModelError(f"`{model}` cannot be used at {self.address}: {text}. See `everyframe models`")
        return CallFailedError(f"{self.address} answered with an error ({status}): {text}")

    def pull_command(self, model: str) -> str:
        """The command that installs a model at this server."""
        prefix = "" if self.address == DEFAULT_OLLAMA_HOST else f"OLLAMA_HOST={self.address} "
        return f"{prefix}ollama pull {model}"

    async def _still_answers(self) -> None:
        """Raise what httpx raises if nobody answers any more."""
        await self._http.get("/api/version", timeout=httpx.Timeout(QUESTION_SECONDS, connect=1))


def _body(request: dict[str, Any]) -> bytes:
    """The request as JSON, its pictures as base64 text."""
    messages = [
        message | {"images": [base64.b64encode(jpeg).decode() for jpeg in message["images"]]}
        for message in request["messages"]
    ]
    return json.dumps(request | {"messages": messages}).encode()


def _json_object(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise ollama.ResponseError(response.text, response.status_code)
    value = response.json()
    if not isinstance(value, dict):
        raise TypeError(f"a JSON object was expected, and {type(value).__name__} came")
    return value


def one_line(text: str) -> str:
    """Text from a server, fit for a message: markup and line breaks out, cut to a readable length."""
    text = " ".join(re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE).split())
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…"
