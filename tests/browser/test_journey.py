"""The whole journey of somebody with a film: from an empty library to a corrected word that is found and played."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

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
    """A stand-in that takes its time, so that there is something to watch."""
    with StandIn(parallel=2, delay=CALL_SECONDS) as server:
        yield server


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """The home folder of somebody who has a film among their videos."""
    videos = tmp_path / "person" / "Videos"
    videos.mkdir(parents=True)
    numbered_clip(videos / "wedding.mp4", frames=FRAMES, fps=10)
    return videos.parent


@pytest.fixture
def dashboard(tmp_path: Path, person: Path, slow_standin: StandIn) -> Iterator[Dashboard]:
    """A dashboard without a library; a worker that was started in it is stopped at the end."""
    home = str(person)
    with serve(
        tmp_path / "home", tmp_path / "log", OLLAMA_HOST=slow_standin.address, HOME=home, USERPROFILE=home
    ) as served:
        yield served
        served.command("stop")


def analyzed(page: Page) -> int:
    """How many frames the user's own card says are described."""
    text = page.get_by_text(re.compile(r"Frames analyzed: [\d,]+/[\d,]+")).inner_text()
    found = re.search(r"([\d,]+)/", text)
    assert found
    return int(found[1].replace(",", ""))


def go(tab: Tab, page: str) -> Tab:
    """Click the page's name at the top."""
    tab.page.get_by_test_id("stTopNavLink").get_by_text(page, exact=True).click()
    expect(tab.page.get_by_role("heading", level=1)).to_be_visible()
    return tab.settled()


def write(tab: Tab, label: str, words: str) -> None:
    """Type into a field, and leave it."""
    field = tab.page.get_by_role("textbox", name=label)
    field.fill(words)
    field.blur()
    tab.settled()


def add_the_film(tab: Tab) -> None:
    tab.sees("The library is empty.")
    tab.page.get_by_role("main").or_(tab.page.get_by_test_id("stMain")).get_by_role("link", name="Add films").click()
    tab.sees(re.compile(r"^wedding\.mp4")).click()
    tab.sees("Every single frame").click()
    write(tab, "What the films are about", CONTEXT)
    tab.button("See what it takes").click()
    tab.sees(f"about {FRAMES}")
    tab.sees("is known after its first few pictures")
    tab.button("Add 1 film to the library").click()
    tab.sees("1 film added.")
    tab.sees(re.compile(CONTEXT))


def start_and_watch(tab: Tab) -> None:
    go(tab, "Overview")
    tab.button("Start").click()
    tab.sees("Working")
    tab.sees("🧠 Enrichment Progress")
    tab.sees("Videos enriched: 0/1")
    tab.sees(re.compile(r"Current: wedding\.mp4 \(\d+ % complete\)"))
    expect(tab.button("Pause")).to_be_visible()
    expect(tab.button("Stop")).to_be_visible()
    first = analyzed(tab.page)
    tab.page.wait_for_function(
        "before => +/Frames analyzed: (\\d+)/.exec(document.body.innerText)?.[1] > before", arg=first + 3
    )


def open_a_frame_and_correct_it(tab: Tab) -> str:
    """Open one of the last described frames, and write something else about it; its address."""
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
    tab.sees(said)  # the model's words stay beside
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
    tab.button("Pause").click()
    tab.sees("Paused")
    held = analyzed(tab.page)
    assert held < FRAMES
    tab.page.wait_for_timeout(3 * CALL_SECONDS * 1000)
    assert analyzed(tab.page) <= held + 2, "frames in hand may still be finished, no others"
    place = tab.button("Stop").bounding_box()
    tab.button("Resume").click()
    tab.sees("Working")
    expect(tab.button("Pause")).to_be_visible()
    assert tab.button("Stop").bounding_box() == place
    tab.button("Stop").click()  # at once: it must not move away under the pointer while others come and go
    tab.sees("Stopped")
    expect(tab.button("Start")).to_be_visible()
    expect(tab.button("Pause")).to_have_count(0)


@pytest.mark.timeout(300)
def test_from_an_empty_library_to_a_moment_that_is_found_and_played(dashboard, new_tab, slow_standin):
    tab = new_tab(dashboard).open()
    add_the_film(tab)
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
    again.button("Start").click()
    again.sees("Videos enriched: 1/1", within=2 * PATIENCE_MS)
    assert analyzed(again.page) == FRAMES
