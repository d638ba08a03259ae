"""Dashboard latency in a browser, on a library made by `bench/library.py`.

`.venv/bin/python -m bench.pages HOME` opens every page in headless Chromium: in a new profile, where the browser
fetches and compiles Streamlit (and Vega for charts), and again in the same profile. Then it turns 200 pages of the
largest video's gallery, one second each, and searches for words. Prints seconds, and the server's memory before and
after.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from db import queries
from db.engine import make_engine, reading
from tests.browser.conftest import FLAGS, chromium
from tests.browser.served import Dashboard, serve

OPENINGS = 5
WIDTH, HEIGHT = 1280, 900
PATIENCE_MS = 60_000
LOOKED_AT_MS = 1_000
TILE = '[class*="st-key-tile-"]'
FIRST_TILE = f"() => document.querySelector('{TILE} [data-testid=stPageLink-NavLink]').innerText"
TURNED = f"old => document.querySelector('{TILE} [data-testid=stPageLink-NavLink]')?.innerText !== old"
COMPLETE = f"""() => {{
    const images = [...document.querySelectorAll('{TILE} img')];
    return images.length > 0 && images.every(image => image.complete && image.naturalWidth > 0);
}}"""
FOUND = """word => location.search.includes('q=' + word)
    && [...document.querySelectorAll('strong')].some(mark => mark.innerText.toLowerCase().startsWith(word))"""


def main() -> None:
    """Measure one library."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="the library's folder")
    parser.add_argument("--turns", type=int, default=200, help="pages of the gallery to turn")
    parser.add_argument(
        "--words",
        nargs="+",
        help="each must stand in descriptions as it is",
        default=["bouquet", "toast", "sparkler", "bouquet", "toast", "sparkler"],
    )
    asked = parser.parse_args()
    video_id = largest_video(asked.home)
    with serve(asked.home, Path("/dev/null")) as dashboard, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        print(f"load average {psutil.getloadavg()[0]:.1f}, {psutil.cpu_count()} processors")
        for name, path, sign in (
            ("Overview", "/", "text=Described last"),
            ("Library", "/library", "img"),
            ("a video", f"/library?video={video_id}", "h1"),
            ("Frames", f"/frames?video={video_id}", f"{TILE} img"),
            ("Search", "/search?q=bouquet", "strong"),
            ("Models", "/models", "h1"),
            ("Setup", "/setup", "h1"),
        ):
            first, again = zip(*(opening(browser, dashboard, path, sign) for _ in range(OPENINGS)), strict=True)
            say(f"open {name}", again)
            say(f"open {name}, never been here", first)
        with tab(browser, dashboard) as page:
            page.goto(f"{dashboard.address}/frames?video={video_id}")
            page.wait_for_selector(f"{TILE} img", timeout=PATIENCE_MS)
            page.wait_for_function(COMPLETE, polling=20, timeout=PATIENCE_MS)
            before = memory_bytes(dashboard)
            texts, images = zip(*(turning(page) for _ in range(asked.turns)), strict=True)
            say("turn a page, its texts", texts)
            say("turn a page, all its images", images)
            after = memory_bytes(dashboard)
            print(f"server memory: {before / 1e6:.0f} MB, after {asked.turns} turns {after / 1e6:.0f} MB")
            page.goto(f"{dashboard.address}/search")
            page.wait_for_selector("h1", timeout=PATIENCE_MS)
            say("search", [searching(page, word) for word in asked.words])
        browser.close()


def largest_video(home: Path) -> int:
    """The id of the video with the most kept frames."""
    with reading(make_engine(f"sqlite:///{home / 'library.db'}")) as connection:
        return max(queries.videos(connection), key=lambda video: video.kept).id


def memory_bytes(dashboard: Dashboard) -> int:
    """The memory of the server process."""
    (pid,) = {
        one.pid for one in psutil.net_connections("tcp") if one.laddr.port == dashboard.port and one.status == "LISTEN"
    }
    return psutil.Process(pid).memory_info().rss


@contextmanager
def tab(browser: Browser, dashboard: Dashboard) -> Iterator[Page]:
    """A tab in a temporary browser profile, signed in."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    dashboard.sign_in(context)
    yield context.new_page()
    context.close()


def opening(browser: Browser, dashboard: Dashboard, path: str, sign: str) -> tuple[float, float]:
    """Seconds until the page's content is visible: in a new profile, and again in the same one."""
    with tab(browser, dashboard) as page:
        return showing(page, dashboard.address + path, sign), showing(page, dashboard.address + path, sign)


def showing(page: Page, address: str, sign: str) -> float:
    """Seconds until the element is visible; then a pause, like that of a reader."""
    began = time.monotonic()
    page.goto(address)
    page.wait_for_selector(sign, timeout=PATIENCE_MS)
    seconds = time.monotonic() - began
    page.wait_for_timeout(LOOKED_AT_MS)
    return seconds


def turning(page: Page) -> tuple[float, float]:
    """Seconds from the arrow key to the next page's texts, and to all of its images."""
    page.wait_for_timeout(LOOKED_AT_MS)
    old = page.evaluate(FIRST_TILE)
    began = time.monotonic()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(TURNED, arg=old, polling=20, timeout=PATIENCE_MS)
    texts = time.monotonic() - began
    page.wait_for_function(COMPLETE, polling=20, timeout=PATIENCE_MS)
    return texts, time.monotonic() - began


def searching(page: Page, word: str) -> float:
    """Seconds from Enter to the highlighted word in the results."""
    box = page.get_by_role("searchbox")
    box.fill(word)
    began = time.monotonic()
    box.press("Enter")
    page.wait_for_function(FOUND, arg=word, polling=20, timeout=PATIENCE_MS)
    return time.monotonic() - began


def say(what: str, seconds: "list[float] | tuple[float, ...]") -> None:
    """Print one line of figures."""
    slowest = sorted(seconds)[int(0.95 * (len(seconds) - 1))]
    print(f"{what:<36} median {statistics.median(seconds):.2f} s, 95 % {slowest:.2f} s, best {min(seconds):.2f} s")


if __name__ == "__main__":
    main()
