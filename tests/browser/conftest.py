"""Chromium, a stand-in for Ollama, libraries of strange texts, and the dashboard over them."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browser.served import Dashboard, serve
from tests.browser.tab import Tab
from tests.browser.texts import strange_library
from tests.standin import StandIn

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# What a fresh browser does by itself that a test has no use for; without a sandbox, since tests may run as root.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDE, NARROW = 1280, 400
HEIGHT = 900


def chromium() -> str | None:
    """Where Chromium is: as EVERYFRAME_TEST_CHROMIUM says, else on the path."""
    named = os.environ.get("EVERYFRAME_TEST_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Ends with its module: while it runs, so does an event loop, in which no other test can begin one of its own."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium, with a profile of its own that is thrown away."""
    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium: install one, or name it in EVERYFRAME_TEST_CHROMIUM")
    with playwright.chromium.launch(executable_path=path, args=FLAGS) as browser:
        yield browser


@pytest.fixture
def new_tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """`new_tab(dashboard, width=400, color_scheme="dark")`: a fresh tab; at the end all must be clean."""
    tabs: list[Tab] = []
    contexts = []

    def make(dashboard: Dashboard, *, width: int = WIDE, **how: Any) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": HEIGHT}, **how)
        contexts.append(context)
        tabs.append(Tab(context.new_page(), dashboard.address))
        return tabs[-1]

    yield make
    for context in contexts:
        context.close()
    for tab in tabs:
        tab.assert_clean()


@pytest.fixture(scope="session")
def standin() -> Iterator[StandIn]:
    with StandIn(parallel=2) as server:
        yield server


@pytest.fixture(scope="session")
def strange(tmp_path_factory: pytest.TempPathFactory, standin: StandIn) -> Path:
    """A described library in which every text that others write is a hostile one; only to be looked at."""
    folder = tmp_path_factory.mktemp("strange")
    strange_library(folder, standin)
    return folder / "home"


@pytest.fixture(scope="session")
def strange_dashboard(strange: Path, standin: StandIn) -> Iterator[Dashboard]:
    with serve(strange, strange.parent / "dashboard.log", OLLAMA_HOST=standin.address) as dashboard:
        yield dashboard


@pytest.fixture(scope="session")
def empty_dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard without a library, where no Ollama answers."""
    folder = tmp_path_factory.mktemp("empty")
    with serve(folder / "home", folder / "dashboard.log", OLLAMA_HOST="http://127.0.0.1:9") as dashboard:
        yield dashboard
