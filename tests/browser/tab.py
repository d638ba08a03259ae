"""A tab of a real browser that records what must not happen in it: errors, dialogs, requests to other hosts."""

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Dialog, Locator, Page, Request, expect

PATIENCE_MS = 20_000
expect.set_options(timeout=PATIENCE_MS)
# Streamlit requests these two below the current page first, and then at the root.
EXPECTED_404 = re.compile(r"/[a-z]+/_stcore/(health|host-config)$")


@dataclass
class Tab:
    """One tab, and the events recorded in it."""

    page: Page
    address: str
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"{error.name}: {error.message}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)

    def open(self, path: str = "/") -> Self:
        """Go to a page of the dashboard, and wait until it is drawn."""
        self.page.goto(f"{self.address}{path}")
        return self.settled()

    def settled(self) -> Self:
        """Wait until the page is drawn completely."""
        app = self.page.get_by_test_id("stApp")
        expect(app).to_have_attribute("data-test-script-state", "notRunning")
        expect(self.page.locator("[data-testid=stMain] h1").first).to_be_visible(timeout=PATIENCE_MS)
        expect(self.page.locator("[data-stale=true]")).to_have_count(0)
        self.page.wait_for_load_state("networkidle")
        return self

    def sees(self, words: str | re.Pattern[str], *, within: float = PATIENCE_MS) -> Locator:
        """Wait until this text is visible (`within` milliseconds)."""
        found = self.page.get_by_text(words).first
        expect(found).to_be_visible(timeout=within)
        return found

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name)

    def words(self) -> str:
        """All visible text."""
        return self.page.get_by_test_id("stApp").inner_text()

    def scrolls_sideways(self) -> list[str]:
        """Elements wider than the window, unless inside a scrollable area; empty if there are none."""
        return self.page.evaluate(WIDER_THAN_THE_WINDOW)

    def assert_clean(self) -> None:
        """Assert that no error, dialog or foreign request was recorded."""
        assert self.errors == []
        assert self.dialogs == []
        assert self.foreign_requests == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        url = message.location.get("url", "")
        if "404" in message.text and EXPECTED_404.search(urlsplit(url).path):
            return
        self.errors.append(f"{message.text} ({url})")

    def _dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(self.address).netloc:
            self.foreign_requests.append(request.url)


WIDER_THAN_THE_WINDOW = """() => {
    const parts = document.querySelectorAll("[data-testid=stMain], [data-testid=stAppViewContainer]");
    const scrolled = [document.scrollingElement, ...parts];
    if (scrolled.every(element => element.scrollWidth <= element.clientWidth)) return [];
    const width = document.documentElement.clientWidth;
    const wide = [...document.querySelectorAll("[data-testid=stMain] *")].filter(
        element => element.getBoundingClientRect().right > width + 1);
    return ["the page", ...wide.slice(0, 5).map(element => element.outerHTML.slice(0, 200))];
}"""
