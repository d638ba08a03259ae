"""Clocks that restart, jump or repeat: every frame is decoded, has a time of its own, and is found again."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from enrich.video.container import has_single_clock
from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegFormat
from enrich.video.skim import SkimTarget, skim
from enrich.video.source import SAME_SECONDS, read_source_frame, read_source_frames
from enrich.video.timeline import Clock
from tests.clips import numbered_clip, read_jpeg, read_number, run_ffmpeg, set_flv_times, shared_cases

FRAMES = 30  # of each part
FPS = 25
COPY = ("-c:v", "copy")
MPEG2 = ("-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-q:v", "3")
# How each part is written.
FORMATS = {
    "ts": COPY,
    "mts": (*COPY, "-f", "mpegts", "-mpegts_m2ts_mode", "1"),
    "vob": MPEG2,
    "mpg": MPEG2,
    "mkv": COPY,
    "webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M"),
    "ogv": ("-c:v", "libtheora", "-q:v", "9"),
    "flv": COPY,
    "mp4": COPY,
    "mov": ("-c:v", "mjpeg", "-q:v", "3"),
}
SOUND = ("-f", "lavfi", "-i", "sine=d=1.2", "-map", "0", "-map", "1")
# What the second of two transport streams is, beside a clock that starts anew.
SECOND_PARTS = {
    "overlaps by half": ("-output_ts_offset", "0.6"),
    "overlaps by two frames": ("-output_ts_offset", str((FRAMES - 2) / FPS)),
    "hours later": ("-output_ts_offset", "20000"),
    "with sound": (*SOUND, "-c:a", "aac"),
    "another pid": ("-mpegts_start_pid", "0x200", "-output_ts_offset", str(FRAMES / FPS)),
    "another pid and clock": ("-mpegts_start_pid", "0x200"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("joined")


@pytest.fixture(scope="module")
def parts(folder: Path) -> list[Path]:
    """Clips with the numbers 0 to 29 and 30 to 59, and another of the second kind without B-frames."""
    return [
        numbered_clip(folder / f"{number}.mp4", frames=FRAMES, first=first, size=(160, 96), gop=12, bframes=bframes)
        for number, (first, bframes) in enumerate(((0, 2), (FRAMES, 2), (FRAMES, 0)))
    ]


@pytest.fixture(scope="module")
def joined(folder: Path, parts: list[Path]) -> Callable[..., Path]:
    """Writes the two parts in a format and joins them byte by byte; `second` is added for the second part."""

    def join(extension: str, second: Sequence[str] = (), *, first: Sequence[str] = ()) -> Path:
        path = folder / f"joined-{abs(hash((extension, *first, '|', *second)))}.{extension}"
        if not path.exists():
            data = b""
            sources = (parts[0], parts[2 if extension == "ts" else 1])
            for number, (source, more) in enumerate(zip(sources, (first, second), strict=True)):
                part = folder / f"{path.stem}-{number}.{extension}"
                run_ffmpeg("-i", source, *more, *FORMATS[extension], part)
                data += part.read_bytes()
            path.write_bytes(data)
        return path

    return join


def number_of(frame: SourceFrame) -> int:
    return read_number(frame.av_frame.to_ndarray(format="rgb24"))


def numbers_and_times(path: Path) -> tuple[list[int], list[float], SourceFrames]:
    with SourceFrames(path) as frames:
        found = [(number_of(frame), frame.timestamp) for frame in frames]
    return [number for number, _ in found], [timestamp for _, timestamp in found], frames


def assert_one_timeline(path: Path, *, restarts_at: list[int]) -> None:
    """Every frame is decoded, one step after the one before it."""
    numbers, times, frames = numbers_and_times(path)
    assert numbers == list(range(2 * FRAMES))
    assert times == pytest.approx([number / FPS for number in numbers], abs=0.002)  # Matroska counts milliseconds
    assert [epoch.first_index for epoch in frames.epochs] == [0, *restarts_at]
    assert (frames.failures, frames.clock) == (0, Clock.RESTARTS if restarts_at else Clock.STEADY)


@pytest.mark.parametrize("extension", FORMATS)
def test_joined_recordings_have_one_timeline(extension, joined):
    assert_one_timeline(joined(extension), restarts_at=[FRAMES])


@pytest.mark.parametrize(("extension", "codec"), [("ogv", "libvorbis"), ("mts", "ac3"), ("vob", "ac3"), ("flv", "aac")])
def test_joined_recordings_with_sound_have_one_timeline(extension, codec, joined):
    assert_one_timeline(joined(extension, (*SOUND, "-c:a", codec), first=(*SOUND, "-c:a", codec)), restarts_at=[FRAMES])


@pytest.mark.parametrize("encoder", [("libx264", "-preset", "ultrafast"), ("mpeg4", "-q:v", "2")])
@pytest.mark.parametrize("extension", ["mkv", "mp4"])
def test_second_part_is_not_read_as_part_of_the_first(extension, encoder, parts, tmp_path):
    """FFmpeg reads it with the header of the first, or from the wrong place."""
    fragmented = ("-movflags", "frag_keyframe+empty_moov") if extension == "mp4" else ()
    path, first, second = (tmp_path / f"{name}.{extension}" for name in ("joined", "first", "second"))
    run_ffmpeg("-i", parts[0], *COPY, *fragmented, first)
    run_ffmpeg("-i", parts[1], "-c:v", *encoder, *fragmented, second)
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert_one_timeline(path, restarts_at=[FRAMES])


def test_track_that_goes_on_in_another_codec_is_decoded(parts, tmp_path):
    path, first, second = (tmp_path / f"{name}.ts" for name in ("joined", "first", "second"))
    run_ffmpeg("-i", parts[2], *COPY, "-output_ts_offset", "-1.2", first)
    run_ffmpeg("-i", parts[1], *MPEG2, "-mpegts_start_pid", "0x200", second)
    path.write_bytes(first.read_bytes() + second.read_bytes())
    numbers, _, frames = numbers_and_times(path)
    assert (numbers, frames.failures) == ([*range(FRAMES, 2 * FRAMES)] * 2, 0)


@pytest.mark.parametrize("clock", ["one", "its own"])
def test_track_that_moves_and_comes_back_is_decoded(clock, parts, tmp_path):
    """As where an advertisement is inserted."""
    path = tmp_path / "joined.ts"
    with path.open("wb") as joined:
        for number in range(4):
            offset = ("-output_ts_offset", str(number * FRAMES / FPS)) if clock == "one" or number % 2 == 0 else ()
            part = tmp_path / f"{number}.ts"
            run_ffmpeg("-i", parts[number % 2], *COPY, "-mpegts_start_pid", hex(0x100 + number % 2), *offset, part)
            joined.write(part.read_bytes())
    numbers, times, frames = numbers_and_times(path)
    assert (numbers, frames.failures) == ([*range(2 * FRAMES)] * 2, 0)
    assert times == sorted(times)
    if clock == "one":
        assert times == pytest.approx([number / FPS for number in range(4 * FRAMES)], abs=0.002)


@pytest.mark.parametrize("second", SECOND_PARTS)
def test_any_second_part_of_a_stream_goes_on_one_step_later(second, joined):
    assert_one_timeline(joined("ts", SECOND_PARTS[second]), restarts_at=[FRAMES])


def test_second_part_with_an_earlier_clock_goes_on_one_step_later(joined):
    """FFmpeg takes it for a wrapped clock, 26 hours later."""
    assert_one_timeline(joined("ts", first=("-output_ts_offset", "100")), restarts_at=[FRAMES])


@pytest.mark.parametrize("extension", ["ts", "vob", "webm", "mp4"])
@pytest.mark.parametrize("clock", [Clock.UNKNOWN, Clock.RESTARTS, Clock.REPEATS])
def test_frames_of_joined_recordings_are_found_again(extension, clock, joined):
    path = joined(extension)
    _, times, _ = numbers_and_times(path)
    for index, near in ((3, None), (10, 9), (29, 20), (30, 29), (30, 30), (44, 12), (59, 55)):
        known = None if near is None else (near, times[near])
        by_index = read_source_frame(path, index=index, near=known, clock=clock)
        assert (by_index.index, by_index.timestamp, number_of(by_index)) == (index, times[index], index)
        for moment in (times[index], times[index] + 0.02):
            assert number_of(read_source_frame(path, timestamp=moment, near=known, clock=clock)) == index
    read = read_source_frames(path, 28, 33, near=(27, times[27]), clock=clock)
    assert [(frame.index, number_of(frame)) for frame in read] == [(number, number) for number in range(28, 34)]


def test_skipping_to_a_frame_decodes_none_before_its_key_frame(joined, monkeypatch):
    path = joined("ts")
    decoded = []
    source_frame = SourceFrames._source_frame
    monkeypatch.setattr(
        SourceFrames, "_source_frame", lambda self, frame: decoded.append(1) or source_frame(self, frame)
    )
    assert number_of(read_source_frame(path, timestamp=56 / FPS, clock=Clock.RESTARTS)) == 56
    assert len(decoded) <= 12


CLOCKS = {  # in seconds, of each frame
    "every time twice": [number // 2 * 2 / FPS for number in range(50)],
    "a clock that stands": [1.0] * 50,
    "one frame back": [number / FPS - (0.04 if number == 23 else 0) for number in range(50)],
    "two frames back": [number / FPS - (0.1 if number in (23, 24) else 0) for number in range(50)],
    "a gap of ten minutes": [number / FPS + (600 if number >= 25 else 0) for number in range(50)],
    "a slow camera": [number * 30.0 for number in range(50)],
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_times_within_an_epoch_are_those_of_the_file(clock, folder):
    asked = CLOCKS[clock]
    path = folder / f"{clock}.flv"
    set_flv_times(numbered_clip(path, frames=50, codec="flv", gop=10, size=(160, 96)), asked)
    numbers, times, frames = numbers_and_times(path)
    assert numbers == list(range(50))
    assert times == pytest.approx([seconds - asked[0] for seconds in asked], abs=0.0001)
    assert len({round(timestamp * 1_000_000) for timestamp in times}) == 50
    assert len(frames.epochs) == 1
    is_ordered = sorted(set(asked)) == asked
    assert frames.clock is (Clock.STEADY if is_ordered else Clock.REPEATS)
    for index in (0, 22, 23, 24, 25, 49):
        found = read_source_frame(path, timestamp=times[index], clock=frames.clock)
        assert (number_of(found), abs(found.timestamp - times[index]) <= SAME_SECONDS) == (index, True)


@pytest.mark.parametrize("later", [90_000.0, -0.96])
def test_clock_that_jumps_between_key_frames_goes_on_one_step_later(later, folder):
    path = folder / f"jump{later}.flv"
    asked = [number / FPS + (later if number >= 25 else 0) for number in range(50)]
    set_flv_times(numbered_clip(path, frames=50, codec="flv", gop=10, size=(160, 96)), asked)
    numbers, times, frames = numbers_and_times(path)
    assert numbers == list(range(50))
    assert times == pytest.approx([number / FPS for number in range(50)])
    assert [epoch.first_index for epoch in frames.epochs] == [0, 25]


def test_times_of_a_stream_without_times_do_not_drift(tmp_path):
    _, times, _ = numbers_and_times(numbered_clip(tmp_path / "raw.h264", frames=60))
    assert times == [number / FPS for number in range(60)]


def test_only_formats_with_one_clock_are_sought_without_knowing_it(joined, parts, tmp_path):
    run_ffmpeg("-i", parts[0], *COPY, tmp_path / "whole.mkv")
    run_ffmpeg("-i", parts[0], *COPY, tmp_path / "whole.ts")
    found = {}
    for path in (parts[0], tmp_path / "whole.mkv", tmp_path / "whole.ts", joined("mkv"), joined("webm")):
        with SourceFrames(path) as frames:
            found[path] = has_single_clock(frames._container, path)
    assert list(found.values()) == [True, True, False, False, False]


@pytest.mark.parametrize("extension", ["ts", "mkv", "vob", "webm"])
def test_skim_of_joined_recordings_stores_no_frame_under_a_wrong_time(extension, joined, tmp_path):
    targets = [SkimTarget(at=place / 5 + 0.1, earliest=place / 5, latest=(place + 1) / 5) for place in range(12)]
    path = joined(extension)
    for frame in skim(path, tmp_path, targets, jpeg=JpegFormat(edge=160, quality=90)):
        assert read_number(read_jpeg(tmp_path / frame.image_path)) == round(frame.timestamp * FPS)


CASES = {  # of the shared inputs: how many frames, how long in seconds, whether the frames show their index
    "joined-two-scenes.ts": (150, 6.0, False),
    "joined-mediarecorder.webm": (600, 48.0, True),
    "joined-vob.vob": (100, 4.0, True),
    "sound-starts-later.flv": (225, 45.0, True),
    "pictures-move-to-another-pid.ts": (100, 4.0, True),
    "raw-no-times.h264": (60, 2.4, True),
    "pictures-start-at-3s.mp4": (250, 10.0, True),
}


@pytest.mark.skipif(shared_cases() is None, reason="no shared inputs beside the repository")
@pytest.mark.parametrize("name", CASES)
def test_reported_files_are_decoded_to_their_end(name):
    count, length, is_numbered = CASES[name]
    numbers, times, frames = numbers_and_times(shared_cases() / name)
    assert (len(numbers), frames.failures) == (count, 0)
    assert times[-1] + frames.step == pytest.approx(length, abs=0.001)
    assert times == sorted(set(times))
    assert numbers == list(range(count)) or not is_numbered
