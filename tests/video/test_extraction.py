import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enrich.errors import NotAVideoError, VideoChangedError
from enrich.video.extraction import Extraction
from enrich.video.fingerprint import fingerprint
from enrich.video.jpeg import JpegFormat, is_whole_jpeg
from enrich.video.sampling import parse_sampling
from enrich.video.selection import image_name
from tests.clips import image_clip, numbered_clip, numbered_image, read_jpeg, read_number, run_ffmpeg, set_flv_times

SMALL = JpegFormat(edge=160, quality=80)
EXACT = parse_sampling("exact")


@pytest.fixture
def clip(tmp_path):
    return numbered_clip(tmp_path / "clip.mp4", frames=60, bframes=2)


def start(clip, folder, **how):
    return Extraction(clip, folder, **{"sampling": EXACT, "jpeg": SMALL} | how)


def test_a_frame_is_yielded_once_its_jpeg_and_count_are_final(clip, tmp_path):
    with start(clip, tmp_path / "out", sampling=parse_sampling("every=0.4s")) as extraction:
        for frame in extraction:
            assert is_whole_jpeg(tmp_path / "out" / frame.image_path)
            assert frame.stands_for == 10
            assert extraction.decoded >= frame.index + 10
    assert extraction.decoded == 60
    assert extraction.position == pytest.approx(59 / 25)


@pytest.mark.parametrize(
    ("sampling", "chosen"),
    [("every=0.4s", {0, 10, 20, 30, 40, 50}), ("scenes", {0}), ("exact", set(range(60)))],
)
def test_wanted_frames_are_kept_in_addition_to_the_sampling(sampling, chosen, clip, tmp_path):
    wanted = [7 / 25, 20 / 25, 59 / 25 + 4e-7, 33.3 / 25]  # no frame has the last time
    with start(clip, tmp_path / "out", sampling=parse_sampling(sampling), wanted=wanted) as extraction:
        kept = list(extraction)
    assert {frame.index for frame in kept} == chosen | {7, 20, 59}
    assert sum(frame.stands_for for frame in kept) == 60
    for frame in kept:
        assert read_number(read_jpeg(tmp_path / "out" / frame.image_path)) == frame.index


def test_distinct_compares_later_frames_with_a_wanted_one(tmp_path):
    before, after = numbered_image(1), numbered_image(0b1010)
    clip = image_clip(tmp_path / "clip.mp4", [before] * 30 + [after] * 30)
    kept = {}
    for wanted in ((), (12 / 25,), (45 / 25,), (29 / 25,)):
        with start(clip, tmp_path / "out", sampling=parse_sampling("distinct"), wanted=wanted) as extraction:
            kept[wanted] = [frame.index for frame in extraction]
    assert kept[()] == [0, 30]
    assert kept[12 / 25,] == [0, 12, 30]
    assert kept[45 / 25,] == [0, 30, 45]
    assert kept[29 / 25,][:2] == [0, 29]
    assert len(kept[29 / 25,]) == 3


def test_a_frame_stands_until_the_next_kept_one_or_the_end(tmp_path):
    times = [*(n / 25 for n in range(20)), 3.0, 3.1, 3.2]
    clip = numbered_clip(tmp_path / "clip.mp4", times=times, frames=len(times))
    with start(clip, tmp_path / "out", sampling=parse_sampling("every=0.5s")) as extraction:
        kept = list(extraction)
    assert [frame.index for frame in kept] == [0, 13, 20]
    assert [frame.until for frame in kept] == [kept[1].timestamp, kept[2].timestamp, pytest.approx(3.3)]


def test_existing_images_are_not_encoded_again(clip, tmp_path):
    with start(clip, tmp_path / "out") as extraction:
        first = list(extraction)
    stamps = {frame.index: (tmp_path / "out" / frame.image_path).stat().st_mtime_ns for frame in first}
    half = tmp_path / "out" / first[7].image_path
    half.write_bytes(half.read_bytes()[:100])
    gone = tmp_path / "out" / first[9].image_path
    gone.unlink()
    with start(clip, tmp_path / "out") as extraction:
        assert list(extraction) == first
    again = {frame.index: (tmp_path / "out" / frame.image_path).stat().st_mtime_ns for frame in first}
    assert {index for index in stamps if stamps[index] != again[index]} == {7, 9}
    assert is_whole_jpeg(half)


def test_no_image_is_kept_of_a_file_written_over_the_video(tmp_path):
    """Both are laid out in the same way, so that the decoder notices nothing."""
    how = {"frames": 200, "size": (160, 90), "codec": "rawvideo", "gop": 1}
    video = numbered_clip(tmp_path / "video.mkv", **how)
    other = numbered_clip(tmp_path / "other.mkv", first=1000, **how)
    content = fingerprint(video)

    def require_same_file():
        if fingerprint(video) != content:
            raise VideoChangedError(f"{video} is another file")

    with start(video, tmp_path / "out", require_same_file=require_same_file) as extraction:
        frames = iter(extraction)
        first = next(frames)
        video.touch()  # changes nothing
        next(frames)
        with video.open("r+b") as file:
            file.write(other.read_bytes())
        with pytest.raises(VideoChangedError):
            list(frames)
    numbers = {read_number(read_jpeg(path)) for path in (tmp_path / "out").rglob("*.jpg")}
    assert first.index == 0
    assert 0 in numbers
    assert max(numbers) < 200


@pytest.mark.parametrize("taken", [0, 1, 20])
def test_closing_early_leaves_no_partial_file_and_no_thread(taken, clip, tmp_path):
    extraction = start(clip, tmp_path / "out")
    frames = iter(extraction)
    for _ in range(taken):
        next(frames)
    began = time.monotonic()
    extraction.close()
    extraction.close()
    assert time.monotonic() - began < 2
    assert list(frames) == []
    images = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(images) >= taken
    assert all(is_whole_jpeg(path) and path.suffix == ".jpg" for path in images)


def test_leaving_the_loop_early_closes_the_extraction(clip, tmp_path):
    with start(clip, tmp_path / "out") as extraction:
        for frame in extraction:
            if frame.index == 3:
                break
    assert extraction.decoded < 60 + 1


def test_a_slow_consumer_slows_decoding_down(tmp_path):
    clip = numbered_clip(tmp_path / "long.mp4", frames=400, size=(64, 48))
    with start(clip, tmp_path / "out") as extraction:
        next(iter(extraction))
        seen = []
        while len(set(seen[-10:])) > 1 or len(seen) < 10:  # until it has stood still for a while
            seen.append(extraction.decoded)
            time.sleep(0.05)
        assert seen[-1] < 200


def test_a_write_error_is_raised_in_the_consumer(clip, tmp_path, monkeypatch):
    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with start(clip, tmp_path / "out") as extraction, pytest.raises(OSError, match="No space"):
        list(extraction)
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_decoding_error_is_raised_in_the_consumer(clip, tmp_path, monkeypatch):
    def broken(*_):
        raise NotAVideoError("broken")

    monkeypatch.setattr("enrich.video.signals.SignalMeter.measure", broken)
    with start(clip, tmp_path / "out") as extraction, pytest.raises(NotAVideoError, match="broken"):
        list(extraction)


def test_a_file_that_is_not_a_video_is_refused_at_once(tmp_path):
    (tmp_path / "a.mp4").write_text("words")
    with pytest.raises(NotAVideoError):
        start(tmp_path / "a.mp4", tmp_path / "out")


def test_image_names_depend_on_time_only_and_folders_stay_small():
    assert image_name(12.345678) == "00000/000012345678.jpg"
    assert image_name(-0.04) == "00000/-000000040000.jpg"
    names = [image_name(number / 60) for number in range(60 * 60 * 120)]
    assert names == sorted(set(names))
    folders = [name.split("/")[0] for name in names]
    assert max(map(folders.count, set(folders))) <= 4000


@pytest.mark.parametrize("offset", [0.0, 0.02])
def test_all_frames_are_kept_where_the_clock_restarts(offset, tmp_path):
    """A second recording that starts at 0 again, as in files concatenated carelessly."""
    numbered_clip(tmp_path / "a.ts", times=[n / 25 for n in range(30)])
    numbered_clip(tmp_path / "b.ts", times=[n / 25 + offset for n in range(30)], first=30)
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with start(both, tmp_path / "out") as extraction:
        kept = list(extraction)
    assert [(frame.index, frame.stands_for) for frame in kept] == [(number, 1) for number in range(60)]
    assert [frame.timestamp for frame in kept] == pytest.approx([number / 25 for number in range(60)])
    for frame in kept:
        assert read_number(read_jpeg(tmp_path / "out" / frame.image_path)) == frame.index


def test_frames_at_one_time_are_all_kept_with_their_own_images(tmp_path):
    path = numbered_clip(tmp_path / "twice.flv", frames=40, codec="flv", gop=5)
    set_flv_times(path, [number // 4 * 4 / 25 for number in range(40)])
    with start(path, tmp_path / "out") as extraction:
        kept = list(extraction)
    assert [frame.index for frame in kept] == list(range(40))
    for frame in kept:
        assert read_number(read_jpeg(tmp_path / "out" / frame.image_path)) == frame.index


PEAK_OF_AN_EXTRACTION = """
import sys
from pathlib import Path
from enrich.video.extraction import Extraction
from enrich.video.jpeg import JpegFormat
from enrich.video.sampling import parse_sampling
jpeg = JpegFormat(edge=160, quality=80)
with Extraction(sys.argv[1], Path(sys.argv[2]), sampling=parse_sampling("exact"), jpeg=jpeg) as extraction:
    kept = sum(1 for _ in extraction)
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(kept, status["VmHWM"].split()[0])
"""


def peak_megabytes(clip, folder):
    """Kept frames and the peak of a process of its own; getrusage would count the test's process in, from the fork."""
    command = [sys.executable, "-c", PEAK_OF_AN_EXTRACTION, clip, folder]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    kept, peak = map(int, done.stdout.split())
    return kept, peak / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_video_length(tmp_path):
    short = numbered_clip(tmp_path / "short.mp4", frames=100, size=(1280, 720))
    run_ffmpeg("-stream_loop", "9", "-i", short, "-c", "copy", tmp_path / "long.mp4")
    short_kept, short_peak = peak_megabytes(short, tmp_path / "short")
    long_kept, long_peak = peak_megabytes(tmp_path / "long.mp4", tmp_path / "long")
    assert (short_kept, long_kept) == (100, 1000)
    assert long_peak < 400
    assert long_peak - short_peak < 15
