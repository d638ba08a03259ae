"""Checkpoints of an extraction: what it needs to continue at a key frame with the same decisions, as bytes.

The state is a mapping of JSON values and arrays. It is not pickled, because a library may come from elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeAlias, cast

import numpy as np

VERSION = 2  # of the state: increase it when the meaning of a value, or a decision based on it, changes
ARRAY_KEY = "array"

State: TypeAlias = Mapping[str, Any]  # JSON values, arrays, and mappings of them


class InvalidCheckpointError(Exception):
    """The extraction cannot continue at this checkpoint and must begin at the start."""


@dataclass(frozen=True, slots=True)
class ExtractionCheckpoint:
    """Where an extraction can continue. All kept frames before it were yielded, and their images are durable."""

    index: int  # of the source frame after which it continues
    state: bytes


def pack(state: State) -> bytes:
    """The state as bytes, compressed; about 100 KB."""
    arrays: list[np.ndarray] = []

    def without_arrays(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return {ARRAY_KEY: len(arrays) - 1}
        return {key: without_arrays(part) for key, part in value.items()} if isinstance(value, Mapping) else value

    text = json.dumps({"version": VERSION, "state": without_arrays(state)})
    file = BytesIO()
    np.savez_compressed(file, np.frombuffer(text.encode(), np.uint8), *arrays)
    return file.getvalue()


def unpack(data: bytes) -> State:
    """The state that `pack` was given. Raises InvalidCheckpointError."""
    try:
        with np.load(BytesIO(data), allow_pickle=False) as file:
            text, *arrays = (file[name] for name in file.files)
        packed = json.loads(text.tobytes())
        version, state = packed["version"], _with_arrays(packed["state"], arrays)
    except Exception as error:  # numpy, zipfile and zlib raise many kinds for damaged bytes
        raise InvalidCheckpointError(f"{type(error).__name__}: {error}") from error
    if version != VERSION:
        raise InvalidCheckpointError(f"version {version}")
    return cast("State", state)


def _with_arrays(value: Any, arrays: list[np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() == {ARRAY_KEY}:
        return arrays[value[ARRAY_KEY]]
    return {key: _with_arrays(part, arrays) for key, part in value.items()}
