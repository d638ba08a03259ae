"""The stand-in's models and its normal behaviour."""

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ShelfModel:
    """A model of the stand-in."""

    name: str = "llava:13b"
    sees: bool = True
    lists_capabilities: bool = True  # servers before 0.6.4 do not
    remote_host: str = ""
    size: int = 8_000_000_000
    gpu_bytes: int = 8_000_000_000  # once loaded

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    def entry(self) -> dict[str, Any]:
        """The model as `/api/tags` lists it."""
        families = ["llama", "clip"] if self.sees else ["llama"]
        details = {"format": "gguf", "family": "llama", "families": families, "parameter_size": "13B"}
        remote = {"remote_host": self.remote_host, "remote_model": self.name} if self.remote_host else {}
        return {
            "name": self.name,
            "model": self.name,
            "size": self.size,
            "digest": self.digest,
            "details": details,
        } | remote


@dataclass(frozen=True)
class Conduct:
    """The stand-in's normal behaviour."""

    delay: float = 0.0  # seconds of a call
    load: float = 0.0  # additional seconds of the first call
    parallel: int = 1
    queue: int = 512
    models: tuple[ShelfModel, ...] = (ShelfModel(),)
    pullable: tuple[str, ...] = ("moondream:latest",)
    refused_fields: tuple[str, ...] = ()  # of a call: `format`, `think`
    refusal: str = "failed to load model vocabulary required for {field}"
