"""What the stand-in claims to have, and how it behaves when it behaves well."""

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ShelfModel:
    """A model the stand-in claims to have."""

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
    """How the stand-in behaves when it behaves well."""

    delay: float = 0.0  # seconds a call takes
    load: float = 0.0  # seconds the first call takes on top
    parallel: int = 1
    queue: int = 512
    models: tuple[ShelfModel, ...] = (ShelfModel(),)
    pullable: tuple[str, ...] = ("moondream:latest",)
