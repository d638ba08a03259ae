"""The whole user journey: from an empty library to a corrected description that is found and played."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.served import Dashboard, serve
from tests.browser.tab import PATIENCE_MS, Tab
from tests.clips import numbered_clip
from tests.standin import StandIn

FRAMES = 100
CALL_SECONDS = 1.0
WORDS = "grandmother laughing heartily at the speech"
CONTEXT = "Wedding of Ana and Tom in a garden"


@pytest.fixture
def slow_standin() -> Iterator[StandIn]:
    """A slow stand-in, so that there is progress to watch."""
    with StandIn(parallel=2, delay=CALL_SECONDS) as server:
        yield server


@pytest.fixture
def user_home(tmp_path: Path) -> Path:
    """A user's home folder with one video."""
    videos = tmp_path / "user" / "Videos"
    videos.mkdir(parents=True)
    numbered_clip(videos / "wedding.mp4", frames=FRAMES, fps=10)
    return videos.parent


@pytest.fixture
def dashboard(tmp_path: Path, user_home: Path, slow_standin: StandIn) -> Iterator[Dashboard]:
    """A dashboard without a library; its worker is stopped at the end."""
    home = str(user_home)
    with serve(
        tmp_path / "home", tmp_path / "log", OLLAMA_HOST=slow_standin.address, HOME=home, USERPROFILE=home
    ) as served:
        yield served
        served.command("stop")


def analyzed(page: Page) -> int:
    """The number of described frames on the enrichment card."""
    text = page.get_by_text(re.compile(r"Frames analyzed: [\d,]+/")).inner_text()
    found = re.search(r"([\d,]+)/", text)
    assert found
    return int(found[1].replace(",", ""))


def control(tab: Tab, name: str) -> Locator:
    """A button that controls the worker."""
    return tab.page.locator(f".st-key-worker-{name.lower()} button")


def go(tab: Tab, page: str) -> Tab:
    """Open a page through the top navigation."""
    tab.page.get_by_test_id("stTopNavLink").get_by_text(page, exact=True).click()
    expect(tab.page.get_by_role("heading", level=1)).to_be_visible()
    return tab.settled()


def write(tab: Tab, label: str, words: str) -> None:
    """Fill in a field and leave it."""
    field = tab.page.get_by_role("textbox", name=label)
    field.fill(words)
    field.blur()
    tab.settled()


def add_the_video(tab: Tab) -> None:
    tab.sees("The library is empty.")
    tab.page.get_by_role("main").or_(tab.page.get_by_test_id("stMain")).get_by_role("link", name="Add videos").click()
    tab.sees(re.compile(r"^wedding\.mp4")).click()
    tab.page.get_by_text("Every frame", exact=True).click()
    write(tab, "Context", CONTEXT)
    tab.button("Estimate time and space").click()
    tab.sees(f"about {FRAMES}")
    tab.sees("shows after its first few frames")
    tab.button("Add 1 video to the library").click()
    tab.sees("1 video added.")
    tab.sees(re.compile(CONTEXT))


def start_and_watch(tab: Tab) -> None:
    go(tab, "Overview")
    control(tab, "Start").click()
    tab.sees("Starting…")
    tab.sees("Working")
    tab.sees("🧠 Enrichment Progress")
    tab.sees("Videos enriched: 0/1")
    tab.sees(re.compile(r"Current: wedding\.mp4 \(\d+ % complete\)"))
    expect(control(tab, "Pause")).to_be_visible()
    expect(control(tab, "Stop")).to_be_visible()
    first = analyzed(tab.page)
    tab.page.wait_for_function(
        "before => +/Frames analyzed: (\\d+)/.exec(document.body.innerText)?.[1] > before", arg=first + 3
    )


def open_a_frame_and_correct_it(tab: Tab) -> str:
    """Open one of the latest frames and correct its description; the frame's address."""
    tab.page.locator("[class*=st-key-latest-]").get_by_role("link", name=re.compile("^wedding")).first.click()
    tab.page.wait_for_url(re.compile(r"/frames\?.*frame=\d+"))
    tab.settled()
    image = tab.page.locator(".st-key-frame-image img")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.complete && image.naturalWidth") > 100
    field = tab.page.get_by_role("textbox", name="Your description")
    expect(field).not_to_have_value("")
    said = field.input_value()
    write(tab, "Your description", WORDS)
    tab.button("Save").click()
    tab.sees(re.compile("Corrected by you on"))
    tab.sees(said)  # the model's description stays visible
    return tab.page.url.removeprefix(tab.address)


def find_and_play(tab: Tab) -> None:
    go(tab, "Search")
    box = tab.page.get_by_role("searchbox", name="Search")
    box.fill("grandmother")
    box.press("Enter")
    tab.sees(re.compile("^1 moment$"))
    expect(tab.page.locator("[class*=st-key-hit-] strong")).to_have_text("grandmother")
    with tab.page.expect_response(re.compile(r"/film/1$")) as answered:
        tab.page.locator("[class*=st-key-hit-]").get_by_role("button", name=re.compile("wedding")).click()
    assert answered.value.status == 206
    assert re.fullmatch(r"bytes \d+-\d+/\d+", answered.value.headers["content-range"])
    video = tab.page.get_by_role("dialog").locator("video")
    expect(video).to_be_visible()
    tab.page.wait_for_function("() => document.querySelector('video').readyState >= 2")
    assert video.evaluate("video => video.error") is None
    tab.page.keyboard.press("Escape")
    expect(tab.page.get_by_role("dialog")).to_have_count(0)


def pause_resume_stop(tab: Tab) -> None:
    go(tab, "Overview")
    control(tab, "Pause").click()
    tab.sees("Paused")
    tab.settled()
    held = analyzed(tab.page)
    assert held < FRAMES
    tab.page.wait_for_timeout(3 * CALL_SECONDS * 1000)
    assert analyzed(tab.page) <= held + 2, "only the frames in progress may still be finished"
    place = control(tab, "Stop").bounding_box()
    control(tab, "Resume").click()
    tab.sees("Working")
    expect(control(tab, "Pause")).to_be_enabled()
    assert control(tab, "Stop").bounding_box() == place
    control(tab, "Stop").click()  # immediately: it must not move when other buttons change
    tab.sees("Stopping…")
    tab.sees("Stopped")
    expect(control(tab, "Start")).to_be_enabled()
    expect(control(tab, "Pause")).to_have_count(0)


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_journey_from_empty_library_to_playing_a_moment(dashboard, new_tab, slow_standin):
    tab = new_tab(dashboard).open()
    add_the_video(tab)
    start_and_watch(tab)
    address = open_a_frame_and_correct_it(tab)
    find_and_play(tab)
    pause_resume_stop(tab)
    described = analyzed(tab.page)
    tab.page.context.close()

    again = new_tab(dashboard).open()
    again.sees("Stopped")
    assert analyzed(again.page) == described
    again.open(address)
    expect(again.page.get_by_role("textbox", name="Your description")).to_have_value(WORDS)
    go(again, "Overview")
    slow_standin.behave(delay=0.02)
    control(again, "Start").click()
    again.sees("Videos enriched: 1/1", within=2 * PATIENCE_MS)
    assert analyzed(again.page) == FRAMES
