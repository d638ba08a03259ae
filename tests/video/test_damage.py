"""Damaged files: what can be decoded is, exactly as far as another FFmpeg gets, and the rest is counted."""

import random

import pytest

from enrich.errors import NotAVideoError, VideoMissingError
from enrich.filenames import is_media_name
from enrich.video.decode import SourceFrames
from enrich.video.fingerprint import require_readable
from enrich.video.probe import probe
from tests.clips import decode_independently, numbered_clip, read_jpeg, read_number, run_ffmpeg


def cut_off(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


def scratch(path, first=0.4, last=0.5, seed=1):
    data = bytearray(path.read_bytes())
    start, end = round(len(data) * first), round(len(data) * last)
    data[start:end] = random.Random(seed).randbytes(end - start)
    path.write_bytes(data)
    return path


def fast_start(folder, **how):
    """An MP4 with its index at the front, as cameras and streaming sites write it."""
    numbered_clip(folder / "plain.mp4", frames=120, options={"crf": "5"}, **how)
    run_ffmpeg("-i", folder / "plain.mp4", "-c", "copy", "-movflags", "+faststart", folder / "clip.mp4")
    return folder / "clip.mp4"


def test_a_truncated_clip_is_decoded_up_to_the_truncation(extracted, tmp_path):
    clip = cut_off(fast_start(tmp_path, bframes=2), 0.6)
    kept, extraction = extracted(clip)
    times = decode_independently(clip).times
    assert 40 < len(times) < 90
    assert extraction.decoded == len(kept) == len(times)
    assert extraction.decoded + extraction.failures == pytest.approx(120, abs=2)
    for frame in kept[:-3]:  # the last ones may be patched up
        assert read_number(read_jpeg(tmp_path / "frames" / frame.image_path)) == frame.index


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_a_damaged_section_loses_only_its_own_frames(suffix, extracted, tmp_path):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    clip = scratch(numbered_clip(tmp_path / f"clip.{suffix}", frames=120, codec=codec))
    kept, extraction = extracted(clip)
    truth = decode_independently(clip)
    assert extraction.decoded == sum(frame.stands_for for frame in kept) == truth.frames < 120
    assert [frame.timestamp - kept[0].timestamp for frame in kept] == pytest.approx(truth.times, abs=0.001)
    assert read_number(read_jpeg(tmp_path / "frames" / kept[-1].image_path)) == 119
    if suffix == "mp4":
        assert extraction.failures >= 8


@pytest.mark.parametrize("seed", range(6))
def test_threads_lose_no_frame_with_a_damaged_end(seed, tmp_path):
    """PyAV drops what a threaded decoder still holds when it finds damage at the end."""
    clip = fast_start(tmp_path, bframes=2 * (seed % 2))
    cut_off(clip, 0.5 + seed / 13)
    with SourceFrames(clip) as threaded, SourceFrames(clip, threads=False) as single:
        assert [frame.timestamp for frame in threaded] == [frame.timestamp for frame in single]
        assert threaded.decoded == decode_independently(clip).frames
        assert threaded.failures == pytest.approx(single.failures, abs=1)


def with_late_sound(flv, first, last):
    """The bytes of an FLV file with a sound tag before every picture from `first` to `last` (seconds)."""
    parts = [flv[:13]]
    at = 13
    while at < len(flv):
        tag = flv[at : at + 15 + int.from_bytes(flv[at + 1 : at + 4], "big")]
        milliseconds = int.from_bytes(tag[4:7], "big")
        if 1000 * first <= milliseconds < 1000 * last:
            sound = b"\x30" + bytes(200)  # uncompressed
            size = len(sound).to_bytes(3, "big")
            parts.append(b"\x08" + size + tag[4:8] + bytes(3) + sound + (11 + len(sound)).to_bytes(4, "big"))
        parts.append(tag)
        at += len(tag)
    return b"".join(parts)


def test_sound_that_starts_late_costs_no_frame(extracted, tmp_path):
    path = numbered_clip(tmp_path / "late.flv", frames=225, size=(160, 90), fps=5, codec="flv")
    path.write_bytes(with_late_sound(path.read_bytes(), 15, 30))
    kept, extraction = extracted(path)
    assert (len(kept), extraction.decoded, extraction.failures) == (225, 225, 0)
    assert [frame.timestamp for frame in kept] == pytest.approx([number / 5 for number in range(225)], abs=0.001)
    assert read_number(read_jpeg(tmp_path / "frames" / kept[-1].image_path)) == 224


def test_a_damaged_raw_stream_that_cannot_be_sought_is_decoded_to_its_end(extracted, tmp_path):
    clip = scratch(numbered_clip(tmp_path / "raw.h264", frames=120, gop=20))
    kept, extraction = extracted(clip)
    assert extraction.decoded == sum(frame.stands_for for frame in kept) < 120
    assert read_number(read_jpeg(tmp_path / "frames" / kept[-1].image_path)) == 119


def test_an_mp4_without_an_index_is_refused_in_one_line(tmp_path):
    clip = cut_off(numbered_clip(tmp_path / "clip.mp4"), 0.5)
    with pytest.raises(NotAVideoError, match=r"not a video, or its start is damaged"):
        probe(clip)


def test_a_stream_without_decodable_frames_is_refused(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mkv", codec="ffv1", gop=1)
    scratch(clip, 0.04, 1.0)
    with pytest.raises(NotAVideoError):  # noqa: SIM117
        with SourceFrames(clip) as frames:
            list(frames)


def not_a_video(folder, kind):
    path = folder / f"{kind}.mp4"
    match kind:
        case "empty":
            path.touch()
        case "text":
            path.write_text("these are words\n" * 1000)
        case "noise":
            path.write_bytes(random.Random(3).randbytes(50_000))
        case "sound":
            run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
        case "sound with cover":
            numbered_clip(folder / "cover.mkv", frames=1, codec="mjpeg", pix_fmt="yuvj420p", full_range=True)
            run_ffmpeg(
                "-f", "lavfi", "-i", "sine=duration=1", "-i", folder / "cover.mkv", "-map", "0", "-map", "1",
                "-c:v", "copy", "-disposition:v", "attached_pic", path,
            )  # fmt: skip
        case "photo":
            numbered_clip(folder / "one.mkv", frames=1, codec="mjpeg", pix_fmt="yuvj420p", full_range=True)
            path = folder / "photo.jpg"
            run_ffmpeg("-i", folder / "one.mkv", path)
        case "play list":
            numbered_clip(folder / "real.ts")
            path = folder / "list.m3u8"
            path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nreal.ts\n#EXT-X-ENDLIST\n")
    return path


@pytest.mark.parametrize("kind", ["empty", "text", "noise", "sound", "sound with cover", "photo", "play list"])
def test_a_file_that_is_not_a_video_is_refused_by_name(kind, tmp_path):
    path = not_a_video(tmp_path, kind)
    for read in (probe, SourceFrames):
        with pytest.raises(NotAVideoError) as raised:
            read(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder_are_reported_as_missing(tmp_path):
    for read in (probe, SourceFrames):
        with pytest.raises(VideoMissingError, match="does not exist"):
            read(tmp_path / "gone.mp4")
        with pytest.raises(VideoMissingError, match="is a folder"):
            read(tmp_path)


@pytest.mark.usefixtures("file_permissions")
def test_an_unreadable_file_is_missing_not_broken(tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"closed")
    clip.chmod(0)
    with pytest.raises(VideoMissingError, match="permission"):
        require_readable(clip)


def test_a_file_that_vanishes_during_reading_is_missing(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=60)
    with SourceFrames(clip) as frames:
        next(iter(frames))
        clip.unlink()
        with pytest.raises(VideoMissingError):
            list(frames)


def test_unusual_file_names_are_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mp4", "100% größe #1.mp4", "http:x.mp4", "-i.mp4"):
        assert probe(numbered_clip(tmp_path / "x.mp4", frames=2).rename(tmp_path / name)).frame_estimate == 2
        with SourceFrames(name) as frames:
            assert sum(1 for _ in frames) == 2


def test_media_are_known_by_their_names():
    assert all(map(is_media_name, ("a.mp4", "B.MOV", "c.d.MTS", "x.webm", "y.VOB")))
    assert not any(map(is_media_name, ("a.jpg", "notes.txt", "mp4", "b.mp3", ".mp4.part")))
