"""Getting into the dashboard with a real browser: with its address, by pasting the token, and in an open tab."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from enrich.control.access_token import OPENING_FILE, OPENING_PAGE, TOKEN_FILE
from tests.browser.conftest import HEIGHT, NARROW, WIDE
from tests.browser.served import Dashboard, free_port, serve
from tests.browser.tab import PATIENCE_MS

pytestmark = pytest.mark.slow
NO_OLLAMA = "http://127.0.0.1:9"


@pytest.fixture
def page(browser: Browser):
    """A tab of a browser that has never been here."""
    with browser.new_context(viewport={"width": WIDE, "height": HEIGHT}) as context:
        yield context.new_page()


def is_drawn(page: Page, title: str) -> None:
    expect(page.locator("[data-testid=stMain] h1").first).to_have_text(title, timeout=PATIENCE_MS)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def test_opening_page_leads_to_the_dashboard(strange_dashboard: Dashboard, page: Page, tmp_path: Path):
    """As the command opens a browser: with a local page, which is another site."""
    opening = tmp_path / OPENING_FILE
    opening.write_text(OPENING_PAGE.format(address=strange_dashboard.opening_address), encoding="utf-8")
    page.goto(opening.as_uri())
    page.wait_for_url(f"{strange_dashboard.address}/")
    is_drawn(page, "Overview")
    token = strange_dashboard.opening_address.partition("=")[2]
    assert token not in page.evaluate("document.referrer + document.cookie + location.href")
    page.go_back()
    assert "token" not in page.url.removeprefix(opening.as_uri())
    page.goto(f"{strange_dashboard.address}/frames?video=1&frame=1")
    page.wait_for_function("() => [...document.images].some(one => one.src.includes('/picture/') && one.naturalWidth)")
    ranged = "fetch('/film/1', {headers: {Range: 'bytes=0-9'}}).then(answer => answer.status)"
    assert page.evaluate(ranged) == 206


def test_without_a_session_the_page_says_how_to_get_in(strange_dashboard: Dashboard, page: Page):
    page.set_viewport_size({"width": NARROW, "height": HEIGHT})
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    answer = page.goto(f"{strange_dashboard.address}/frames?video=1")
    assert answer is not None
    assert answer.status == 401
    expect(page.get_by_text("Open the address that everyframe dashboard printed")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert {url for url in requested if "favicon" not in url} == {f"{strange_dashboard.address}/frames?video=1"}
    page.get_by_label("Or paste the address or its token").fill("guessed")
    page.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_contain_text("This token is not valid")
    page.get_by_label("Or paste the address or its token").fill(strange_dashboard.opening_address)
    page.get_by_role("button").click()
    page.wait_for_url(f"{strange_dashboard.address}/frames?video=1")
    is_drawn(page, "Frames")


def test_open_tab_survives_a_restart_but_not_a_new_token(page: Page, tmp_path: Path):
    home, port = tmp_path / "home", free_port()
    with serve(home, tmp_path / "log", port=port, OLLAMA_HOST=NO_OLLAMA) as first:
        page.goto(first.opening_address)
        is_drawn(page, "Overview")
    with serve(home, tmp_path / "log", port=port, OLLAMA_HOST=NO_OLLAMA) as second:
        page.get_by_role("link", name="Setup").click(timeout=PATIENCE_MS)
        is_drawn(page, "Setup")
        page.reload()
        is_drawn(page, "Setup")
        with serve(home, tmp_path / "other", port=free_port(), OLLAMA_HOST=NO_OLLAMA) as other:
            page.goto(other.opening_address)
            is_drawn(page, "Overview")
            page.goto(second.address)
            is_drawn(page, "Overview")
        os.unlink(home / TOKEN_FILE)  # noqa: PTH108
        # The Overview page refreshes by itself, and the server closes its connection.
        expect(page.get_by_text(re.compile(r"Open the address that\s+`?everyframe dashboard"))).to_be_visible()
