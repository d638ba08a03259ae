"""Libraries in every state, and the app launched on them with Streamlit's AppTest.

The command line creates the libraries against a stand-in for Ollama. `working` has no real worker: its run belongs to a
sleeping process, which never reacts to a request. Tests of a worker's reactions start a real one.
"""

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from enrich.settings import load_settings
from pages.parts.inquiry import inquiries
from pages.parts.overview.status import refresh_overview
from tests.cli.conftest import NO_OLLAMA, live_in, living_in
from tests.cli.terminal import change
from tests.clips import numbered_clip
from tests.standin import StandIn, Trick
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.stem for path in (PROJECT / "pages").glob("*.py") if path.stem != "__init__")
LAUNCH_SECONDS = 30
STATES = ("empty", "working", "finished", "failed")  # fixtures that put such a library where the app opens it


@contextmanager
def _library(home: Path) -> Iterator[StandIn]:
    """The command line uses the library in `home` and the stand-in."""
    with StandIn(parallel=2) as server, living_in(home, server.address) as patch:
        patch.setattr("enrich.worker.result_writer.RETRY_PAUSE_SECONDS", 0)
        yield server


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a video (1) whose third frame failed and one (2) that is not extracted yet; to be copied."""
    from enrich.cli import run

    folder = tmp_path_factory.mktemp("filled")
    numbered_clip(folder / "[red]party.mp4", frames=5)
    numbered_clip(folder / "later.mp4", frames=4, first=50)
    with _library(folder / "home") as server:
        server.play(Trick.ERROR, frames=[2])
        assert run(["add", str(folder), "--sampling", "exact"]) == 0
        assert run(["enrich", "party"]) == 1
    return folder / "home"


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with two videos of 12 (1) and 8 frames (2), all described; to be copied."""
    from enrich.cli import run

    folder = tmp_path_factory.mktemp("described")
    numbered_clip(folder / "party.mp4", frames=12)
    numbered_clip(folder / "speech.mp4", frames=8, first=100)
    with _library(folder / "home"):
        assert run(["add", str(folder / "party.mp4"), str(folder / "speech.mp4"), "--sampling", "exact"]) == 0
        assert run(["enrich"]) == 0
    return folder / "home"


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a video (1), 3 of whose 9 frames failed for two reasons, and one (2) whose file is missing."""
    from enrich.cli import run

    folder = tmp_path_factory.mktemp("broken")
    numbered_clip(folder / "dark.mp4", frames=9)
    numbered_clip(folder / "gone.mp4", frames=4, first=50)
    with _library(folder / "home") as server:
        server.play(Trick.ERROR, frames=[1])
        server.play(Trick.EMPTY, frames=[3, 5], stubborn=True)
        assert run(["add", str(folder / "dark.mp4"), str(folder / "gone.mp4"), "--sampling", "exact"]) == 0
        (folder / "gone.mp4").unlink()
        assert run(["enrich"]) == 1
    return folder / "home"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_pauses: None) -> Path:
    """The app's data folder, still missing. No Ollama responds."""
    live_in(monkeypatch, tmp_path / "home", NO_OLLAMA)
    return tmp_path / "home"


class NavigatedPages(PagesManager):
    """Pages are reached only through the app, as `app.py` sets it in the server; AppTest resets that with each run."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        PagesManager.uses_pages_directory = False


@pytest.fixture
def launch(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """`launch("frames", video="1", frame="3")` runs the whole app at that address; without a name, the first page."""
    import streamlit as st

    monkeypatch.setattr("streamlit.testing.v1.app_test.PagesManager", NavigatedPages)

    def run(page: str | None = None, **query: str) -> AppTest:
        app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=LAUNCH_SECONDS)
        if page is None:
            app.query_params.update(query)
            return app.run()
        app.run()  # the pages are known after the first run
        app.switch_page(f"pages/{page}.py")
        app.query_params.clear()
        app.query_params.update(query)
        return app.run()

    yield run
    st.cache_resource.clear()
    st.cache_data.clear()


def answered(*question: str) -> None:
    """Wait until the command that a page runs in the background has its result."""
    settings = load_settings()
    wait_until(lambda: not inquiries().is_asking(settings, *question), f"{' '.join(question)} has a result")


@pytest.fixture
def launch_answered(launch: Callable[..., AppTest]) -> Callable[..., AppTest]:
    """`launch_answered("setup", "doctor")` runs a page again once its command has its result."""

    def run(page: str, question: str, **query: str) -> AppTest:
        app = launch(page, **query)
        assert not app.exception
        answered(question)
        return app.run()

    return run


@pytest.fixture
def empty(home: Path) -> Path:
    """An empty library."""
    from enrich.library.library import open_engine
    from enrich.settings import load_settings

    open_engine(load_settings()).dispose()
    return home


@pytest.fixture
def finished(home: Path, described: Path) -> Path:
    """A library with all frames described; its videos are `party` (1) and `speech` (2)."""
    shutil.copytree(described, home)
    return home


@pytest.fixture
def failed(home: Path, broken: Path) -> Path:
    """A library with failures: three frames of `dark` (1), and the missing file of `gone` (2)."""
    shutil.copytree(broken, home)
    return home


@pytest.fixture
def working(home: Path, filled: Path) -> Iterator[Path]:
    """The library of `filled`, with a run of a live process that reports extracting video 2."""
    shutil.copytree(filled, home)
    with psutil.Popen(["sleep", "600"], stdout=subprocess.DEVNULL) as process:
        begin_run(home, process)
        yield home
        process.kill()


def begin_run(home: Path, process: psutil.Process) -> int:
    """Write a run for a live process into a library, as a worker does; its id."""
    from db import runs
    from db.engine import make_engine, writing
    from db.models import RunState
    from enrich.process import identity_of

    now = datetime.now(UTC)
    host = {"host": NO_OLLAMA, "state": "serving", "reason": None, "since": now.isoformat(), "slots": 2, "calls": []}
    decoding = {"video_id": 2, "decoded": 2, "total": 4, "since": now.isoformat()}
    activity = {"hosts": [host], "extracting": decoding, "skimming": [], "canary": []}
    options = {
        "describer": "ollama",
        "model": "llava:13b",
        "hosts": [NO_OLLAMA],
        "call_seconds": 300,
        "load_seconds": 900,
    }
    engine = make_engine(f"sqlite:///{home / 'library.db'}")
    with writing(engine) as connection:
        run_id, _ = runs.begin(
            connection, identity_of(process), options=options, is_alive=lambda _: False, log_path=None, now=now
        )
        runs.set_state(connection, run_id, RunState.RUNNING, activity=activity)
    engine.dispose()
    return run_id


@pytest.fixture
def too_old(home: Path, filled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of the first schema, opened by a program that needs a newer one."""
    shutil.copytree(filled, home)
    monkeypatch.setattr("db.migrate.REVISION", "9999")
    return home


@pytest.fixture
def newer(home: Path, filled: Path) -> Path:
    """A library made by a newer EveryFrame."""
    shutil.copytree(filled, home)
    with closing(sqlite3.connect(home / "library.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    return home


@pytest.fixture
def damaged(home: Path) -> Path:
    """A library whose database file is corrupt."""
    home.mkdir()
    (home / "library.db").write_bytes(b"once a database" * 500)
    return home


def metrics(app: AppTest) -> dict[str, str]:
    """The figures on the page, by label."""
    return {metric.label: metric.value for metric in app.metric}


def said(app: AppTest) -> str:
    """All texts on the page."""
    kinds = (app.title, app.header, app.subheader, app.markdown, app.caption, app.text)
    notes = (app.error, app.warning, app.info, app.success)
    return "\n".join(str(element.value) for kind in (*kinds, *notes) for element in kind)


def buttons(app: AppTest) -> set[str]:
    """The labels of all buttons."""
    return {button.label for button in app.button}


def enabled(app: AppTest) -> set[str]:
    """The labels of the buttons that can be pressed."""
    return {button.label for button in app.button if not button.disabled}


def badge(app: AppTest) -> str:
    """The worker's state as the status line names it."""
    found = re.match(r":\w+-badge\[(.*)\]", str(app.markdown[0].value))
    assert found is not None
    return found[1]


def rerun_until(launch: Callable[..., AppTest], condition: Callable[[AppTest], object]) -> AppTest:
    """A fresh tab as soon as something holds in it."""
    apps: list[AppTest] = []

    def holds() -> object:
        apps.append(launch())
        return condition(apps[-1])

    wait_until(holds, "the page shows it", details=lambda: said(apps[-1]))
    return apps[-1]


def changed(home: Path, sql: str, *values: object) -> None:
    """Change the library from outside, and drop the cached state."""
    change(home, sql, *values)
    refresh_overview()


def press(app: AppTest, label: str) -> AppTest:
    """Press the button with a label."""
    [button] = [button for button in app.button if button.label == label]
    return button.click().run()


@pytest.fixture
def answering(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """An Ollama that responds at the configured address."""
    with StandIn(parallel=2) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server
