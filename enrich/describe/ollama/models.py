"""What models an Ollama server has, which of them see, and how to get more or fewer."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from enrich.describe.ollama.client import OllamaHost
from enrich.errors import CallFailedError, ModelError

PULL_SILENCE_SECONDS = 300.0  # a download that says nothing for so long has died
REMOVE_SECONDS = 60.0  # a slow disk takes its time over gigabytes
VISION_FAMILIES = ("clip", "mllama")  # what servers too old to list capabilities call models that see


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """One model of a server."""

    name: str
    size_bytes: int
    digest: str
    family: str
    parameter_size: str
    sees: bool
    is_cloud: bool  # it runs elsewhere: pictures would leave the machine
    loaded: bool
    fits_gpu: bool | None  # None: not loaded, or no GPU is in use


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model in a server's memory."""

    name: str
    digest: str
    size_bytes: int
    gpu_bytes: int

    @property
    def fits_gpu(self) -> bool | None:
        """Whether all of it lies in the GPU's memory; None if nothing does, as on a machine without one."""
        return None if self.gpu_bytes == 0 else self.gpu_bytes >= self.size_bytes


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One message of a download; bytes are those of the layer that `status` names, None where it has none."""

    status: str
    completed: int | None
    total: int | None


def whole_name(name: str) -> str:
    """A model's name with its tag, as servers list it."""
    return name if ":" in name.rsplit("/", maxsplit=1)[-1] else f"{name}:latest"


def is_cloud(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether a model of this name, as a server describes it, runs elsewhere."""
    tag = whole_name(name).rsplit(":", maxsplit=1)[-1].lower()
    return bool(entry.get("remote_host") or entry.get("remote_model")) or tag == "cloud" or tag.endswith("-cloud")


async def installed(host: OllamaHost) -> list[InstalledModel]:
    """Every model the server has, those that see first. Raises DescribeError's subclasses."""
    tags, loaded = await asyncio.gather(host.get("/api/tags"), loaded_models(host))
    entries = [entry for entry in tags.get("models") or [] if isinstance(entry, dict)]
    by_digest = {model.digest: model for model in loaded}
    sees = await asyncio.gather(*(_sees(host, entry) for entry in entries))
    models = [
        _model(entry, sees=can_see, loaded=by_digest.get(str(entry.get("digest"))))
        for entry, can_see in zip(entries, sees, strict=True)
    ]
    return sorted(models, key=lambda model: (not model.sees, model.name))


async def find(host: OllamaHost, name: str) -> InstalledModel | None:
    """The model called `name`, if the server has it. Raises DescribeError's subclasses."""
    tags, loaded = await asyncio.gather(host.get("/api/tags"), loaded_models(host))
    for entry in tags.get("models") or []:
        if isinstance(entry, dict) and whole_name(name).lower() == str(entry.get("name") or entry.get("model")).lower():
            by_digest = {model.digest: model for model in loaded}
            return _model(entry, sees=await _sees(host, entry), loaded=by_digest.get(str(entry.get("digest"))))
    return None


async def loaded_models(host: OllamaHost) -> list[LoadedModel]:
    """What lies in the server's memory. Raises DescribeError's subclasses."""
    answer = await host.get("/api/ps")
    return [
        LoadedModel(
            name=str(entry.get("name") or entry.get("model") or ""),
            digest=str(entry.get("digest") or ""),
            size_bytes=int(entry.get("size") or 0),
            gpu_bytes=int(entry.get("size_vram") or 0),
        )
        for entry in answer.get("models") or []
        if isinstance(entry, dict)
    ]


async def pull(host: OllamaHost, name: str) -> AsyncIterator[PullProgress]:
    """Download a model to the server, telling its progress layer by layer. Raises DescribeError's subclasses."""
    finished = False
    async for part in host.lines("/api/pull", {"model": name, "stream": True}, silence=PULL_SILENCE_SECONDS):
        status = str(part.get("status") or "")
        finished = status == "success"
        yield PullProgress(status, _count(part.get("completed"), part), _count(part.get("total"), part))
    if not finished:
        raise CallFailedError(f"the download of `{name}` broke off: run `{host.pull_command(name)}` again")


async def remove(host: OllamaHost, name: str) -> None:
    """Delete a model from the server's disk. Raises DescribeError's subclasses."""
    await host.delete("/api/delete", {"model": name}, seconds=REMOVE_SECONDS)


def _count(value: Any, part: Mapping[str, Any]) -> int | None:
    """Bytes of a layer: a server leaves out a zero."""
    return int(value or 0) if part.get("digest") else None


def _model(entry: Mapping[str, Any], *, sees: bool, loaded: LoadedModel | None) -> InstalledModel:
    details = entry.get("details") or {}
    name = str(entry.get("name") or entry.get("model") or "")
    return InstalledModel(
        name=name,
        size_bytes=int(entry.get("size") or 0),
        digest=str(entry.get("digest") or ""),
        family=str(details.get("family") or ""),
        parameter_size=str(details.get("parameter_size") or ""),
        sees=sees,
        is_cloud=is_cloud(name, entry),
        loaded=loaded is not None,
        fits_gpu=loaded.fits_gpu if loaded else None,
    )


async def _sees(host: OllamaHost, entry: Mapping[str, Any]) -> bool:
    """Whether a model sees: what the server says, or else whether it carries a picture encoder."""
    name = str(entry.get("name") or entry.get("model"))
    capabilities = entry.get("capabilities")
    if capabilities is None and not is_cloud(name, entry):
        try:
            shown = await host.post("/api/show", {"model": name})
        except (CallFailedError, ModelError):
            shown = {}  # a model the server cannot open; the families below say what is known of it
        capabilities = shown.get("capabilities")
        if capabilities is None and shown.get("projector_info"):
            return True
    if capabilities is None:
        families = (entry.get("details") or {}).get("families") or []
        return any(family in VISION_FAMILIES for family in families)
    return "vision" in capabilities
