"""Made clips of every awkward kind: each frame's number is read back from its JPEG."""

from fractions import Fraction

import pytest

from enrich.video.probe import probe
from tests.clips import (
    colour_name,
    decode_independently,
    numbered_clip,
    read_colour,
    read_jpeg,
    read_number,
    run_ffmpeg,
)

KINDS = {
    "constant-rate.mp4": {},
    "b-frames.mp4": {"bframes": 3},
    "variable-rate.mkv": {"times": [n * n / 250 + n / 50 for n in range(30)]},
    "gap.mp4": {"times": [n / 25 + (5 if n > 10 else 0) for n in range(30)]},
    "starts-late.mp4": {"times": [3 + n / 25 for n in range(30)], "bframes": 2},
    "starts-late.mkv": {"times": [3 + n / 25 for n in range(30)]},
    "starts-late.ts": {"times": [3 + n / 25 for n in range(30)], "bframes": 2},
    "rotated-90.mp4": {"rotation": 90},
    "rotated-180.mp4": {"rotation": 180},
    "rotated-270.mov": {"rotation": 270},
    "portrait.mp4": {"size": (180, 320)},
    "rotated-portrait.mp4": {"size": (180, 320), "rotation": 90},
    "odd-size.mkv": {"size": (321, 181), "codec": "ffv1"},
    "odd-rotated.mp4": {"size": (321, 181), "rotation": 90, "pix_fmt": "yuv444p"},
    "one-frame.mp4": {"frames": 1},
    "two-frames.mp4": {"frames": 2},
    "mpeg4-b-frames.avi": {"codec": "mpeg4", "bframes": 2},
    "h264-without-times.avi": {"bframes": 2},
    "ten-bit.mp4": {"pix_fmt": "yuv420p10le"},
    "ten-bit-422.mkv": {"pix_fmt": "yuv422p10le", "codec": "ffv1"},
    "full-range.mp4": {"full_range": True},
    "motion-jpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "full_range": True, "options": {"q": "2"}},
    "rgb.mkv": {"codec": "ffv1", "pix_fmt": "bgr0"},
    "vp8.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1"}},
    "tiny.mp4": {"size": (32, 24)},
}


@pytest.fixture(params=KINDS)
def clip(request, tmp_path):
    how = dict(KINDS[request.param])
    return numbered_clip(tmp_path / request.param, **how)


def test_exact_keeps_every_frame_with_its_number_time_and_colour(clip, extracted, tmp_path):
    kept, extraction = extracted(clip)
    times = decode_independently(clip).times
    assert extraction.decoded == len(kept) == len(times) == KINDS[clip.name].get("frames", 30)
    assert extraction.failures == 0
    assert [frame.index for frame in kept] == list(range(len(times)))
    assert all(frame.stands_for == 1 for frame in kept)
    for frame, time in zip(kept, times, strict=True):
        assert frame.timestamp - kept[0].timestamp == pytest.approx(time, abs=0.001)
        image = read_jpeg(tmp_path / "frames" / frame.image_path)
        assert read_number(image) == frame.index
        assert read_colour(image) == colour_name(frame.index)


@pytest.mark.parametrize("sampling", ["distinct", "every=0.2s", "scenes"])
@pytest.mark.parametrize("name", ["b-frames.mp4", "variable-rate.mkv", "gap.mp4", "rotated-90.mp4"])
def test_other_samplings_account_for_every_frame(name, sampling, extracted, tmp_path):
    clip = numbered_clip(tmp_path / name, **KINDS[name])
    kept, extraction = extracted(clip, sampling)
    assert sum(frame.stands_for for frame in kept) == extraction.decoded == 30
    for frame in kept:
        assert read_number(read_jpeg(tmp_path / "frames" / frame.image_path)) == frame.index


def test_numbered_frames_are_kept_at_the_moving_footage_rate_or_more(extracted, tmp_path):
    kept, _ = extracted(numbered_clip(tmp_path / "clip.mp4", frames=80, bframes=2), "distinct")
    assert max(frame.stands_for for frame in kept) <= 0.4 * 25
    assert sum(frame.stands_for for frame in kept) == 80


@pytest.mark.parametrize("name", ["rotated-90.mp4", "rotated-180.mp4", "rotated-270.mov"])
def test_rotation_matches_another_ffmpeg(name, tmp_path):
    clip = numbered_clip(tmp_path / name, first=1234, **KINDS[name])
    facts = probe(clip)
    assert facts.rotation == KINDS[name]["rotation"]
    assert (facts.width, facts.height) == (320, 180)
    run_ffmpeg("-i", clip, "-frames:v", "1", tmp_path / "upright.jpg")
    assert read_number(read_jpeg(tmp_path / "upright.jpg")) == 1234


def test_timestamps_count_from_the_start_of_the_stream(extracted, tmp_path):
    for name in ("starts-late.mp4", "starts-late.mkv", "starts-late.ts"):
        kept, _ = extracted(numbered_clip(tmp_path / name, **KINDS[name]), folder=f"frames of {name}")
        assert kept[0].timestamp == pytest.approx(0, abs=0.001)
        assert probe(tmp_path / name).duration == pytest.approx(1.2, abs=0.05)


def test_wide_pixels_become_square(extracted, tmp_path):
    clip = numbered_clip(tmp_path / "wide.mp4", sample_aspect=Fraction(4, 3))
    facts = probe(clip)
    assert (facts.width, facts.height) == (427, 180)
    kept, _ = extracted(clip, edge=1024)
    assert read_jpeg(tmp_path / "frames" / kept[5].image_path).shape == (180, 427, 3)


def test_cover_art_is_not_the_video(extracted, tmp_path):
    numbered_clip(tmp_path / "cover.mkv", frames=1, first=999, codec="mjpeg", pix_fmt="yuvj420p", full_range=True)
    run_ffmpeg("-i", tmp_path / "cover.mkv", tmp_path / "cover.jpg")
    numbered_clip(tmp_path / "film.mp4", frames=10)
    both = tmp_path / "both.mp4"
    run_ffmpeg(
        "-i", tmp_path / "cover.jpg", "-i", tmp_path / "film.mp4", "-map", "0", "-map", "1", "-c", "copy",
        "-disposition:v:0", "attached_pic", both,
    )  # fmt: skip
    kept, extraction = extracted(both)
    assert extraction.decoded == decode_independently(both).frames == 10
    assert read_number(read_jpeg(tmp_path / "frames" / kept[3].image_path)) == 3


def test_a_stream_without_timestamps_is_timed_by_its_frame_rate(extracted, tmp_path):
    kept, _ = extracted(numbered_clip(tmp_path / "raw.h264", bframes=2))
    assert [frame.timestamp for frame in kept] == pytest.approx([n / 25 for n in range(30)])


def test_frames_at_one_time_are_each_stood_for(extracted, tmp_path):
    times = [n // 2 * 2 / 25 for n in range(30)]
    clip = numbered_clip(tmp_path / "pairs.mkv", codec="ffv1", times=times)
    for sampling in ("exact", "distinct"):
        kept, extraction = extracted(clip, sampling, folder=sampling)
        assert sum(frame.stands_for for frame in kept) == extraction.decoded == 30
        assert len({frame.timestamp for frame in kept}) == len(kept)
        assert len(kept) == 30 or sampling == "distinct"
