"""Probing in a child process: hostile and hanging files, crashes, memory, and that no child is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from enrich.errors import NotAVideoError, VideoMissingError
from enrich.library.probe_process import MODULE, ProbeCrashedError, ProbeProcess
from enrich.process import python_command
from enrich.video.probe import probe
from tests.clips import numbered_clip
from tests.waiting import wait_until

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
ENDLESS_BYTES = 1 << 40  # of zeros, in which FFmpeg looks for the next picture


def child_of(prober: ProbeProcess) -> psutil.Process:
    return psutil.Process(prober.start()._process.pid)


def test_child_finds_what_probing_here_finds(clip):
    tagged = clip(frames=5, tags={"creation_time": "2024-05-01T10:00:00Z"})
    with ProbeProcess() as prober:
        first = child_of(prober)
        assert prober.probe(tagged) == probe(tagged)
        assert prober.probe(clip(frames=4)) == probe(clip(frames=4))
        assert child_of(prober) == first
    assert not first.is_running()


def test_errors_of_probing_are_those_of_the_parent(tmp_path):
    (tmp_path / "notes.mp4").write_text("not a video" * 100)
    with ProbeProcess() as prober:
        with pytest.raises(NotAVideoError, match="is not a video"):
            prober.probe(tmp_path / "notes.mp4")
        with pytest.raises(VideoMissingError, match="does not exist"):
            prober.probe(tmp_path / "gone.mp4")


def test_file_that_hangs_ffmpeg_is_refused_in_time(tmp_path, clip):
    endless = tmp_path / "endless.mkv"
    whole = numbered_clip(tmp_path / "whole.mkv", frames=5).read_bytes()
    with endless.open("wb") as file:
        file.write(whole[:600])
        try:
            file.truncate(ENDLESS_BYTES)
        except OSError:
            pytest.skip("no file of this size fits here")
    with ProbeProcess(seconds=1.0) as prober:
        with pytest.raises(ProbeCrashedError, match=r"took more than 1 s: .* nothing was added"):
            prober.probe(endless)
        assert prober.probe(clip(frames=5)).frame_estimate == 5


@needs_signals
def test_crash_of_a_codec_refuses_only_its_file(clip):
    with ProbeProcess() as prober:
        prober.probe(clip(frames=5))
        os.kill(child_of(prober).pid, signal.SIGSEGV)
        with pytest.raises(ProbeCrashedError, match=r"probing crashed \(SIGSEGV\)"):
            prober.probe(clip(frames=5))
        assert prober.probe(clip(frames=5)).frame_estimate == 5


@needs_signals
def test_child_killed_by_another_process_does_not_blame_the_file(clip):
    with ProbeProcess() as prober:
        prober.probe(clip(frames=5))
        os.kill(child_of(prober).pid, signal.SIGKILL)
        assert prober.probe(clip(frames=5)).frame_estimate == 5


@needs_signals
def test_pipe_is_refused_without_being_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with ProbeProcess() as prober, pytest.raises(VideoMissingError, match="not a regular file"):
        prober.probe(tmp_path / "pipe.mp4")


@needs_signals
def test_file_that_needs_too_much_memory_is_refused(clip):
    """The limit is less than the child has already, so that any file needs more."""
    with (
        ProbeProcess(memory_bytes=50_000_000) as prober,
        pytest.raises(ProbeCrashedError, match=r"needed more than 0\.047 GB of memory"),
    ):
        prober.probe(clip(frames=5, size=(1920, 1080)))


def test_absurd_size_is_refused_before_it_is_decoded(tmp_path):
    huge = tmp_path / "huge.y4m"
    huge.write_bytes(b"YUV4MPEG2 W16000 H16000 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(1000))
    with pytest.raises(NotAVideoError, match="16,000×16,000 pixels"):
        probe(huge)


@needs_signals
def test_child_ends_with_its_killed_parent_while_it_probes(tmp_path):
    endless = tmp_path / "endless.mkv"
    with endless.open("wb") as file:
        file.write(numbered_clip(tmp_path / "whole.mkv", frames=5).read_bytes()[:600])
        file.truncate(ENDLESS_BYTES)
    code = f"from enrich.library.probe_process import ProbeProcess; ProbeProcess().probe({str(endless)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    children: list[psutil.Process] = []

    def has_child() -> bool:
        children[:] = psutil.Process(parent.pid).children()
        return bool(children) and endless in {Path(file.path) for file in children[0].open_files()}

    wait_until(has_child, "the child reads the file", parent)
    parent.kill()
    parent.wait()
    wait_until(lambda: not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE, "the child ends")


def test_what_a_child_says_is_not_trusted(monkeypatch, clip):
    code = "import sys; print('{}', flush=True); [print('[1]', flush=True) for _ in sys.stdin]"
    monkeypatch.setattr("enrich.process.python_command", lambda *_: [sys.executable, "-c", code])
    with ProbeProcess() as prober, pytest.raises(ProbeCrashedError, match="no valid answer"):
        prober.probe(clip(frames=5))
    assert MODULE in python_command(MODULE)
