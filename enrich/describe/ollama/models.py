"""The models of an Ollama server (list, pull, remove), and the known traits of vision model families.

A model belongs to the family with the longest name that its own name starts with. A name from elsewhere
(`me/my-llava:7b`) belongs to the family whose name it contains. An unknown model gets cautious traits. Each trait names
its source; nothing is said about quality.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from enrich.describe.ollama.client import OllamaHost
from enrich.errors import CallFailedError, ModelError
from enrich.settings import SUGGESTED_GB, full_name, is_same_model
from enrich.wording import one_line

UNVERIFIED = "unverified"
PULL_STALL_SECONDS = 300.0  # a download without progress for this long has failed
REMOVE_TIMEOUT_SECONDS = 60.0  # deleting gigabytes takes time on a slow disk
MAX_TEXT_CHARACTERS = 250  # of a name or a digest
VISION_FAMILIES = ("clip", "mllama")  # families of vision models on servers that do not list capabilities


@dataclass(frozen=True, slots=True)
class Traits:
    """How to call the models of a family."""

    family: str
    edge: int  # long edge in pixels beyond which the model gains nothing
    num_ctx: int  # context tokens that hold image, prompt and reply
    source: str  # of the edge: a URL, or UNVERIFIED
    json_schema: bool = True  # Ollama itself constrains the reply, so it works for every model
    calls_at_once: int | None = None  # None: limited by the server only
    calls_source: str = ""  # of `calls_at_once`


# Sources of the numbers: model cards, or the configuration in a copy of the model.
HUB = "https://huggingface.co"
LLAVA_16 = f"{HUB}/llava-hf/llava-v1.6-vicuna-7b-hf/blob/main/config.json"
LLAVA_15_7B = f"{HUB}/mohitsha/llava-1.5-7b-hf/blob/main/config.json"
LLAVA_15_13B = f"{HUB}/jamesdborin/llava-1.5-13b-hf-awq/blob/main/config.json"
LLAVA_LLAMA3 = f"{HUB}/xtuner/llava-llama-3-8b-v1_1-gguf"
LLAVA_PHI3 = f"{HUB}/xtuner/llava-phi-3-mini-gguf"
BAKLLAVA = f"{HUB}/SkunkworksAI/BakLLaVA-1/blob/main/config.json"
QWEN_25 = f"{HUB}/mlx-community/Qwen2.5-VL-72B-Instruct-3bit/blob/main/preprocessor_config.json"
QWEN_3 = f"{HUB}/cdreetz/Qwen3-VL-8B-Instruct/blob/main/preprocessor_config.json"
GEMMA_3 = f"{HUB}/mlx-community/gemma-3-4b-it-bf16/blob/main/config.json"
MINICPM_26 = f"{HUB}/lmstudio-community/MiniCPM-V-2_6-GGUF"
LLAMA_32 = f"{HUB}/unsloth/Llama-3.2-90B-Vision-Instruct-bnb-4bit/blob/main/preprocessor_config.json"
GRANITE = f"{HUB}/ibm-granite/granite-vision-3.1-2b-preview/blob/main/config.json"
SCHEDULER = "https://github.com/ollama/ollama/blob/main/server/sched.go"

UNKNOWN = Traits("unknown", edge=768, num_ctx=8192, source=UNVERIFIED)

FAMILIES: tuple[Traits, ...] = (
    # Ollama's llava:7b, :13b and :34b are version 1.6: four tiles of 336 pixels plus an overview, 2,880 tokens.
    Traits("llava", 672, 4096, LLAVA_16),
    Traits("llava:7b-v1.5", 336, 4096, LLAVA_15_7B),
    Traits("llava:13b-v1.5", 336, 4096, LLAVA_15_13B),
    Traits("llava-1.5", 336, 4096, LLAVA_15_7B),
    Traits("llava-llama3", 336, 4096, LLAVA_LLAMA3),
    Traits("llava-phi3", 336, 4096, LLAVA_PHI3),
    Traits("bakllava", 336, 4096, BAKLLAVA),
    # Qwen models take images of any size, one token per 28×28 (Qwen 3: 32×32) pixels, so the edge is a choice.
    Traits("qwen2.5vl", 1024, 8192, QWEN_25),
    Traits("qwen3-vl", 1024, 8192, QWEN_3, calls_at_once=1, calls_source=SCHEDULER),
    Traits("gemma3", 896, 8192, GEMMA_3),
    Traits("minicpm-v", 1344, 8192, MINICPM_26),
    # Four tiles of 560 pixels.
    Traits("llama3.2-vision", 1120, 8192, LLAMA_32, calls_at_once=1, calls_source=SCHEDULER),
    Traits("moondream", 378, 2048, UNVERIFIED),
    # Tiles of 384 pixels; more than four cost more tokens than a description of one frame is worth.
    Traits("granite3.2-vision", 768, 8192, GRANITE),
)


def traits_for(name: str, overrides: Mapping[str, int] | None = None) -> Traits:
    """The traits of the model `name`. `overrides` maps names of families or models to edges in pixels.

    An override for the full model name wins over one for its family.
    """
    name = name.lower()
    base = name.rsplit("/", maxsplit=1)[-1]
    prefixes = [traits for traits in FAMILIES if base.startswith(traits.family)]
    contained = [traits for traits in FAMILIES if traits.family in base]
    family = max(prefixes or contained, key=lambda traits: len(traits.family), default=UNKNOWN)
    edges = {key.lower(): edge for key, edge in (overrides or {}).items()}
    for key in (name, base, base.split(":", maxsplit=1)[0], family.family):
        if key in edges:
            return replace(family, edge=edges[key], source="settings")
    return family


def suggest_model(gpu_bytes: int) -> str | None:
    """The largest well-known model that fits into this much GPU memory and leaves a fifth of it free."""
    for name, size_gb in SUGGESTED_GB:
        if size_gb * 1e9 <= gpu_bytes * 0.8:
            return name
    return None


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """One model on a server."""

    name: str
    size_bytes: int
    digest: str
    family: str
    parameter_size: str
    sees: bool  # it is a vision model
    is_cloud: bool  # it runs in the cloud: images would leave the machine
    loaded: bool
    fits_gpu: bool | None  # None: not loaded, or no GPU is used


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model in a server's memory."""

    name: str
    digest: str
    size_bytes: int
    gpu_bytes: int

    @property
    def fits_gpu(self) -> bool | None:
        """Whether all of it is in GPU memory; None if nothing is, as on a machine without a GPU."""
        return None if self.gpu_bytes == 0 else self.gpu_bytes >= self.size_bytes


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One progress message of a download. Bytes are those of the layer in `status`; None without a layer."""

    status: str
    completed: int | None
    total: int | None


def is_cloud(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether a model runs in the cloud, judged by its name and the server's entry for it."""
    tag = full_name(name).rsplit(":", maxsplit=1)[-1].lower()
    return bool(entry.get("remote_host") or entry.get("remote_model")) or tag == "cloud" or tag.endswith("-cloud")


async def list_installed(host: OllamaHost) -> list[InstalledModel]:
    """List the server's models, vision models first. Raises DescribeError's subclasses."""
    tags, loaded = await asyncio.gather(host.get("/api/tags"), list_loaded(host))
    entries = _entries(tags, host)
    by_digest = {model.digest: model for model in loaded}
    sees = await asyncio.gather(*(_sees(host, entry) for entry in entries))
    models = [
        _model(entry, sees=can_see, loaded=by_digest.get(_text(entry.get("digest"))))
        for entry, can_see in zip(entries, sees, strict=True)
    ]
    return sorted(models, key=lambda model: (not model.sees, model.name))


async def find_model(host: OllamaHost, name: str) -> InstalledModel | None:
    """Find the model `name`; None if the server does not have it. Raises DescribeError's subclasses."""
    tags, loaded = await asyncio.gather(host.get("/api/tags"), list_loaded(host))
    for entry in _entries(tags, host):
        if is_same_model(name, _name(entry)):
            by_digest = {model.digest: model for model in loaded}
            return _model(entry, sees=await _sees(host, entry), loaded=by_digest.get(_text(entry.get("digest"))))
    return None


async def list_loaded(host: OllamaHost) -> list[LoadedModel]:
    """List the models in the server's memory. Raises DescribeError's subclasses."""
    answer = await host.get("/api/ps")
    return [
        LoadedModel(
            name=_name(entry),
            digest=_text(entry.get("digest")),
            size_bytes=_bytes(entry.get("size")),
            gpu_bytes=_bytes(entry.get("size_vram")),
        )
        for entry in _entries(answer, host)
    ]


async def pull(host: OllamaHost, name: str) -> AsyncIterator[PullProgress]:
    """Download a model to the server and yield the progress of each layer. Raises DescribeError's subclasses."""
    finished = False
    async for part in host.lines("/api/pull", {"model": name, "stream": True}, max_gap=PULL_STALL_SECONDS):
        status = _text(part.get("status"))
        finished = status == "success"
        yield PullProgress(status, _count(part.get("completed"), part), _count(part.get("total"), part))
    if not finished:
        raise CallFailedError(f"the download of `{name}` was interrupted: run `{host.pull_command(name)}` to resume it")


async def remove(host: OllamaHost, name: str) -> None:
    """Delete a model from the server's disk. Raises DescribeError's subclasses."""
    await host.delete("/api/delete", {"model": name}, seconds=REMOVE_TIMEOUT_SECONDS)


def _count(value: Any, part: Mapping[str, Any]) -> int | None:
    """Bytes of a layer. Servers omit zero."""
    return _bytes(value) if part.get("digest") else None


def _model(entry: Mapping[str, Any], *, sees: bool, loaded: LoadedModel | None) -> InstalledModel:
    details = _details(entry)
    name = _name(entry)
    return InstalledModel(
        name=name,
        size_bytes=_bytes(entry.get("size")),
        digest=_text(entry.get("digest")),
        family=_text(details.get("family")),
        parameter_size=_text(details.get("parameter_size")),
        sees=sees,
        is_cloud=is_cloud(name, entry),
        loaded=loaded is not None,
        fits_gpu=loaded.fits_gpu if loaded else None,
    )


async def _sees(host: OllamaHost, entry: Mapping[str, Any]) -> bool:
    """Whether it is a vision model: by the server's capabilities, or else by an image encoder."""
    name = _name(entry)
    capabilities = entry.get("capabilities")
    if capabilities is None and not is_cloud(name, entry):
        try:
            shown = await host.post("/api/show", {"model": name})
        except (CallFailedError, ModelError):
            shown = {}  # the server cannot open the model; decide by its families below
        capabilities = shown.get("capabilities")
        if capabilities is None and shown.get("projector_info"):
            return True
    if not isinstance(capabilities, list):
        families = _details(entry).get("families")
        return isinstance(families, list) and any(family in VISION_FAMILIES for family in families)
    return "vision" in capabilities


# What a server says of its models may have any type. What has the wrong one counts as not said.


def _entries(answer: Mapping[str, Any], host: OllamaHost) -> list[dict[str, Any]]:
    """The entries with a name in a server's list of models. Raises CallFailedError if there is no list."""
    models = answer.get("models")
    if models is None:
        models = []
    if not isinstance(models, list):
        raise CallFailedError(f"{host.address} sent an unreadable list of models: check that it is an Ollama server")
    return [entry for entry in models if isinstance(entry, dict) and _name(entry)]


def _name(entry: Mapping[str, Any]) -> str:
    return _text(entry.get("name")) or _text(entry.get("model"))


def _details(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    details = entry.get("details")
    return details if isinstance(details, dict) else {}


def _text(value: Any) -> str:
    return one_line(value, MAX_TEXT_CHARACTERS) if isinstance(value, str) else ""


def _bytes(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
