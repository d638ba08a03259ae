"""The skim: every frame found by seeking is one of a full extraction, byte for byte."""

import threading

import av
import cv2
import numpy as np
import psutil
import pytest

from enrich.errors import NotAVideoError, VideoMissingError
from enrich.video.decode import SourceFrames
from enrich.video.jpeg import JpegEncoder, JpegFormat
from enrich.video.probe import probe
from enrich.video.skim import SkimTarget, skim
from tests.clips import image_clip, numbered_clip, read_jpeg, read_number, run_ffmpeg, shared_videos

FRAMES = 60
OPEN_GROUPS = {"x264-params": "open-gop=1:scenecut=0"}
ONE_GROUP = {"gop": 250, "options": {"x264-params": "scenecut=0"}}
KINDS = {
    "b-frames.mp4": {"bframes": 3},
    "short-groups.mp4": {"gop": 3},
    "one-group.mp4": {"bframes": 3, **ONE_GROUP},
    "one-group.mkv": {"bframes": 3, **ONE_GROUP},
    "one-group.ts": {"bframes": 3, **ONE_GROUP},
    "open-groups.mp4": {"bframes": 3, "options": OPEN_GROUPS},
    "open-groups.mkv": {"bframes": 3, "options": OPEN_GROUPS},
    "open-groups.ts": {"bframes": 3, "options": OPEN_GROUPS},
    "interlaced.mp4": {"bframes": 2, "options": {"x264-params": "tff=1"}},
    "variable-rate.mkv": {"times": [n * n / 500 + n / 50 for n in range(FRAMES)]},
    "variable-rate.mp4": {"times": [n * n / 500 + n / 50 for n in range(FRAMES)], "bframes": 2},
    "gap.mp4": {"times": [n / 25 + (5 if n > 10 else 0) for n in range(FRAMES)]},
    "gap.ts": {"times": [n / 25 + (5 if n > 10 else 0) for n in range(FRAMES)]},
    "starts-late.mp4": {"times": [3 + n / 25 for n in range(FRAMES)], "bframes": 2},
    "starts-late.mkv": {"times": [3 + n / 25 for n in range(FRAMES)]},
    "starts-late.ts": {"times": [3 + n / 25 for n in range(FRAMES)], "bframes": 2},
    "rotated-90.mp4": {"rotation": 90},
    "odd-rotated.mp4": {"size": (321, 181), "rotation": 270, "pix_fmt": "yuv444p"},
    "ten-bit.mp4": {"pix_fmt": "yuv420p10le", "bframes": 2},
    "mpeg4.avi": {"codec": "mpeg4"},
    "motion-jpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "full_range": True},
    "program-stream.mpg": {"codec": "mpeg2video", "bframes": 2},
    "vp8.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1"}},
}
WITH_HOLES = {"gap.mp4": 5, "gap.ts": 5, "program-stream.mpg": 10}  # in time, or key frames without times
FOOTAGE = shared_videos()
LARGE = ("people-one-by-one.mp4", "screen-recording.mp4", "bunny-720p-vp8.webm")


def adjacent_targets(seconds, count):
    """Adjacent targets."""
    width = seconds / count
    return [SkimTarget(at=(n + 0.5) * width, earliest=n * width, latest=(n + 1) * width) for n in range(count)]


def run_skim(path, folder, targets, **how):
    return skim(path, folder, targets, jpeg=JpegFormat(edge=336, quality=85, rotation=probe(path).rotation), **how)


def require_same_as_extracted(found, folder, kept, frames):
    """Every frame found matches a kept frame in `frames`: its time, its signals and its bytes."""
    by_time = {frame.timestamp: frame for frame in kept}
    for image in found:
        frame = by_time[image.timestamp]
        assert image.image_path == frame.image_path
        assert (image.dhash, image.sharpness, image.brightness) == (
            frame.dhash, frame.sharpness, frame.brightness,
        )  # fmt: skip
        assert (folder / image.image_path).read_bytes() == (frames / frame.image_path).read_bytes()


@pytest.mark.parametrize("name", KINDS)
def test_a_skimmed_frame_is_one_the_extraction_keeps(name, extracted, tmp_path):
    clip = numbered_clip(tmp_path / name, frames=FRAMES, **KINDS[name])
    kept, _ = extracted(clip)
    targets = adjacent_targets(kept[-1].timestamp, 12)
    found = list(run_skim(clip, tmp_path / "skim", targets))
    assert len(found) >= WITH_HOLES.get(name, 12)
    assert all(targets[image.target].contains(image.timestamp) for image in found)
    require_same_as_extracted(found, tmp_path / "skim", kept, tmp_path / "frames")


def test_files_without_an_index_are_skimmed_too(extracted, tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=FRAMES, bframes=2)
    for name, how in (("live.mkv", ("-live", "1")), ("parts.mp4", ("-movflags", "+frag_keyframe+empty_moov"))):
        run_ffmpeg("-i", clip, "-c", "copy", *how, tmp_path / name)
        kept, _ = extracted(tmp_path / name, folder=f"frames of {name}")
        found = list(run_skim(tmp_path / name, tmp_path / name.replace(".", " "), adjacent_targets(2.4, 5)))
        assert len(found) == 5
        require_same_as_extracted(found, tmp_path / name.replace(".", " "), kept, tmp_path / f"frames of {name}")


@pytest.mark.skipif(FOOTAGE is None, reason="no shared footage beside the repository")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.name, marks=pytest.mark.slow if path.name in LARGE else ())
        for path in (sorted(FOOTAGE.glob("*.[mw]*[4m]")) if FOOTAGE else [])
    ],
)
def test_frames_of_real_footage_match_a_full_decode(name, tmp_path):
    path, rotation = FOOTAGE / name, probe(FOOTAGE / name).rotation
    targets = adjacent_targets(probe(path).duration, 30)
    found = {image.timestamp: image for image in run_skim(path, tmp_path, targets)}
    assert len(found) >= 5
    assert all(targets[image.target].contains(image.timestamp) for image in found.values())
    with SourceFrames(path) as frames:
        encoder = JpegEncoder(JpegFormat(edge=336, quality=85, rotation=rotation), sample_aspect=frames.sample_aspect)
        for frame in frames:
            if image := found.pop(frame.timestamp, None):
                assert (tmp_path / image.image_path).read_bytes() == encoder.encode(frame.av_frame)
    assert not found


# Not a scratched AVI: a full decode that loses frames counts, and so times, those after them wrong.
@pytest.mark.parametrize(
    ("suffix", "damage"),
    [*((suffix, "cut off") for suffix in ("mp4", "mkv", "ts", "avi")),
     *((suffix, "scratched") for suffix in ("mp4", "mkv", "ts"))],
)  # fmt: skip
def test_no_frame_with_concealed_errors_is_chosen(suffix, damage, extracted, tmp_path):
    clip = numbered_clip(tmp_path / f"whole.{suffix}", frames=120, codec="mpeg4" if suffix == "avi" else "libx264")
    if suffix == "mp4":
        run_ffmpeg("-i", clip, "-c", "copy", "-movflags", "+faststart", tmp_path / "front.mp4")
        clip = tmp_path / "front.mp4"
    data = bytearray(clip.read_bytes())
    if damage == "cut off":
        del data[round(0.7 * len(data)) :]
    else:
        data[round(0.4 * len(data)) : round(0.5 * len(data))] = np.random.default_rng(1).bytes(len(data) // 10)
    clip.write_bytes(data)
    kept, _ = extracted(clip)
    found = list(run_skim(clip, tmp_path / "skim", adjacent_targets(4.8, 24)))
    assert bool(found) == (suffix != "avi")  # without a complete index, its frames have no timestamps
    require_same_as_extracted(found, tmp_path / "skim", kept, tmp_path / "frames")
    for image in found:
        assert read_number(read_jpeg(tmp_path / "skim" / image.image_path)) == round(image.timestamp * 25)


def test_a_damaged_key_frame_is_skipped(extracted, tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=100, gop=10, options={"x264-params": "scenecut=0"})
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        keys = [packet for packet in container.demux(video=0) if packet.is_keyframe]
    for key in keys[::2]:
        data[key.pos + key.size // 2 : key.pos + key.size] = np.random.default_rng(1).bytes(key.size - key.size // 2)
    clip.write_bytes(data)
    kept, _ = extracted(clip)
    targets = [SkimTarget(at=n * 0.4 + 0.02, earliest=n * 0.4 - 0.2, latest=n * 0.4 + 0.2) for n in range(10)]
    found = list(run_skim(clip, tmp_path / "skim", targets))
    assert [image.timestamp for image in found] == [0.4, 1.2, 2.0, 2.8, 3.6]
    require_same_as_extracted(found, tmp_path / "skim", kept, tmp_path / "frames")


@pytest.mark.parametrize("name", ["raw.h264", "h264-without-times.avi"])
def test_a_skim_yields_nothing_where_frames_carry_no_timestamps(name, tmp_path):
    clip = numbered_clip(tmp_path / name, frames=FRAMES, bframes=2)
    assert list(run_skim(clip, tmp_path / "skim", adjacent_targets(2.4, 5))) == []


def test_missing_files_and_other_files_raise(tmp_path):
    (tmp_path / "words.mp4").write_text("these are words\n" * 1000)
    for name, error in (("words.mp4", NotAVideoError), ("gone.mp4", VideoMissingError)):
        with pytest.raises(error):
            list(skim(tmp_path / name, tmp_path, adjacent_targets(1, 2), jpeg=JpegFormat(edge=336, quality=85)))


def textured(seed):
    """A sharp image, different for each seed."""
    cells = np.random.default_rng(seed).integers(60, 250, (18, 32, 3), np.uint8)
    return cv2.resize(cells, (320, 180), interpolation=cv2.INTER_NEAREST)


def dark(seed):
    """Dark but sharp: fine stripes at the left of a black image, different for each seed."""
    image = np.zeros((180, 320, 3), np.uint8)
    image[seed % 4 :: 4, :16] = 255
    return image


def blurred(seed):
    return cv2.GaussianBlur(textured(seed), (0, 0), 12)


@pytest.mark.parametrize("gop", [10, 250])
@pytest.mark.parametrize("spoiled", [dark, blurred])
def test_dark_and_blurred_frames_are_avoided_if_the_target_has_better(spoiled, gop, tmp_path):
    bad = range(40, 65)
    images = [spoiled(n // 5) if n in bad else textured(n // 5) for n in range(100)]
    clip = image_clip(tmp_path / "clip.mp4", images, gop=gop, options={"x264-params": "scenecut=0"})
    (found,) = run_skim(clip, tmp_path / "skim", [SkimTarget(at=2.0, earliest=1.0, latest=3.2)])
    assert round(found.timestamp * 25) not in bad


def test_the_brighter_of_two_key_frames_is_chosen(tmp_path):
    images = [dark(1) if 40 <= n < 60 else textured(n // 10) for n in range(100)]
    clip = image_clip(tmp_path / "clip.mp4", images, gop=10, options={"x264-params": "scenecut=0"})
    (found,) = run_skim(clip, tmp_path / "skim", [SkimTarget(at=2.1, earliest=1.9, latest=2.7)])
    assert found.timestamp == 2.4


def test_a_blurred_frame_is_detected_from_earlier_ones(tmp_path):
    images = [blurred(n // 5) if 70 <= n < 80 else textured(n // 5) for n in range(100)]
    clip = image_clip(tmp_path / "clip.mp4", images, gop=10)
    targets = [*adjacent_targets(2.4, 6), SkimTarget(at=3.0, earliest=2.7, latest=3.5)]
    *_, last = run_skim(clip, tmp_path / "skim", targets)
    assert (last.target, last.timestamp) == (6, 3.2)


def test_a_fully_dark_video_still_gets_a_frame(tmp_path):
    clip = image_clip(tmp_path / "night.mp4", [dark(1)] * 50)
    assert len(list(run_skim(clip, tmp_path / "skim", adjacent_targets(2, 4)))) == 1


@pytest.mark.parametrize("gop", [10, 250])
def test_a_still_shot_is_not_repeated(gop, tmp_path):
    clip = image_clip(tmp_path / "clip.mp4", [textured(n // 50) for n in range(100)], gop=gop)
    found = list(run_skim(clip, tmp_path / "skim", adjacent_targets(4, 8)))
    assert [image.timestamp < 2 for image in found] == [True, False]


def test_targets_are_processed_in_order(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=100, gop=5)
    even = adjacent_targets(4, 8)
    targets = [even[n] for n in (4, 2, 6, 1, 3, 5, 7, 0)]
    found = list(run_skim(clip, tmp_path / "skim", targets))
    assert [image.target for image in found] == list(range(8))
    assert all(targets[image.target].contains(image.timestamp) for image in found)


def test_the_key_frame_nearer_to_the_target_time_is_chosen(tmp_path):
    clip = image_clip(tmp_path / "clip.mp4", [textured(n // 10) for n in range(100)], gop=10)
    targets = [
        *adjacent_targets(1.6, 4),
        SkimTarget(at=2.1, earliest=1.7, latest=3.9),
        SkimTarget(at=3.5, earliest=2.7, latest=3.9),
    ]
    assert [image.timestamp for image in run_skim(clip, tmp_path / "skim", targets)][-2:] == [2.0, 3.6]


def test_a_target_outside_the_video_gets_no_frame(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=FRAMES)
    targets = [SkimTarget(at=90.0, earliest=80.0, latest=100.0), SkimTarget(at=-2.0, earliest=-3.0, latest=-1.0)]
    assert list(run_skim(clip, tmp_path / "skim", targets)) == []


def test_targets_too_expensive_to_reach_are_skipped(tmp_path, monkeypatch):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=100, **ONE_GROUP)
    monkeypatch.setattr("enrich.video.seek.MAX_GOP_PIXELS", 30 * 320 * 180)
    found = list(run_skim(clip, tmp_path / "skim", adjacent_targets(4, 10)))
    assert [image.target for image in found] == [0, 1, 2]


def test_a_gop_is_decoded_once_for_all_its_targets(tmp_path, monkeypatch):
    times = [n / 25 + (4 if n > 30 else 0) for n in range(120)]
    how = {"gop": 60, "options": {"x264-params": "scenecut=0"}}
    clip = numbered_clip(tmp_path / "clip.mp4", frames=120, times=times, **how)
    monkeypatch.setattr("enrich.video.seek.MAX_TOTAL_PIXELS", 130 * 320 * 180)
    targets = [*adjacent_targets(10, 100)[15:50], SkimTarget(at=8.0, earliest=7.9, latest=8.1)]
    assert [image.target for image in run_skim(clip, tmp_path / "skim", targets)] == [35]


def test_known_frames_are_not_yielded_again(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=100, gop=10, bframes=2)
    targets = adjacent_targets(4, 8)
    found = list(run_skim(clip, tmp_path / "skim", targets))
    taken = [image.timestamp for image in found]
    assert len(found) == 8
    assert list(run_skim(clip, tmp_path / "skim", targets, known=taken)) == []
    assert list(run_skim(clip, tmp_path / "skim", targets, known=taken[:3])) == found[3:]


def test_a_whole_jpeg_is_reused_and_a_broken_one_recreated(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=100, gop=10)
    one, other = list(run_skim(clip, tmp_path / "skim", adjacent_targets(4, 2)))
    whole, broken = tmp_path / "skim" / one.image_path, tmp_path / "skim" / other.image_path
    data, inode = broken.read_bytes(), whole.stat().st_ino
    broken.write_bytes(data[:100])
    assert list(run_skim(clip, tmp_path / "skim", adjacent_targets(4, 2))) == [one, other]
    assert whole.stat().st_ino == inode
    assert broken.read_bytes() == data
    assert not list(tmp_path.rglob("*.part"))


def test_a_skim_ends_on_stop_and_after_its_time_limit(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=100, gop=10)
    stop = threading.Event()
    found = run_skim(clip, tmp_path / "skim", adjacent_targets(4, 8), stop=stop)
    assert next(found).target == 0
    stop.set()
    clip.rename(tmp_path / "gone.mp4")
    assert list(found) == []
    clip = tmp_path / "gone.mp4"
    assert list(run_skim(clip, tmp_path / "skim", adjacent_targets(4, 8), time_limit=0.0)) == []


@pytest.mark.parametrize("gop", [10, 250])
def test_the_file_is_open_only_during_the_skim(gop, tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=100, gop=gop)

    def is_open():
        return str(clip) in [file.path for file in psutil.Process().open_files()]

    found = run_skim(clip, tmp_path / "skim", adjacent_targets(4, 8))
    assert not is_open()
    next(found)
    assert is_open()
    found.close()
    assert not is_open()


def test_a_file_that_vanishes_during_the_skim_is_missing(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=100, gop=10)
    found = run_skim(clip, tmp_path / "skim", adjacent_targets(4, 8))
    next(found)
    clip.unlink()
    with pytest.raises(VideoMissingError):
        list(found)
