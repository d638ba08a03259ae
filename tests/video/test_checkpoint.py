"""An extraction that continues at any of its checkpoints yields what it yields without an interruption."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from enrich.video import extraction
from enrich.video.checkpoint import ExtractionCheckpoint, InvalidCheckpointError, pack, unpack
from enrich.video.decode import SourceFrames
from enrich.video.extraction import Extraction
from enrich.video.jpeg import JpegFormat
from enrich.video.sampling import parse_sampling
from enrich.video.selection import KeptFrame
from tests.clips import numbered_clip, run_ffmpeg, set_flv_times, shared_videos

SMALL = JpegFormat(edge=64, quality=60)
WANTED = (0.52, 1.04)  # the second is the time of a frame at 25 frames per second
MOST_CHECKPOINTS = 6  # tried per video
FOOTAGE = ("chaplin.mp4", "gopher-vfr-portrait.mp4", "nasa-six-streams.mp4", "fire-vfr-rotated.mp4")
SAMPLINGS = ("exact", "every=300ms", "scenes", "distinct", "distinct:strict")

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "12", "-bf", "2")
# Formats in which frames after a key frame are shown before it, or seeking is coarse, or fields have their own packets.
ENCODINGS = {
    "open-gop.mp4": (*H264, "-x264-params", "open-gop=1"),
    "open-gop.ts": (*H264, "-x264-params", "open-gop=1"),
    "interlaced.mkv": (*H264, "-x264-params", "interlaced=1:open-gop=1"),
    "edit-list.mp4": (*H264, "-ss", "0.3"),
    "program-stream.mpg": ("-c:v", "mpeg2video", "-g", "12", "-bf", "2"),
    "transport-stream.ts": ("-c:v", "mpeg2video", "-g", "12", "-bf", "2"),
    "every-frame.avi": ("-c:v", "mjpeg"),
    "flash.flv": H264,
    "web.webm": ("-c:v", "libvpx", "-g", "12", "-deadline", "realtime", "-cpu-used", "8"),
}


@pytest.fixture(autouse=True)
def frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered_clip(tmp_path_factory.mktemp("checkpoints") / "clip.mp4", frames=60, size=(160, 96))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[list[KeptFrame | ExtractionCheckpoint], Extraction, dict[str, bytes]]]:
    """Extracts a video; returns what was yielded, the extraction, and the images."""

    def extract(path: Path, sampling: str, at: ExtractionCheckpoint | None = None, wanted: tuple[float, ...] = WANTED):
        folder = tmp_path / f"images-{len(list(tmp_path.glob('images-*')))}"
        how = {"sampling": parse_sampling(sampling), "jpeg": SMALL, "wanted": wanted, "continues_at": at}
        with Extraction(path, folder, **how) as running:
            steps = list(running.steps())
        images = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.jpg")}
        return steps, running, images

    return extract


def assert_continues_everywhere(run, path: Path, sampling: str) -> None:
    """Continuing at a checkpoint gives the frames after it, with the same images and counts."""
    steps, whole, images = run(path, sampling)
    places = [place for place, step in enumerate(steps) if isinstance(step, ExtractionCheckpoint)]
    assert places, "no checkpoint"
    for place in places[:: -(-len(places) // MOST_CHECKPOINTS)]:
        rest, continued, again = run(path, sampling, steps[place])
        assert continued.checkpoint_error is None
        expected = [step for step in steps[place:] if isinstance(step, KeptFrame)]
        assert [step for step in rest if isinstance(step, KeptFrame)] == expected
        assert again.items() <= images.items(), "no other images"
        counts = [(each.decoded, each.failures, each.position, each.length) for each in (whole, continued)]
        assert counts[0] == counts[1]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_sampling_continues_with_the_same_decisions(sampling, clip, run):
    assert_continues_everywhere(run, clip, sampling)


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_format_continues_with_the_same_frames(name, clip, run, tmp_path):
    path = tmp_path / name
    run_ffmpeg("-i", clip, *ENCODINGS[name], path)
    assert_continues_everywhere(run, path, "exact")


@pytest.mark.parametrize("name", FOOTAGE)
def test_real_footage_continues_with_the_same_frames(name, run):
    folder = shared_videos()
    if folder is None:
        pytest.skip("the real footage is not here")
    assert_continues_everywhere(run, folder / name, "distinct")


def test_damage_before_a_checkpoint_is_counted_once(clip, run, tmp_path):
    data = bytearray(clip.read_bytes())
    place = len(data) // 5
    data[place : place + 40] = bytes(40)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    steps, whole, _ = run(path, "exact")
    for checkpoint in [step for step in steps if isinstance(step, ExtractionCheckpoint)]:
        _, continued, _ = run(path, "exact", checkpoint)
        assert (continued.decoded, continued.failures) == (whole.decoded, whole.failures)


@pytest.mark.parametrize("change", ["other video", "other sampling", "other frames wanted", "cut off", "no archive"])
def test_unsuitable_checkpoint_is_ignored(change, clip, run, tmp_path):
    steps, *_ = run(clip, "distinct")
    checkpoint = [step for step in steps if isinstance(step, ExtractionCheckpoint)][-1]
    path, sampling, wanted = clip, "distinct", WANTED
    match change:
        case "other video":
            path = numbered_clip(tmp_path / "other.mp4", frames=60, first=700, size=(160, 96))
        case "other sampling":
            sampling = "distinct:strict"
        case "other frames wanted":
            wanted = (0.2,)
        case "cut off":
            checkpoint = ExtractionCheckpoint(checkpoint.index, checkpoint.state[:1000])
        case "no archive":
            checkpoint = ExtractionCheckpoint(checkpoint.index, b"what is this")
    rest, continued, _ = run(path, sampling, checkpoint, wanted)
    assert continued.checkpoint_error
    assert sum(step.stands_for for step in rest if isinstance(step, KeptFrame)) == continued.decoded == 60


def test_joined_recordings_continue_in_both_parts(clip, run, tmp_path):
    """Both parts have the same timestamps, and a seek may land in either."""
    part = tmp_path / "part.ts"
    run_ffmpeg("-i", clip, *H264, part)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    steps, whole, _ = run(joined, "exact")
    indexes = [step.index for step in steps if isinstance(step, ExtractionCheckpoint)]
    assert (min(indexes) < 60 < max(indexes), whole.decoded) == (True, 120)
    assert_continues_everywhere(run, joined, "exact")


def test_length_is_not_measured_with_a_closed_file(clip, tmp_path):
    """Continuing a joined file opens it again; the memory of the stream that was opened first is freed."""
    part = tmp_path / "part.ts"
    run_ffmpeg("-i", clip, *H264, part)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    with SourceFrames(joined) as frames:
        positions = [frames.position for _ in frames]
    last = next(position for position in reversed(positions) if position is not None)
    with SourceFrames(joined, continue_at=last) as frames:
        assert [frame.index for frame in frames][-1] == 119
        assert frames._end._stream is frames._stream


def test_a_time_that_occurs_twice_ends_the_checkpoints(run, tmp_path):
    """A timestamp identifies no frame then."""
    path = numbered_clip(tmp_path / "twice.flv", frames=60, codec="flv", gop=5, size=(160, 96))
    set_flv_times(path, [(number - (number == 31)) / 25 for number in range(60)])
    steps, whole, _ = run(path, "exact")
    indexes = [step.index for step in steps if isinstance(step, ExtractionCheckpoint)]
    assert (max(indexes) < 31, whole.decoded) == (True, 60)
    assert_continues_everywhere(run, path, "exact")


def test_state_is_stored_without_loss():
    state = {
        "a": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "b": {"c": [1.5, 2], "d": None},
        "e": np.array([-(2**60)]),
    }
    again = unpack(pack(state))
    assert again["a"].dtype == np.uint8
    assert np.array_equal(again["a"], state["a"])
    assert (again["b"], again["e"].tolist()) == (state["b"], [-(2**60)])


def test_pickled_state_is_refused(tmp_path):
    np.savez(tmp_path / "state.npz", np.array([object()], dtype=object))
    with pytest.raises(InvalidCheckpointError):
        unpack((tmp_path / "state.npz").read_bytes())


@pytest.mark.parametrize("seed", range(5))
def test_damaged_state_raises_no_other_error(seed):
    draw = random.Random(seed)
    data = pack({"a": np.arange(500), "b": [1, 2]})
    for _ in range(100):
        damaged = bytearray(data)
        for _ in range(draw.choice((1, 3, 20))):
            damaged[draw.randrange(len(data))] = draw.randrange(256)
        with contextlib.suppress(InvalidCheckpointError):
            unpack(bytes(damaged))
