"""The models that the Ollama servers have, as `everyframe models` tells them: one row a model, wherever it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from enrich.wording import size


@dataclass(frozen=True, slots=True)
class Model:
    """An installed model. `hosts` have it; `seconds` a frame here, None before its first calls."""

    name: str
    size_bytes: int
    parameter_size: str
    sees: bool
    is_cloud: bool
    is_loaded: bool
    fits_gpu: bool | None
    seconds: float | None
    hosts: tuple[str, ...]


def models_in(rows: Sequence[dict[str, Any]]) -> list[Model]:
    """The models that a list of them tells of; the same one on several servers is one."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(str(row["name"]), []).append(row)
    return [_model(name, same) for name, same in by_name.items()]


def is_same(name: str, other: str) -> bool:
    """Whether two names mean one model: `moondream` is `moondream:latest`."""
    return _whole(name) == _whole(other)


def memory(model: Model) -> str:
    """Whether it is loaded, and whether it fits the GPU, in words."""
    if not model.is_loaded:
        return "not loaded; whether it fits the GPU shows once it is"
    return {
        True: "loaded, fits the GPU",
        False: "loaded, does not fit the GPU: slow",
        None: "loaded, on the processor: no GPU is used",
    }[model.fits_gpu]


def pace(model: Model) -> str:
    """How fast it has been here, in words."""
    return "not measured here yet" if model.seconds is None else f"{number(model.seconds)} s a frame here"


def number(seconds: float) -> str:
    """Seconds as precisely as they matter: 12, 2.4, 0.03."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}" if seconds >= 0.1 else f"{seconds:.2f}"  # noqa: PLR2004


def weight(model: Model) -> str:
    """How large it is, in words."""
    return size(model.size_bytes) + (f", {model.parameter_size} parameters" if model.parameter_size else "")


def _model(name: str, rows: list[dict[str, Any]]) -> Model:
    first = rows[0]
    fits = [row["fits_gpu"] for row in rows if row["loaded"]]
    return Model(
        name=name,
        size_bytes=max(int(row["size_bytes"]) for row in rows),
        parameter_size=str(first["parameter_size"]),
        sees=all(row["sees"] for row in rows),
        is_cloud=any(row["is_cloud"] for row in rows),
        is_loaded=bool(fits),
        fits_gpu=False if False in fits else True if True in fits else None,
        seconds=first["seconds_per_frame"],
        hosts=tuple(str(row["host"]) for row in rows),
    )


def _whole(name: str) -> str:
    return (name if ":" in name.rsplit("/", maxsplit=1)[-1] else f"{name}:latest").lower()
