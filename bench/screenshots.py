"""Screenshots of every page, light and dark, wide and narrow, of a library made from a folder of videos.

    python -m bench.screenshots [FOLDER] [--out docs/screenshots] [--ollama ADDRESS --model NAME]

Uses a real dashboard and a real worker with a temporary library; the videos are copied. Without `--ollama`, the tests'
stand-in describes the frames; it only sees colours and light, so its descriptions are plain but true. The quick pass
uses the baseline, so nothing is paid, and the costs page shows that.
"""

import argparse
import io
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from bench.footage import VIDEOS
from tests.browser.conftest import FLAGS, chromium
from tests.browser.served import Dashboard, serve
from tests.browser.tab import Tab
from tests.cli.terminal import ask
from tests.standin import ShelfModel, StandIn

PROJECT = Path(__file__).resolve().parents[1]
SIZES = {"wide": (1280, 900), "narrow": (400, 860)}
SCHEMES = ("light", "dark")
MOST_BYTES = 150_000
FADE_MS = 700  # images fade in
COLOURS = (256, 128, 64)
SHARES = (1.0, 0.85, 0.7, 0.55, 0.4)  # of the size, where fewer colours are not enough
STANDIN = "stand-in"
BEGUN_SECONDS = 0.25  # per call, while videos are being extracted
WATCHED_SECONDS = 1.2  # while the overview is watched
AS_PEOPLE_HAVE_IT = {"EVERYFRAME_STORED_EDGE": None, "EVERYFRAME_DISK_RESERVE_MB": None}  # not as tests do
WORDS = "brown"
CONTEXT = "Clips to try EveryFrame with"


@dataclass(frozen=True)
class Shot:
    """A page to capture. `prepare` performs what a user does first."""

    name: str
    path: str
    prepare: Callable[[Tab], None] | None = None


def main() -> None:
    """Take all screenshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=VIDEOS)
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "screenshots")
    parser.add_argument("--ollama", help="address of an Ollama server; default: the tests' stand-in")
    parser.add_argument("--model", default=STANDIN)
    given = parser.parse_args()
    path = chromium()
    if path is None or not given.folder.is_dir():
        parser.exit(1, f"Chromium and a folder of videos are required: {path}, {given.folder}\n")
    given.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="everyframe-") as folder,
        ollama(given.ollama) as (address, hurry),
        serve(Path(folder) / "home", Path(folder) / "log", OLLAMA_HOST=address, **AS_PEOPLE_HAVE_IT) as served,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=FLAGS) as browser,
    ):
        originals = Path(folder) / "Videos"
        shutil.copytree(given.folder, originals)
        begin = [Shot("first-steps", "/", lacking), Shot("add", "/library?do=add", choose(originals))]
        take(browser, served, given.out, begin)
        run(served, "settings", "set", "model", given.model)
        hurry(BEGUN_SECONDS)
        run(served, "add", "--context", CONTEXT, str(originals))
        run(served, "start")
        wait_until_described(served, 0.3)
        hurry(WATCHED_SECONDS)
        take(browser, served, given.out, [Shot("overview", "/")])
        hurry(0.0)
        wait_until_described(served, 1.0)
        run(served, "stop")
        videos = ask(served.home, "SELECT id FROM videos ORDER BY id")
        run(served, "quick", *(str(video_id) for (video_id,) in videos), "--describer", "baseline")
        take(browser, served, given.out, finished(served))


@contextmanager
def ollama(address: str | None) -> Iterator[tuple[str, Callable[[float], None]]]:
    """Ollama's address, and a function that sets the seconds per call (no effect on a real server)."""
    if address is not None:
        yield address, lambda _: None
        return
    with StandIn(parallel=2, models=(ShelfModel(f"{STANDIN}:latest"),)) as standin:
        yield standin.address, lambda seconds: standin.behave(delay=seconds)


def run(served: Dashboard, *words: str) -> None:
    """Run a command on the library; files that are not videos are allowed."""
    done = served.command(*words)
    print(f"everyframe {words[0]}: {done.stdout.splitlines()[-1:] or done.stderr.splitlines()[-1:]}")


def wait_until_described(served: Dashboard, share: float) -> None:
    """Wait until all videos are extracted and this share of their frames is described."""
    while True:
        waiting = ask(served.home, "SELECT count(*) FROM videos WHERE extraction_status NOT IN ('extracted', 'failed')")
        counts = ask(served.home, "SELECT count(local_description), count(*) FROM frames")
        described, kept = counts[0]
        if waiting == [(0,)] and kept and described >= share * kept:
            return
        time.sleep(0.2)


def finished(served: Dashboard) -> list[Shot]:
    """The pages of a fully described library."""
    [(video,)] = ask(served.home, "SELECT video_id FROM frames GROUP BY video_id ORDER BY count(*) DESC LIMIT 1")
    frames = ask(served.home, f"SELECT id FROM frames WHERE video_id = {video:d} ORDER BY timestamp")  # noqa: S608
    frame = frames[len(frames) // 3][0]
    return [
        Shot("library", "/library"),
        Shot("video", f"/library?video={video}"),
        Shot("frames", f"/frames?video={video}"),
        Shot("frame", f"/frames?video={video}&frame={frame}"),
        Shot("source-frame", f"/frames?video={video}&source=100"),
        Shot("search", f"/search?q={WORDS}"),
        Shot("moment", f"/search?q={WORDS}", play),
        Shot("models", "/models", asked),
        Shot("costs", "/costs"),
        Shot("setup", "/setup"),
    ]


def lacking(tab: Tab) -> None:
    """Wait until the model's state has been read from Ollama."""
    expect(tab.button(re.compile("^Download "))).to_be_visible()


def choose(folder: Path) -> Callable[[Tab], None]:
    """Add a folder by its path."""

    def prepare(tab: Tab) -> None:
        tab.page.get_by_text("Path", exact=True).click()
        box = tab.page.get_by_role("textbox", name="Path to a video or folder")
        box.fill(str(folder))
        tab.button("Select").first.click()
        tab.sees(re.compile("Estimate time and space|Frames to describe"))
        if tab.button("Estimate time and space").is_visible():
            tab.button("Estimate time and space").click()
        tab.sees("Frames to describe")
        tab.settled()

    return prepare


def play(tab: Tab) -> None:
    """Play the first search result."""
    tab.page.locator("[class*=st-key-play-] button").first.click()
    expect(tab.page.get_by_role("dialog")).to_be_visible()
    tab.page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")


def asked(tab: Tab) -> None:
    """Wait until Ollama has answered."""
    expect(tab.page.get_by_text("Connecting to Ollama")).to_have_count(0)
    tab.settled()


def take(browser: Browser, served: Dashboard, out: Path, shots: list[Shot]) -> None:
    """Capture these pages in every theme and width."""
    for shot in shots:
        for width, (across, down) in SIZES.items():
            context = browser.new_context(viewport={"width": across, "height": down})
            served.sign_in(context)
            tab = Tab(context.new_page(), served.address).open(shot.path)
            if shot.prepare is not None:
                shot.prepare(tab)
            for scheme in SCHEMES:
                tab.page.emulate_media(color_scheme=scheme)
                tab.settled()
                tab.page.wait_for_timeout(FADE_MS)
                data = small_png(tab.page.screenshot())
                path = out / f"{shot.name}-{scheme}-{width}.png"
                path.write_bytes(data)
                print(f"{path.name:<36} {len(data):>8,} bytes")
            context.close()


def small_png(data: bytes) -> bytes:
    """The screenshot as a PNG of at most MOST_BYTES: reduces the number of colours, not the size."""
    with Image.open(io.BytesIO(data)) as image:
        whole = image.convert("RGB")
    made = b""
    for share in SHARES:
        sized = whole.resize((round(whole.width * share), round(whole.height * share)), Image.Resampling.LANCZOS)
        for colours in COLOURS:
            target = io.BytesIO()
            few = sized.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            few.save(target, "PNG", optimize=True)
            made = target.getvalue()
            if len(made) <= MOST_BYTES:
                return made
    return made


if __name__ == "__main__":
    main()
