"""A real Ollama for tests, if there is one; otherwise the tests are skipped with the reason.

The script `ollama-server` is searched in the folder `ollama` below EVERYFRAME_TEST_SHARED, or below `../shared` beside
the repository. A server that already runs is used and not stopped; one started here is stopped again.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

PORT = 11_500  # of a server that already runs
MODEL = "tiny-llava"
TEXT_MODEL = f"tiny-text-{os.getpid()}"  # unique for each test run
START_SECONDS = 600  # the very first start downloads the server


@dataclass(frozen=True)
class RealOllama:
    """A running server with the model `tiny-llava`: its texts are noise, its protocol is real."""

    address: str
    model: str = MODEL
    text_model: str = TEXT_MODEL


@pytest.fixture(scope="session")
def real_ollama() -> Iterator[RealOllama]:
    """A real Ollama. The test is skipped if there is none."""
    if _has_model(f"http://127.0.0.1:{PORT}"):
        address, stop = f"http://127.0.0.1:{PORT}", None
    else:
        script, port = _script(), _free_port()
        done = _run(script, "start", str(port), timeout=START_SECONDS)
        if done.returncode != 0:
            pytest.skip(f"ollama-server does not start: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
        address, stop = f"http://127.0.0.1:{port}", (script, "stop", str(port))
    try:
        _make_text_model(address)
        yield RealOllama(address)
    finally:
        httpx.request("DELETE", f"{address}/api/delete", json={"model": TEXT_MODEL}, timeout=10, trust_env=False)
        if stop is not None:
            _run(*stop, timeout=60)


def _script() -> Path:
    named = os.environ.get("EVERYFRAME_TEST_SHARED")
    shared = Path(named) if named else Path(__file__).resolve().parents[2].parent / "shared"
    script = shared / "ollama" / "ollama-server"
    if not script.is_file():
        pytest.skip(f"no real Ollama: none runs on port {PORT}, and {script} does not exist")
    return script


def _run(*command: str | Path, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def _free_port() -> int:
    """A free port out of few, since the server keeps a folder for each port."""
    for port in range(PORT + 1, PORT + 20):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    pytest.skip("no real Ollama: no port is free for it")


def _has_model(address: str) -> bool:
    try:
        tags = httpx.get(f"{address}/api/tags", timeout=2, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return False
    return any(str(model.get("name", "")).startswith(MODEL) for model in tags.get("models", []))


def _make_text_model(address: str) -> None:
    """Create a text-only model from the text half of `tiny-llava`, out of the server's blobs."""
    shown = httpx.post(f"{address}/api/show", json={"model": MODEL}, timeout=10, trust_env=False).json()
    blobs = [line.split("sha256-")[1].strip() for line in shown["modelfile"].splitlines() if line.startswith("FROM ")]
    for blob in blobs:  # the server refuses the projector, which is not a model
        files = {"text.gguf": f"sha256:{blob}"}
        request = {"model": TEXT_MODEL, "files": files, "stream": False}
        made = httpx.post(f"{address}/api/create", json=request, timeout=30, trust_env=False)
        shown = httpx.post(f"{address}/api/show", json={"model": TEXT_MODEL}, timeout=10, trust_env=False)
        if made.is_success and shown.is_success and "completion" in shown.json().get("capabilities", []):
            return
