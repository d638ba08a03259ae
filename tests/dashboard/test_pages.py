"""The app launched with Streamlit's own AppTest, on every kind of library."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.cli.conftest import quiet_environment
from tests.clips import numbered_clip
from tests.standin import StandIn, Trick

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.name for path in (PROJECT / "pages").glob("*.py") if path.name != "__init__.py")
LAUNCH_SECONDS = 30


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with one film whose third frame failed and one that is not decoded yet; to be copied."""
    from enrich.cli import run

    folder = tmp_path_factory.mktemp("filled")
    numbered_clip(folder / "[red]party.mp4", frames=5)
    numbered_clip(folder / "later.mp4", frames=4, first=50)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with StandIn(parallel=2) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in quiet_environment(folder / "home", OLLAMA_HOST=server.address).items():
            patch.setenv(name, value)
        patch.setattr("enrich.work.saving.RETRY_PAUSE_SECONDS", 0)
        server.play(Trick.ERROR, frames=[2])
        assert run(["add", str(folder), "--sampling", "exact"]) == 0
        assert run(["enrich", "party"]) == 1
    for number, handler in before.items():
        signal.signal(number, handler)
    return folder / "home"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("EVERYFRAME_") and not name.startswith("EVERYFRAME_TEST_"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    for name, value in quiet_environment(home).items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture
def launch(home: Path) -> Iterator[Callable[[], AppTest]]:
    """Runs the whole app once."""
    import streamlit as st

    def run() -> AppTest:
        return AppTest.from_file(str(PROJECT / "app.py"), default_timeout=LAUNCH_SECONDS).run()

    yield run
    st.cache_resource.clear()


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def said(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.error, *app.info, *app.text])


def test_without_a_library_an_empty_one_is_begun(launch, home):
    app = launch()
    assert not app.exception
    assert "The library is empty" in said(app)
    assert (home / "library.db").exists()


def test_an_empty_library_says_how_to_add(launch, home):
    from enrich.settings import load_settings
    from enrich.work.library import Library

    Library.open(load_settings()).engine.dispose()
    app = launch()
    assert not app.exception
    assert "The library is empty" in said(app)
    assert not app.metric


def test_a_filled_library_shows_its_counts(launch, home, filled):
    shutil.copytree(filled, home)
    app = launch()
    assert not app.exception
    assert not app.info
    assert metrics(app) == {
        "Videos enriched": "1 / 2",
        "Kept frames described": "4 / 5",
        "Source frames covered": "4",
        "Frames failed": "1",
    }
    (table,) = app.dataframe
    assert list(table.value["Title"]) == ["[red]party", "later"]
    assert list(table.value["Described"]) == [4, 0]
    assert list(table.value["Extraction"]) == ["extracted", "pending"]
    assert list(table.value["Enrichment"]) == ["enriched", "pending"]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_launched_by_the_app_without_an_exception(launch, home, filled, page):
    shutil.copytree(filled, home)
    app = launch()
    app.switch_page(f"pages/{page}").run()
    assert not app.exception
    assert app.title[0].value


def test_a_library_from_the_future_is_refused_with_the_command(launch, home, filled):
    shutil.copytree(filled, home)
    with closing(sqlite3.connect(home / "library.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    app = launch()
    assert not app.exception
    assert "newer EveryFrame" in said(app)
    assert "pip install --upgrade everyframe" in said(app)
    assert not app.metric


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "everyframe migrate"), (b"once a database" * 500, "cannot be read as a database")]
)
def test_a_file_that_is_no_library_is_refused(launch, home, content, words):
    home.mkdir()
    (home / "library.db").write_bytes(content)
    app = launch()
    assert not app.exception
    assert words in said(app)


def test_a_wrong_setting_is_named(launch, home, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_CONCURRENCY", "x")
    app = launch()
    assert not app.exception
    assert "EVERYFRAME_CONCURRENCY" in said(app)
