"""Quick scans in a real browser: the quote is right, cancelling sends nothing, accepting costs what was shown."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from enrich.wording import format_usd
from tests.browser.conftest import NARROW
from tests.browser.served import Dashboard, serve
from tests.browser.tab import Tab
from tests.browser.test_accessibility import check
from tests.clips import numbered_clip
from tests.standin import StandIn
from tests.standin_claude import KEY, ClaudeStandIn

pytestmark = pytest.mark.slow

FRAMES, KEY_FRAMES = 12, 5
SCAN_MS = 60_000
SUMS = re.compile(r"Estimated cost: (\$[\d.]+), at most (\$[\d.]+)\.")


@pytest.fixture
def claude() -> Iterator[ClaudeStandIn]:
    with ClaudeStandIn() as server:
        yield server


@pytest.fixture
def dashboard(tmp_path: Path, standin: StandIn, claude: ClaudeStandIn) -> Iterator[Dashboard]:
    """A dashboard with one described video, and an account at the stand-in for Claude."""
    numbered_clip(tmp_path / "wedding.mp4", frames=FRAMES)
    account = {"ANTHROPIC_BASE_URL": claude.address, "ANTHROPIC_API_KEY": KEY}
    with serve(
        tmp_path / "home",
        tmp_path / "log",
        OLLAMA_HOST=standin.address,
        EVERYFRAME_KEY_FRAMES=str(KEY_FRAMES),
        **account,
    ) as served:
        assert served.command("add", tmp_path / "wedding.mp4", "--sampling", "exact").returncode == 0
        assert served.command("enrich").returncode == 0
        yield served


def sums(tab: Tab) -> tuple[str, str]:
    """The estimated and the maximum cost in the dialog."""
    found = SUMS.search(tab.page.get_by_role("dialog").inner_text())
    assert found
    return found[1], found[2]


def test_cancelling_sends_nothing(dashboard, new_tab, claude):
    tab = new_tab(dashboard).open("/library?video=1")
    tab.button("Quick scan").click()
    tab.sees(re.compile(rf"{KEY_FRAMES} images are sent to Anthropic"))
    tab.button("Cancel").click()
    expect(tab.page.get_by_role("dialog")).to_have_count(0)
    tab.settled()
    assert claude.sent == []
    tab.open("/costs")
    tab.sees("No quick scans yet")
    assert claude.usd == 0


def test_quoted_price_holds_and_the_true_cost_is_shown(dashboard, new_tab, claude):
    tab = new_tab(dashboard).open("/costs")
    tab.button("Estimate cost").click()
    tab.sees(re.compile(rf"{KEY_FRAMES} images are sent to Anthropic"))
    about, most = sums(tab)
    assert claude.sent == []
    tab.button(f"Send {KEY_FRAMES} images").click()
    tab.sees(re.compile(r"Quick scan from [\d:]+ finished\. Cost: \$"), within=SCAN_MS)

    paid = claude.usd
    assert sum(len(bill.labels) for bill in claude.bills) == KEY_FRAMES, "each image was paid for once"
    assert 0 < paid <= float(most[1:])
    assert paid == pytest.approx(float(about[1:]), rel=0.6)  # the estimate of the reply length is on the safe side
    tab.open("/costs")
    tab.sees(
        f"{KEY_FRAMES} frames @ {format_usd(paid)}, {FRAMES} frames @ $0.00, 2.4x more analysis for the same price"
    )
    assert f"finished. Cost: {format_usd(paid)}" in tab.words()

    tab.button("Estimate cost").click()  # no video is preselected: all have been scanned
    expect(tab.page.get_by_role("dialog")).to_have_count(0)
    tab.open("/library?video=1")
    tab.button("Quick scan").click()
    tab.sees(f"All {KEY_FRAMES} key frames have been scanned already")
    tab.button("Close").last.click()
    assert claude.usd == paid


def test_batch_costs_half_the_price(dashboard, new_tab, claude):
    tab = new_tab(dashboard).open("/costs")
    tab.button("Estimate cost").click()
    tab.sees(re.compile(rf"{KEY_FRAMES} images are sent to Anthropic"))
    at_once, _ = sums(tab)
    tab.page.get_by_role("dialog").get_by_text("Send as a batch at half the price").click()
    expect(tab.page.get_by_role("dialog").get_by_text(at_once)).to_have_count(0, timeout=SCAN_MS)
    in_batch, _ = sums(tab)
    assert float(in_batch[1:]) == pytest.approx(float(at_once[1:]) / 2, abs=0.0001)
    assert claude.sent == []


def test_costs_page_is_accessible(dashboard, new_tab):
    tab = new_tab(dashboard, width=NARROW)
    check(tab, "/costs")
