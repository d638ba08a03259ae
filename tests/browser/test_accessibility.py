"""axe-core finds no serious problem on any page, light and dark, wide and narrow; no page scrolls sideways."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import HEIGHT, NARROW, WIDE
from tests.browser.served import Dashboard
from tests.browser.tab import Tab
from tests.cli.terminal import ask

SEVERE = {"serious", "critical"}
VARIANTS = [(scheme, width) for scheme in ("light", "dark") for width in (WIDE, NARROW)]
EMPTY = ["/", "/library", "/frames", "/search", "/models", "/costs", "/setup"]
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
    "/costs",
    "/setup",
]

LONG_DETAIL = "1,226 frames left and 12 videos to extract, estimating the time"
CUT_OFF = """cards => [...cards.querySelectorAll("*")]
    .filter(element => getComputedStyle(element).overflowX != "visible")
    .filter(element => element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1)
    .map(element => element.textContent)"""


def severe_violations(tab: Tab) -> list[str]:
    """axe-core's serious or critical violations: the rule and the element."""
    found = Axe().run(tab.page).response["violations"]
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for violation in found
        if violation["impact"] in SEVERE
        for node in violation["nodes"]
    ]


def check(tab: Tab, path: str) -> None:
    """Open a page and check it."""
    tab.open(path)
    check_tab(tab)


def check_tab(tab: Tab) -> None:
    """Check the open page in both colour schemes and widths, without reloading it."""
    for scheme, width in VARIANTS:
        tab.page.emulate_media(color_scheme=scheme)
        tab.page.set_viewport_size({"width": width, "height": HEIGHT})
        tab.settled()
        assert (scheme, width, severe_violations(tab)) == (scheme, width, [])
        if width == NARROW:
            assert (scheme, tab.scrolls_sideways()) == (scheme, [])


def first_frame(dashboard: Dashboard) -> int:
    return ask(dashboard.home, "SELECT id FROM frames WHERE video_id = 1 ORDER BY timestamp LIMIT 1")[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("path", EMPTY)
def test_empty_library_pages(empty_dashboard, new_tab, path):
    check(new_tab(empty_dashboard), path)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILLED)
def test_full_library_pages(strange_dashboard, new_tab, path):
    check(new_tab(strange_dashboard), path)


@pytest.mark.slow
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_overview_cards_cut_off_no_text(strange_dashboard, new_tab, width):
    tab = new_tab(strange_dashboard, width=width).open("/")
    cards = tab.page.locator("[class*=st-key-status-cards]")
    details = tab.page.get_by_test_id("stMetricDelta").locator("p")
    expect(details).to_have_count(4)
    details.evaluate_all("(all, text) => all.forEach(detail => { detail.textContent = text; })", LONG_DETAIL)
    assert cards.evaluate(CUT_OFF) == []


@pytest.mark.slow
def test_playing_moment(strange_dashboard, new_tab):
    tab = new_tab(strange_dashboard).open("/search?q=strange")
    tab.page.locator("[class*=st-key-play-] button").first.click()
    expect(tab.page.get_by_role("dialog")).to_be_visible()
    check_tab(tab.settled())


@pytest.mark.slow
def test_frame_page(strange_dashboard, new_tab):
    check(new_tab(strange_dashboard), f"/frames?video=1&frame={first_frame(strange_dashboard)}")
