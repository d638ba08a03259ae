"""A real browser shows frame n of a video at the time at which the dashboard plays it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from enrich.video.decode import SourceFrames
from tests.browser.served import Dashboard, serve
from tests.browser.tab import Tab
from tests.clips import NUMBER_BITS, NUMBER_COLUMNS, NUMBER_ROWS, NUMBER_SHARE, numbered_clip, read_number, run_ffmpeg

FRAMES = 100
SOUND = ("-f", "lavfi", "-i", "sine=d=8", "-map", "0", "-map", "1", "-c:v", "copy")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M")
# How a clip is made whose pictures start later than its file, or before it.
CLIPS = {
    "whole.mp4": ((), ("-c", "copy")),
    "pictures-later.mp4": (("-itsoffset", "3"), (*SOUND, "-c:a", "aac")),
    "cut.mp4": (("-ss", "1.1"), ("-c", "copy")),
    "without-edit-list.mp4": (
        ("-ss", "1.1"),
        ("-c", "copy", "-use_editlist", "0", "-avoid_negative_ts", "disabled"),
    ),
    "fragmented.mp4": ((), ("-c", "copy", "-movflags", "frag_keyframe+empty_moov", "-output_ts_offset", "3")),
    "later.mkv": ((), ("-c", "copy", "-output_ts_offset", "3")),
    "later.webm": ((), (*VP8, "-output_ts_offset", "3")),
    "pictures-later.webm": (("-itsoffset", "3"), (*SOUND[:-2], *VP8, "-c:a", "libopus")),
}
SHOWN = """async ([seconds, bits, columns, rows, share]) => {
    const video = document.querySelector("video")
    video.pause()
    await new Promise(done => { video.onseeked = done; video.currentTime = seconds })
    const canvas = document.createElement("canvas")
    canvas.width = video.videoWidth
    canvas.height = video.videoHeight
    const context = canvas.getContext("2d")
    context.drawImage(video, 0, 0)
    let number = 0
    for (let bit = 0; bit < bits; bit++) {
        const x = canvas.width * (bit % columns + 0.5) / columns
        const y = canvas.height * share * (Math.floor(bit / columns) + 0.5) / rows
        number = number * 2 + (context.getImageData(x, y, 1, 1).data[0] > 127 ? 1 : 0)
    }
    return number
}"""
GRID = (NUMBER_BITS, NUMBER_COLUMNS, NUMBER_ROWS, NUMBER_SHARE)


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Dashboard]:
    with serve(tmp_path / "home", tmp_path / "dashboard.log", OLLAMA_HOST="http://127.0.0.1:9") as running:
        yield running


@pytest.mark.slow
def test_player_shows_picture_n_at_frame_n(dashboard: Dashboard, new_tab: Callable[..., Tab], tmp_path: Path):
    source = numbered_clip(tmp_path / "source.mp4", frames=FRAMES, bframes=2)
    for name, (before, after) in CLIPS.items():
        run_ffmpeg(*before, "-i", source, *after, tmp_path / name)
    for words in (["add", *(tmp_path / name for name in CLIPS), "--sampling", "exact"], ["extract"]):
        done = dashboard.command(*words)
        assert done.returncode == 0, done.stderr
    for video, name in enumerate(CLIPS, 1):
        with SourceFrames(tmp_path / name) as frames:
            known = [(frame.timestamp, read_number(frame.av_frame.to_ndarray(format="rgb24"))) for frame in frames]
            offset = frames.epochs[0].clock_at - frames.epochs[0].first_at
        timestamp, number = known[60]
        tab = new_tab(dashboard).open(f"/frames?video={video}&source=60&play=1")
        expect(tab.page.locator("video")).to_be_visible()
        tab.page.wait_for_function("() => document.querySelector('video').readyState >= 2")
        started = tab.page.evaluate("() => document.querySelector('video').currentTime")
        assert timestamp + offset - 1 <= started, f"{name} starts less than a second before the frame"
        assert tab.page.evaluate(SHOWN, [timestamp + offset + 0.01, *GRID]) == number, name
