"""The describer of the deep pass: a vision model in Ollama, on this machine or on others of the user."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import ollama

from enrich.describe.describer import (
    Call,
    Description,
    HostReport,
    Image,
    Pass,
    Problem,
    PromptStyle,
    Question,
    ReplyWarning,
)
from enrich.describe.image import EdgeLimits, fit, reduced_edge, warm_up_image
from enrich.describe.json_parser import storable, token_count
from enrich.describe.ollama import models as ollama_models
from enrich.describe.ollama.client import OllamaHost, ResponseStatusError, no_answer_in_time
from enrich.describe.ollama.models import InstalledModel, LoadedModel, PullProgress, suggest_model, traits_for
from enrich.describe.ollama.optional_fields import OptionalFields
from enrich.describe.prompt import prompt_for, prompt_version, reply_schema
from enrich.describe.reply import MAX_REPLY_CHARACTERS, read_reply
from enrich.errors import ImageTooLargeError, ModelError
from enrich.settings import Settings

WARM_SECONDS = 240.0  # a host that replied this recently has the model loaded: Ollama's default is 5 minutes
NANOSECONDS = 1e9


class OllamaDescriber:
    """Describes with one model on one or more Ollama servers. One instance is used from one event loop."""

    name = "ollama"
    target_pass = Pass.DEEP
    is_model = True

    def __init__(self, settings: Settings, *, model: str | None = None) -> None:
        self.model = model or settings.model
        self.hosts = settings.ollama_hosts
        self.traits = traits_for(self.model, settings.picture_edges)
        self._edges = EdgeLimits(self.traits.edge)
        self._settings = settings
        self._open: dict[str, OllamaHost] = {}
        self._found: dict[str, InstalledModel] = {}
        self._last_answer: dict[str, float] = {}
        self._optional = OptionalFields()

    async def check(self, host: str) -> None:
        """Check that `host` has the model, with vision and not in the cloud. Loads nothing. Raises as `prepare`."""
        self._found.pop(host, None)
        await self._find(host)

    async def prepare(self, host: str) -> HostReport:
        """Check that `host` has the model, with vision and not in the cloud, and load it with a warm-up image.

        Raises HostDownError, HostBusyError, ModelError, CallTimeoutError or CallFailedError.
        """
        self._found.pop(host, None)
        self._optional.guess_again(host)
        found = await self._find(host)
        warm_up = Question((Image(warm_up_image(), 0.0),), language=self._settings.language)
        await self._chat(warm_up, host=host, seconds=self._settings.load_seconds, max_tokens=1)
        loaded = {model.digest: model for model in await ollama_models.list_loaded(self._host(host))}
        return _report(host, found, loaded.get(found.digest), calls_at_once=self.traits.calls_at_once)

    async def describe(self, question: Question, *, host: str) -> Call:
        """Make one call. The reply is unchecked; a truncated one has the warning CUT_OFF.

        Raises HostDownError, HostBusyError, ModelError, CallTimeoutError or CallFailedError.
        """
        found, seconds = await self._ready(host)
        start = time.monotonic()
        reply = await self._chat(question, host=host, seconds=seconds, max_tokens=self._settings.num_predict)
        return self._call(reply, found, host=host, version=prompt_version(question), seconds=time.monotonic() - start)

    async def describe_with_schema(
        self, prompt: str, jpeg: bytes, schema: dict[str, Any], *, version: str, host: str
    ) -> Call:
        """Make one call about one image with the caller's prompt and JSON schema. Raises the errors of `describe`."""
        found, seconds = await self._ready(host)
        start = time.monotonic()
        options = {"num_predict": self._settings.num_predict}
        reply = await self._send(prompt, [jpeg], schema=schema, options=options, host=host, seconds=seconds)
        return self._call(reply, found, host=host, version=version, seconds=time.monotonic() - start)

    def read(self, question: Question, call: Call) -> tuple[Description | None, tuple[ReplyWarning, ...]]:
        """Parse a call's reply into a description and its warnings."""
        return read_reply(question, call)

    async def unload(self, host: str) -> None:
        """Free the memory `host` uses for the model. Raises DescribeError's subclasses."""
        self._last_answer.pop(host, None)
        await self._host(host).post(
            "/api/chat", {"model": self.model, "messages": [], "keep_alive": 0, "stream": False}
        )

    async def installed(self, host: str) -> list[InstalledModel]:
        """List the models of `host`, vision models first. Raises DescribeError's subclasses."""
        return await ollama_models.list_installed(self._host(host))

    def pull(self, host: str, name: str) -> AsyncIterator[PullProgress]:
        """Download a model to `host` and yield the progress. Raises EveryFrameError's subclasses."""
        return ollama_models.pull(self._host(host), name)

    async def remove(self, host: str, name: str) -> None:
        """Delete a model from `host`. Raises DescribeError's subclasses."""
        await ollama_models.remove(self._host(host), name)

    async def close(self) -> None:
        """Close connections."""
        for host in self._open.values():
            await host.close()
        self._open.clear()

    def _host(self, address: str) -> OllamaHost:
        if address not in self._open:
            self._open[address] = OllamaHost(address, connect_seconds=self._settings.connect_seconds)
        return self._open[address]

    async def _find(self, address: str) -> InstalledModel:
        """The model on `address`. Raises ModelError if it is missing, has no vision, or runs in the cloud."""
        host = self._host(address)
        if not self._settings.allow_cloud and ollama_models.is_cloud(self.model, {}):
            raise ModelError(_cloud_message(self.model))
        found = await ollama_models.find_model(host, self.model)
        if found is not None and found.is_cloud and not self._settings.allow_cloud:
            raise ModelError(_cloud_message(self.model))
        if found is not None and found.sees:
            self._found[address] = found
            return found
        installed = await ollama_models.list_installed(host)
        vision = [model.name for model in installed if model.sees and not model.is_cloud]
        others = f"installed vision models: {', '.join(vision[:5])}" if vision else ""
        if found is None:
            command = host.pull_command(self.model)
            raise ModelError(
                f"`{self.model}` is not installed at {address}: run `{command}`{others and f' ({others})'}"
            )
        fix = f"choose one of the {others}" if others else f"install one with `{host.pull_command('llava:7b')}`"
        raise ModelError(f"`{self.model}` is not a vision model: {fix}")

    async def _ready(self, host: str) -> tuple[InstalledModel, float]:
        """The model on `host`, and the time limit of the next call in seconds."""
        found = self._found.get(host) or await self._find(host)
        idle = time.monotonic() - self._last_answer.get(host, float("-inf"))
        seconds = self._settings.call_seconds
        # After an idle time the call may have to load the model first.
        return found, max(seconds, self._settings.load_seconds) if idle > WARM_SECONDS else seconds

    def _call(
        self, reply: ollama.ChatResponse, found: InstalledModel, *, host: str, version: str, seconds: float
    ) -> Call:
        raw_reply, is_whole = _reply_text(reply)
        load = min(max(reply.load_duration or 0, 0), int(seconds * NANOSECONDS))  # a part of the call
        return Call(
            describer=self.name,
            model=self.model,
            model_digest=found.digest,
            host=host,
            prompt_version=version,
            latency_seconds=seconds,
            load_seconds=load / NANOSECONDS,
            prompt_tokens=token_count(reply.prompt_eval_count),
            output_tokens=token_count(reply.eval_count),
            raw_reply=raw_reply,
            warnings=() if is_whole and reply.done_reason != "length" else (ReplyWarning(Problem.CUT_OFF),),
        )

    async def _chat(self, question: Question, *, host: str, seconds: float, max_tokens: int) -> ollama.ChatResponse:
        plain = question.prompt_style is PromptStyle.PLAIN
        options: dict[str, Any] = {"num_predict": max_tokens}
        if plain:  # a retry: the same sampling would give the same reply
            options |= {"temperature": 0.4, "seed": 1, "repeat_penalty": 1.2}
        return await self._send(
            prompt_for(question),
            [image.jpeg for image in question.images],
            schema=None if plain else reply_schema(),
            options=options,
            host=host,
            seconds=seconds,
        )

    async def _send(
        self,
        prompt: str,
        jpegs: Sequence[bytes],
        *,
        schema: dict[str, Any] | None,
        options: dict[str, Any],
        host: str,
        seconds: float,
    ) -> ollama.ChatResponse:
        """Send the images as large as the model can use, or smaller if the host takes no images of that size.

        The time limit is that of all requests made for it: a smaller image or a refused field starts no new one.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._send_reduced(
                    prompt, jpegs, schema=schema, options=options, host=host, seconds=seconds
                )
        except TimeoutError as error:
            raise no_answer_in_time(host, seconds) from error

    async def _send_reduced(
        self,
        prompt: str,
        jpegs: Sequence[bytes],
        *,
        schema: dict[str, Any] | None,
        options: dict[str, Any],
        host: str,
        seconds: float,
    ) -> ollama.ChatResponse:
        edge, reason = self._edges.of(host), None
        while True:
            images = [await asyncio.to_thread(fit, jpeg, edge) for jpeg in jpegs]
            try:
                reply = await self._send_fitted(
                    prompt, images, schema=schema, options=options, host=host, seconds=seconds
                )
            except ImageTooLargeError as error:
                smaller = reduced_edge(images)
                if smaller is None:
                    raise
                edge, reason = smaller, error
            else:
                if reason is not None:
                    self._edges.reduce(host, edge, reason)
                return reply

    async def _send_fitted(
        self,
        prompt: str,
        images: Sequence[bytes],
        *,
        schema: dict[str, Any] | None,
        options: dict[str, Any],
        host: str,
        seconds: float,
    ) -> ollama.ChatResponse:
        defaults = {"temperature": 0.0, "num_ctx": self._settings.num_ctx or self.traits.num_ctx}
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt, "images": list(images)}],
            "format": schema if self.traits.json_schema else None,
            "options": defaults | options | self._settings.ollama_options,
            "keep_alive": self._settings.keep_alive,
            "think": False,
        }
        reply = await self._reply_to(self._optional.without_refused(host, request), host, seconds)
        self._last_answer[host] = time.monotonic()
        return reply

    async def _reply_to(self, request: dict[str, Any], host: str, seconds: float) -> ollama.ChatResponse:
        """The host's reply; without the fields it refuses, if it refuses some."""
        try:
            reply = await self._host(host).chat(request, seconds=seconds)
        except ResponseStatusError as error:
            other = await self._reply_without(request, error, host, seconds)
            if other is None:
                raise
            return other
        self._optional.accepted(host, request)
        return reply

    async def _reply_without(
        self, request: dict[str, Any], error: ResponseStatusError, host: str, seconds: float
    ) -> ollama.ChatResponse | None:
        """The host's reply to the request without the fields it refuses; None if they are not why it failed."""
        for other in self._optional.alternatives(host, request, error):
            found = await self._first_reply([other], host, seconds)
            if found is not None:
                narrower = self._optional.narrower(request, other, error)
                accepted, reply = await self._first_reply(narrower, host, seconds) or found
                self._optional.refused(host, self.model, request, accepted)
                return reply
        return None

    async def _first_reply(
        self, requests: Sequence[dict[str, Any]], host: str, seconds: float
    ) -> tuple[dict[str, Any], ollama.ChatResponse] | None:
        """The first of these requests that the host does not refuse, and its reply; None if it refuses all."""
        for request in requests:
            with suppress(ResponseStatusError):
                return request, await self._host(host).chat(request, seconds=seconds)
        return None


def _reply_text(reply: ollama.ChatResponse) -> tuple[str, bool]:
    """The reply as it is stored, and whether that is all of it.

    Separate thinking is put before it in the tags that models use.
    """
    content, thinking = reply.message.content or "", reply.message.thinking or ""
    is_whole = max(len(content), len(thinking)) <= MAX_REPLY_CHARACTERS
    content, thinking = content[:MAX_REPLY_CHARACTERS], thinking[:MAX_REPLY_CHARACTERS]
    return storable(f"<think>{thinking}</think>{content}" if thinking else content), is_whole


def _cloud_message(model: str) -> str:
    return (
        f"`{model}` runs in Ollama's cloud, so every image would leave this machine: choose a local model such as "
        "llava:13b, or set EVERYFRAME_ALLOW_CLOUD=true"
    )


def _report(host: str, found: InstalledModel, loaded: LoadedModel | None, *, calls_at_once: int | None) -> HostReport:
    size, gpu = (loaded.size_bytes, loaded.gpu_bytes) if loaded else (0, 0)
    fits = loaded.fits_gpu if loaded else None
    if fits is False:
        smaller = suggest_model(gpu)
        fix = f"run `ollama pull {smaller}` for a faster one" if smaller else "a smaller model would be faster"
        sentence = (
            f"`{found.name}` takes {size / 1e9:.1f} GB, but only {gpu / 1e9:.1f} GB fit into GPU memory at {host}, so "
            f"it will be slow: {fix}"
        )
    elif fits:
        sentence = f"`{found.name}` is loaded and fits into GPU memory at {host}"
    elif loaded:
        sentence = f"`{found.name}` is loaded and runs on the CPU only at {host}: it will be slow"
    else:
        sentence = f"`{found.name}` is ready at {host}"
    return HostReport(
        host=host,
        model=found.name,
        model_digest=found.digest,
        sentence=sentence,
        fits_gpu=fits,
        calls_at_once=calls_at_once,
    )
