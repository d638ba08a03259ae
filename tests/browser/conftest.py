"""Chromium, a stand-in for Ollama, a library full of hostile texts, and dashboards."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browser.served import Dashboard, serve
from tests.browser.tab import Tab
from tests.browser.texts import hostile_library
from tests.standin import StandIn

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Turn off background activity of a fresh browser. No sandbox, because tests may run as root.
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
    """The path of Chromium: EVERYFRAME_TEST_CHROMIUM if set, else from PATH."""
    named = os.environ.get("EVERYFRAME_TEST_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Ends with its module: its running event loop prevents other tests from starting their own."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium with a temporary profile."""
    path = chromium()
    if path is None:
        pytest.skip("Chromium not found: install it, or set EVERYFRAME_TEST_CHROMIUM")
    with playwright.chromium.launch(executable_path=path, args=FLAGS) as browser:
        yield browser


@pytest.fixture
def new_tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """`new_tab(dashboard, width=400, color_scheme="dark")` opens a fresh tab; at the end, all tabs must be clean."""
    tabs: list[Tab] = []
    contexts = []

    def make(dashboard: Dashboard, *, width: int = WIDE, **options: Any) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": HEIGHT}, **options)
        contexts.append(context)
        dashboard.sign_in(context)
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
    """A described library in which every external text is hostile; read-only."""
    folder = tmp_path_factory.mktemp("strange")
    hostile_library(folder, standin)
    return folder / "home"


@pytest.fixture(scope="session")
def strange_dashboard(strange: Path, standin: StandIn) -> Iterator[Dashboard]:
    with serve(strange, strange.parent / "dashboard.log", OLLAMA_HOST=standin.address) as dashboard:
        yield dashboard


@pytest.fixture(scope="session")
def empty_dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard without a library and without Ollama."""
    folder = tmp_path_factory.mktemp("empty")
    with serve(folder / "home", folder / "dashboard.log", OLLAMA_HOST="http://127.0.0.1:9") as dashboard:
        yield dashboard
