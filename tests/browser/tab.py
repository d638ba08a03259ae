"""A tab of a real browser, which writes down what must not happen in it: errors, questions, requests to elsewhere."""

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Dialog, Locator, Page, Request, expect

PATIENCE_MS = 20_000
expect.set_options(timeout=PATIENCE_MS)
# On the address of a page, Streamlit looks for these two beneath that page first and finds them at the root then.
STREAMLITS_OWN = re.compile(r"/[a-z]+/_stcore/(health|host-config)$")


@dataclass
class Tab:
    """One tab, and what happened in it."""

    page: Page
    address: str
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"{error.name}: {error.message}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)

    def open(self, path: str = "/") -> Self:
        """Go to a page of the dashboard, until it is drawn."""
        self.page.goto(f"{self.address}{path}")
        return self.settled()

    def settled(self) -> Self:
        """Wait until the page is drawn and nothing of it is still being made."""
        app = self.page.get_by_test_id("stApp")
        expect(app).to_have_attribute("data-test-script-state", "notRunning")
        expect(self.page.locator("[data-testid=stMain] h1").first).to_be_visible(timeout=PATIENCE_MS)
        expect(self.page.locator("[data-stale=true]")).to_have_count(0)
        self.page.wait_for_load_state("networkidle")
        return self

    def sees(self, words: str | re.Pattern[str], *, within: float = PATIENCE_MS) -> Locator:
        """Wait until these words are on the screen (`within` milliseconds)."""
        found = self.page.get_by_text(words).first
        expect(found).to_be_visible(timeout=within)
        return found

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name)

    def words(self) -> str:
        """All that is on the screen in words."""
        return self.page.get_by_test_id("stApp").inner_text()

    def scrolls_sideways(self) -> list[str]:
        """What is wider than the window, outside of what may be scrolled by itself; empty if nothing is."""
        return self.page.evaluate(WIDER_THAN_THE_WINDOW)

    def assert_clean(self) -> None:
        """Assert that nothing happened in this tab that must not."""
        assert self.errors == []
        assert self.dialogs == []
        assert self.elsewhere == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        url = message.location.get("url", "")
        if "404" in message.text and STREAMLITS_OWN.search(urlsplit(url).path):
            return
        self.errors.append(f"{message.text} ({url})")

    def _dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(self.address).netloc:
            self.elsewhere.append(request.url)


WIDER_THAN_THE_WINDOW = """() => {
    const parts = document.querySelectorAll("[data-testid=stMain], [data-testid=stAppViewContainer]");
    const scrolled = [document.scrollingElement, ...parts];
    if (scrolled.every(element => element.scrollWidth <= element.clientWidth)) return [];
    const width = document.documentElement.clientWidth;
    const wide = [...document.querySelectorAll("[data-testid=stMain] *")].filter(
        element => element.getBoundingClientRect().right > width + 1);
    return ["the page", ...wide.slice(0, 5).map(element => element.outerHTML.slice(0, 200))];
}"""
