"""The describer that counts: a vision model in Ollama, on this machine or on others of the user's."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
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
from enrich.describe.image import colour_card, shrunk
from enrich.describe.ollama import models as shelf
from enrich.describe.ollama.client import OllamaHost
from enrich.describe.ollama.models import InstalledModel, LoadedModel, PullProgress, suggestion, traits_for
from enrich.describe.prompt import prompt_for, schema, version_of
from enrich.describe.reply import read_reply, storable
from enrich.errors import ModelError
from enrich.settings import Settings

WARM_SECONDS = 240.0  # a host that answered so recently has the model loaded: Ollama keeps it 5 minutes by default
NANOSECONDS = 1e9


class OllamaDescriber:
    """Describes with one model on one or more Ollama servers. One instance belongs to one event loop."""

    name = "ollama"
    fills = Pass.DEEP
    can_err = True

    def __init__(self, settings: Settings, *, model: str | None = None) -> None:
        self.model = model or settings.model
        self.hosts = settings.ollama_hosts
        self.traits = traits_for(self.model, settings.picture_edges)
        self._settings = settings
        self._open: dict[str, OllamaHost] = {}
        self._found: dict[str, InstalledModel] = {}
        self._last_answer: dict[str, float] = {}

    async def check(self, host: str) -> None:
        """Check, loading nothing, that `host` has the model, that it sees and stays here. Raises as `prepare` does."""
        self._found.pop(host, None)
        await self._find(host)

    async def prepare(self, host: str) -> HostReport:
        """Check that `host` has the model, that it sees and stays here; load it by describing a test card.

        Raises HostDownError, HostBusyError, ModelError, CallTimeoutError or CallFailedError.
        """
        self._found.pop(host, None)
        found = await self._find(host)
        card = Question((Image(colour_card(), 0.0),), language=self._settings.language)
        await self._chat(card, host=host, seconds=self._settings.load_seconds, most_tokens=1)
        loaded = {model.digest: model for model in await shelf.loaded_models(self._host(host))}.get(found.digest)
        return _report(host, found, loaded, calls_at_once=self.traits.calls_at_once)

    async def describe(self, question: Question, *, host: str) -> Call:
        """One call to the model; the reply is unchecked text, with the warning CUT_OFF where the host says so.

        Raises HostDownError, HostBusyError, ModelError, CallTimeoutError or CallFailedError.
        """
        found, seconds = await self._ready(host)
        start = time.monotonic()
        reply = await self._chat(question, host=host, seconds=seconds, most_tokens=self._settings.num_predict)
        return self._call(reply, found, host=host, version=version_of(question), seconds=time.monotonic() - start)

    async def put(self, words: str, jpeg: bytes, form: dict[str, Any], *, version: str, host: str) -> Call:
        """One call about one picture with words and a JSON schema of the caller's own. Raises as `describe` does."""
        found, seconds = await self._ready(host)
        start = time.monotonic()
        reply = await self._send(
            words, [jpeg], form=form, options={"num_predict": self._settings.num_predict}, host=host, seconds=seconds
        )
        return self._call(reply, found, host=host, version=version, seconds=time.monotonic() - start)

    def read(self, question: Question, call: Call) -> tuple[Description | None, tuple[ReplyWarning, ...]]:
        """The description in a call's reply, and what is doubtful about it."""
        return read_reply(question, call)

    async def unload(self, host: str) -> None:
        """Have `host` free the memory the model takes, in a moment. Raises DescribeError's subclasses."""
        self._last_answer.pop(host, None)
        await self._host(host).post(
            "/api/chat", {"model": self.model, "messages": [], "keep_alive": 0, "stream": False}
        )

    async def installed(self, host: str) -> list[InstalledModel]:
        """Every model `host` has, those that see first. Raises DescribeError's subclasses."""
        return await shelf.installed(self._host(host))

    def pull(self, host: str, name: str) -> AsyncIterator[PullProgress]:
        """Download a model to `host`, telling the progress. Raises EveryFrameError's subclasses."""
        return shelf.pull(self._host(host), name)

    async def remove(self, host: str, name: str) -> None:
        """Delete a model from `host`. Raises DescribeError's subclasses."""
        await shelf.remove(self._host(host), name)

    async def close(self) -> None:
        """Let go of connections."""
        for host in self._open.values():
            await host.close()
        self._open.clear()

    def _host(self, address: str) -> OllamaHost:
        if address not in self._open:
            self._open[address] = OllamaHost(address, connect_seconds=self._settings.connect_seconds)
        return self._open[address]

    async def _find(self, address: str) -> InstalledModel:
        """The model as `address` has it. Raises ModelError if it is missing, blind, or would send pictures away."""
        host = self._host(address)
        if not self._settings.allow_cloud and shelf.is_cloud(self.model, {}):
            raise ModelError(_cloud_message(self.model))
        found = await shelf.find(host, self.model)
        if found is not None and found.is_cloud and not self._settings.allow_cloud:
            raise ModelError(_cloud_message(self.model))
        if found is not None and found.sees:
            self._found[address] = found
            return found
        seeing = [model.name for model in await shelf.installed(host) if model.sees and not model.is_cloud]
        others = f"installed and able to see: {', '.join(seeing[:5])}" if seeing else ""
        if found is None:
            command = host.pull_command(self.model)
            raise ModelError(
                f"`{self.model}` is not installed at {address}: run `{command}`{others and f' ({others})'}"
            )
        remedy = others or f"get one that can with `{host.pull_command('llava:7b')}`"
        raise ModelError(f"`{self.model}` cannot see pictures; {remedy}")

    async def _ready(self, host: str) -> tuple[InstalledModel, float]:
        """The model as `host` has it, and the seconds that the next call may take."""
        found = self._found.get(host) or await self._find(host)
        idle = time.monotonic() - self._last_answer.get(host, float("-inf"))
        seconds = self._settings.call_seconds
        # This call may have to load the model first.
        return found, max(seconds, self._settings.load_seconds) if idle > WARM_SECONDS else seconds

    def _call(
        self, reply: ollama.ChatResponse, found: InstalledModel, *, host: str, version: str, seconds: float
    ) -> Call:
        return Call(
            describer=self.name,
            model=self.model,
            model_digest=found.digest,
            host=host,
            prompt_version=version,
            latency_seconds=seconds,
            load_seconds=(reply.load_duration or 0) / NANOSECONDS,
            prompt_tokens=reply.prompt_eval_count,
            output_tokens=reply.eval_count,
            raw_reply=_whole_text(reply),
            warnings=(ReplyWarning(Problem.CUT_OFF),) if reply.done_reason == "length" else (),
        )

    async def _chat(self, question: Question, *, host: str, seconds: float, most_tokens: int) -> ollama.ChatResponse:
        plain = question.manner is PromptStyle.PLAIN
        options: dict[str, Any] = {"num_predict": most_tokens}
        if plain:  # asked again: the same dice would fall the same way
            options |= {"temperature": 0.4, "seed": 1, "repeat_penalty": 1.2}
        return await self._send(
            prompt_for(question),
            [picture.jpeg for picture in question.pictures],
            form=None if plain else schema(),
            options=options,
            host=host,
            seconds=seconds,
        )

    async def _send(
        self,
        words: str,
        jpegs: Sequence[bytes],
        *,
        form: dict[str, Any] | None,
        options: dict[str, Any],
        host: str,
        seconds: float,
    ) -> ollama.ChatResponse:
        pictures = [await asyncio.to_thread(shrunk, jpeg, self.traits.edge) for jpeg in jpegs]
        usual = {"temperature": 0.0, "num_ctx": self._settings.num_ctx or self.traits.num_ctx}
        reply = await self._host(host).chat(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": words, "images": pictures}],
                "format": form if self.traits.json_schema else None,
                "options": usual | options | self._settings.ollama_options,
                "keep_alive": self._settings.keep_alive,
                "think": False,
            },
            seconds=seconds,
        )
        self._last_answer[host] = time.monotonic()
        return reply


def _whole_text(reply: ollama.ChatResponse) -> str:
    """The reply as it is kept; what a model thought aloud beside its answer is kept in the way models mark it."""
    content, thinking = reply.message.content or "", reply.message.thinking
    return storable(f"<think>{thinking}</think>{content}" if thinking else content)


def _cloud_message(model: str) -> str:
    return (
        f"`{model}` runs in Ollama's cloud, so every picture would leave this machine; choose a local model such as "
        "llava:13b, or set EVERYFRAME_ALLOW_CLOUD=true"
    )


def _report(host: str, found: InstalledModel, loaded: LoadedModel | None, *, calls_at_once: int | None) -> HostReport:
    size, gpu = (loaded.size_bytes, loaded.gpu_bytes) if loaded else (0, 0)
    fits = loaded.fits_gpu if loaded else None
    if fits is False:
        smaller = suggestion(gpu)
        remedy = f"faster: `ollama pull {smaller}`" if smaller else "a smaller model would be faster"
        sentence = (
            f"`{found.name}` takes {size / 1e9:.1f} GB, of which only {gpu / 1e9:.1f} GB fit the GPU at {host}: it "
            f"will be slow; {remedy}"
        )
    elif fits:
        sentence = f"`{found.name}` is loaded and fits the GPU at {host}"
    elif loaded:
        sentence = f"`{found.name}` is loaded and runs on the processor alone at {host}: it will be slow"
    else:
        sentence = f"`{found.name}` answers at {host}"
    return HostReport(
        host=host,
        model=found.name,
        model_digest=found.digest,
        sentence=sentence,
        fits_gpu=fits,
        loaded_bytes=size,
        gpu_bytes=gpu,
        calls_at_once=calls_at_once,
    )
