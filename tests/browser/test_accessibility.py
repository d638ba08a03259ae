"""What axe-core finds on the pages, light and dark, wide and narrow; and that nothing must be scrolled sideways."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import HEIGHT, NARROW, WIDE
from tests.browser.served import Dashboard
from tests.browser.tab import Tab
from tests.cli.terminal import ask

GRAVE = {"serious", "critical"}
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (WIDE, NARROW)]
EMPTY = ["/", "/library", "/frames", "/search", "/models", "/setup"]
FILLED = [
    "/",
    "/library",
    "/library?video=1",
    "/frames?video=1",
    "/frames?video=2&show=failed",
    "/frames?video=1&source=3",
    "/search",
    "/search?q=strange",
    "/search?q=notthere",
    "/models",
    "/setup",
]


def grave(tab: Tab) -> list[str]:
    """What axe-core finds that is serious or critical: the rule, and where."""
    found = Axe().run(tab.page).response["violations"]
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for violation in found
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]


def look(tab: Tab, path: str) -> None:
    """Open a page, and look at it."""
    tab.open(path)
    look_at(tab)


def look_at(tab: Tab) -> None:
    """Look at what is open in every light and width, without opening it anew."""
    for scheme, width in LOOKS:
        tab.page.emulate_media(color_scheme=scheme)
        tab.page.set_viewport_size({"width": width, "height": HEIGHT})
        tab.settled()
        assert (scheme, width, grave(tab)) == (scheme, width, [])
        if width == NARROW:
            assert (scheme, tab.scrolls_sideways()) == (scheme, [])


def first_frame(dashboard: Dashboard) -> int:
    return ask(dashboard.home, "SELECT id FROM frames WHERE video_id = 1 ORDER BY timestamp LIMIT 1")[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("path", EMPTY)
def test_pages_of_an_empty_library(empty_dashboard, new_tab, path):
    look(new_tab(empty_dashboard), path)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILLED)
def test_pages_of_a_library_with_everything_in_it(strange_dashboard, new_tab, path):
    look(new_tab(strange_dashboard), path.format(frame=first_frame(strange_dashboard)))


@pytest.mark.slow
def test_a_moment_that_is_played(strange_dashboard, new_tab):
    tab = new_tab(strange_dashboard).open("/search?q=strange")
    tab.page.locator("[class*=st-key-play-] button").first.click()
    expect(tab.page.get_by_role("dialog")).to_be_visible()
    look_at(tab.settled())


def test_a_frame(strange_dashboard, new_tab):
    look(new_tab(strange_dashboard), f"/frames?video=1&frame={first_frame(strange_dashboard)}")
