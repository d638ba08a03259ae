"""Damaged files: what can be decoded is, exactly as far as another FFmpeg gets, and the rest is counted."""

import errno
import random
import struct
from pathlib import Path

import pytest

from enrich.errors import NotAVideoError, VideoMissingError
from enrich.filenames import is_media_name
from enrich.video.decode import SourceFrames
from enrich.video.fingerprint import require_readable, unreadable
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
    with pytest.raises(NotAVideoError, match=r"is cut short, and its index is missing: copy it again"):
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


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "flv", "h264"])
def test_a_read_error_is_never_the_end_of_the_file(suffix, drive, tmp_path):
    """Also one that occurs once: FFmpeg takes it for the end."""
    codec = {"avi": "mpeg4", "flv": "flv"}.get(suffix, "libx264")
    clip = numbered_clip(drive.files / f"clip.{suffix}", codec=codec, frames=120)
    with SourceFrames(drive.folder / clip.name) as frames:
        assert sum(1 for _ in frames) == 120
    for times in (1, 1000):
        drive.fails(errno.EIO, begin=clip.stat().st_size * 2 // 3, times=times)
        with pytest.raises(VideoMissingError, match=r"Input/output error.*copy the file again"):  # noqa: SIM117
            with SourceFrames(drive.folder / clip.name) as frames:
                list(frames)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOENT, "does not exist: check the path"),
        (errno.ENODEV, "connect its drive"),
        (errno.EACCES, "permission denied"),
        (errno.ESTALE, "network share"),
        (errno.ETIMEDOUT, "network share"),
        (errno.ENOTCONN, "network share"),
    ],
)
def test_an_unreadable_file_says_what_to_do(code, said):
    assert said in str(unreadable(Path("film.mp4"), OSError(code, "reason")))


def ended(path):
    """A video that was decoded to its end."""
    with SourceFrames(path) as frames:
        list(frames)
    return frames


def with_sound(clip, seconds):
    """The clip with sound that is longer than its pictures, without the tags that say how long each of them is."""
    path = clip.with_name(f"sound{clip.suffix}")
    sound = ("-f", "lavfi", "-i", f"sine=duration={seconds}")
    run_ffmpeg("-i", clip, *sound, "-c:v", "copy", "-fflags", "+bitexact", "-map", "0", "-map", "1", path)
    if path.suffix == ".mkv":
        path.write_bytes(path.read_bytes().replace(b"DURATION", b"NOTHING_"))
    return path


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "flv"])
def test_a_file_cut_short_says_how_long_it_should_be(kind, tmp_path):
    match kind:
        case "mp4":
            clip = fast_start(tmp_path)
        case "flv":
            clip = numbered_clip(tmp_path / "clip.flv", codec="flv", frames=120)
        case _:
            clip = numbered_clip(tmp_path / f"clip.{kind}", codec="mpeg4", frames=120)
    whole = ended(clip)
    assert (whole.decoded, whole.failures, whole.stated_length) == (120, 0, None)
    assert whole.length == pytest.approx(4.8, abs=0.05)
    cut = ended(cut_off(clip, 0.3))
    assert cut.stated_length == pytest.approx(4.8, abs=0.1)
    assert cut.length == pytest.approx(cut.decoded / 25, abs=0.2)
    if kind != "flv":  # which does not say how many bytes it has
        assert cut.decoded + cut.failures == pytest.approx(120, abs=5)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_longer_than_the_pictures_is_no_cut(suffix, tmp_path):
    clip = with_sound(numbered_clip(tmp_path / f"clip.{suffix}", frames=50), 8)
    frames = ended(clip)
    assert (frames.decoded, frames.failures, frames.stated_length) == (50, 0, None)
    assert frames.length == pytest.approx(2, abs=0.05)


def test_a_last_frame_shown_for_long_is_no_cut(tmp_path):
    times = [*(number / 25 for number in range(30)), 2.0, 9.0]
    frames = ended(numbered_clip(tmp_path / "clip.mkv", frames=len(times), times=times))
    assert (frames.failures, frames.stated_length) == (0, None)
    assert frames.length >= 9


def test_a_fragmented_mp4_is_as_long_as_its_fragments(tmp_path):
    numbered_clip(tmp_path / "plain.mp4", frames=120, gop=25)
    clip = tmp_path / "fragments.mp4"
    run_ffmpeg("-i", tmp_path / "plain.mp4", "-c", "copy", "-movflags", "frag_keyframe", clip)
    assert probe(clip).frame_estimate == pytest.approx(120, abs=1)
    frames = ended(clip)
    assert (frames.decoded, frames.failures, frames.stated_length) == (120, 0, None)
    assert frames.length == pytest.approx(4.8, abs=0.05)


def patched(path, old, new):
    data = path.read_bytes()
    assert data.count(old) >= 1
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize("seconds", [0, 0.001, 40, 363_600, 1e12, float("nan"), None])
def test_a_wrong_length_in_a_header_is_corrected(seconds, tmp_path):
    clip = numbered_clip(tmp_path / "clip.mkv", frames=50)
    data = clip.read_bytes()
    clip.write_bytes(data.replace(b"DURATION", b"NOTHING_"))
    at = data.index(b"\x44\x89\x88") + 3  # Segment, Info, Duration: 8 bytes
    new = b"\xec\x89\x88" + bytes(8) if seconds is None else b"\x44\x89\x88" + struct.pack(">d", seconds * 1000)
    patched(clip, data[at - 3 : at + 8], new)
    facts = probe(clip)
    if seconds != 40:  # which a file of this size may well have
        assert facts.duration is None or facts.duration == pytest.approx(2, abs=0.1)
        assert (facts.frame_estimate or 50) == pytest.approx(50, abs=3)
    frames = ended(clip)
    assert (frames.decoded, frames.failures, frames.stated_length) == (50, 0, None)
    assert frames.length == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("frames", [9_090_000, 10, 0])
def test_an_avi_is_as_long_as_its_index(frames, tmp_path):
    clip = numbered_clip(tmp_path / "clip.avi", codec="mpeg4", frames=75)
    data = bytearray(clip.read_bytes())
    for at in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
        data[at : at + 4] = frames.to_bytes(4, "little")
    clip.write_bytes(data)
    facts = probe(clip)
    assert facts.duration == pytest.approx(3)
    assert facts.frame_estimate == 75
    assert ended(clip).length == pytest.approx(3)


def test_an_edit_list_that_hides_all_pictures_is_named(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=50)
    data = bytearray(clip.read_bytes())
    at = data.index(b"elst") + 12
    data[at : at + 8] = bytes(4) + (25 * 512).to_bytes(4, "big")
    clip.write_bytes(data)
    with pytest.raises(NotAVideoError, match="edit list hides all of its frames"):
        ended(clip)


def test_frames_dropped_without_an_error_are_counted(tmp_path):
    """HEVC decoders drop what depends on damaged frames, and report nothing."""
    clip = scratch(numbered_clip(tmp_path / "raw.hevc", codec="libx265", frames=60, gop=60), 0.75, 0.8)
    frames = ended(clip)
    assert 20 < frames.decoded < 60
    assert frames.decoded == decode_independently(clip).frames
    assert frames.decoded + frames.failures == pytest.approx(60, abs=10)  # some packets are not recognized


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
