"""Runs that are interrupted at random points of a video, in every sampling: the outcome is that of an undisturbed run.

Real footage and a synthetic clip are extracted, or extracted and described, by a process that is killed, terminated,
interrupted like by Ctrl-C, or paused and stopped. Then a last run ends by itself.

What an undisturbed run leaves open: a run that describes skims every video, and skims it again at more places while
the model is faster than the decoder. Which frames it finds by that depends on timing, so two undisturbed runs differ in
them. The frames found before extraction began are kept by it, and later ones are compared with them, so the frames to
expect are those of one extraction with the same wanted frames. Frames found later are extra rows, at most one for each
place, and take a share of what the frame before stands for.

EVERYFRAME_TEST_INTERRUPTIONS sets the number of interruptions in each case, EVERYFRAME_TEST_NIGHT_SEED the seed.
"""

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from enrich.control import control
from enrich.errors import ControlError
from enrich.settings import Settings
from enrich.worker.run_options import RunOptions
from tests.clips import numbered_clip, shared_videos
from tests.night.night import PATIENCE_SECONDS, ROOT, selected_times
from tests.standin import StandIn
from tests.waiting import wait_until
from tests.worker.workspace import Workspace, open_workspace

INTERRUPTIONS = int(os.environ.get("EVERYFRAME_TEST_INTERRUPTIONS", "4"))
SEED = int(os.environ.get("EVERYFRAME_TEST_NIGHT_SEED", "20261122"))
REAL_VIDEOS = ("people-one-by-one.mp4", "screen-recording.mp4")
SYNTHETIC_FRAMES = 600  # 24 seconds, so that it is skimmed
SAMPLINGS = ["exact", "every=500ms", "scenes", "distinct", "distinct:strict"]
WAYS = ["kill", "terminate", "Ctrl-C", "pause and stop"]
LONGEST_RUN_SECONDS = 300.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Row:
    """A kept frame, independent of ids."""

    video: str
    index: int | None
    timestamp: float
    stands_for: int | None
    scene: int | None
    image: str  # hash
    description: str | None
    tags: str | None

    @property
    def where(self) -> tuple[str, int | None]:
        return self.video, self.index

    @property
    def chosen(self) -> tuple[object, ...]:
        """What depends on the video and its sampling only."""
        return self.timestamp, self.scene, self.image


@dataclass(frozen=True)
class Videos:
    """The videos of a case and how many frames each has."""

    paths: list[Path]

    def add_to(self, workspace: Workspace, sampling: str) -> None:
        workspace.add(*self.paths, sampling=sampling)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Videos:
    folder = shared_videos()
    if folder is None:
        pytest.skip("there is no real footage: set EVERYFRAME_TEST_SHARED to a folder that has it in `videos`")
    synthetic = numbered_clip(
        tmp_path_factory.mktemp("clips") / "synthetic.mp4", frames=SYNTHETIC_FRAMES, gop=50, bframes=2
    )
    return Videos([*(folder / name for name in REAL_VIDEOS), synthetic])


@pytest.fixture
def standin(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A fast server."""
    monkeypatch.setenv("EVERYFRAME_CONCURRENCY", "4")
    standin.behave(parallel=4, delay=0.005)
    return standin


@pytest.fixture(scope="module")
def undisturbed(
    videos: Videos, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, bool], tuple[Workspace, float]]:
    """A library of an undisturbed run for a sampling, with or without describing; and the seconds of its extraction."""
    made: dict[tuple[str, bool], tuple[Workspace, float]] = {}

    def make(sampling: str, describes: bool) -> tuple[Workspace, float]:
        if (sampling, describes) not in made:
            with StandIn(parallel=4) as standin:
                workspace = open_workspace(tmp_path_factory.mktemp("undisturbed"), ollama_hosts=standin.address)
                videos.add_to(workspace, sampling)
                began = time.monotonic()
                asyncio.run(workspace.enrich(RunOptions(describe=describes)))
                made[sampling, describes] = (workspace, time.monotonic() - began)
        return made[sampling, describes]

    return make


def rows_of(workspace: Workspace) -> list[Row]:
    found = workspace.ask(
        'SELECT title, "index", timestamp, stands_for, scene, image_path, local_description, local_tags'
        ' FROM frames JOIN videos ON videos.id = video_id ORDER BY title, "index", timestamp'
    )
    return [
        Row(title, index, round(timestamp, 6), stands_for, scene, digest(workspace, image), text, str(tags))
        for title, index, timestamp, stands_for, scene, image, text, tags in found
    ]


def digest(workspace: Workspace, image_path: str) -> str:
    path = workspace.frames_folder / image_path
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else "missing"


class Interrupted:
    """A command that runs on a library and is interrupted again and again."""

    def __init__(self, settings: Settings, workspace: Workspace, *, describes: bool, rng: random.Random) -> None:
        self._settings = settings
        self._workspace = workspace
        self._command = "enrich" if describes else "extract"
        self._rng = rng
        self.interruptions: list[str] = []  # how, after how many seconds, and what was stored then
        self._log = settings.home / "log.txt"

    def interrupt(self, how: str, within_seconds: float) -> None:
        """Run the command for a random part of `within_seconds`, then interrupt it."""
        process = self._begin()
        seconds = self._rng.uniform(0.05, 1.0) * within_seconds
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and process.poll() is None:
            time.sleep(0.01)
        had_ended = process.poll() is not None
        states = self._workspace.ask(
            'SELECT title, extraction_status, (SELECT max("index") FROM frames WHERE video_id = videos.id) FROM videos'
        )
        if not had_ended:
            self._end(process, how)
        last = [f"{title} {status} up to {index}" for title, status, index in states]
        self.interruptions.append(f"{'it had ended' if had_ended else how} after {seconds:.1f} s: {'; '.join(last)}")

    def finish(self) -> None:
        """Run the command to its end."""
        process = self._begin()
        try:
            code = process.wait(LONGEST_RUN_SECONDS)
        finally:
            process.kill()
            process.wait()
        assert code == 0, self._log.read_text()[-3000:]

    def _begin(self) -> "subprocess.Popen[bytes]":
        runs = len(self._workspace.states_of_runs())
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "everyframe", self._command], cwd=ROOT, stdout=log, stderr=log
            )
        wait_until(lambda: len(self._workspace.states_of_runs()) > runs, "it runs", process, seconds=PATIENCE_SECONDS)
        return process

    def _end(self, process: "subprocess.Popen[bytes]", how: str) -> None:
        if how == "kill":
            process.kill()
        elif how == "terminate":
            process.terminate()
        elif how == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            for request in (control.pause, control.stop):
                try:
                    request(self._settings)
                except ControlError:
                    break  # it has just ended
        try:
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("describes", [False, True], ids=["extract", "enrich"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_interrupted_runs_end_as_an_undisturbed_one(
    sampling: str,
    describes: bool,
    settings: Settings,
    workspace: Workspace,
    standin: StandIn,
    videos: Videos,
    undisturbed: Callable[[str, bool], tuple[Workspace, float]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = random.Random(f"{SEED} {sampling} {describes}")
    extracted, seconds = undisturbed(sampling, False)
    described = undisturbed(sampling, True)[0] if describes else None
    videos.add_to(workspace, sampling)
    interrupted = Interrupted(settings, workspace, describes=describes, rng=rng)
    ways = [WAYS[number % len(WAYS)] for number in range(INTERRUPTIONS)]
    rng.shuffle(ways)
    for how in ways:
        interrupted.interrupt(how, seconds * (2 if describes else 1))  # the model takes time from the decoder
    interrupted.finish()

    problems = differences(rows_of(extracted), rows_of(workspace), workspace, described)
    problems += unfinished(workspace)
    problems += verification(settings)
    if described is not None:
        problems += [
            f"undisturbed run: {one}" for one in differences(rows_of(extracted), rows_of(described), described, None)
        ]
    with capsys.disabled():
        hit = sum("extracting" in one for one in interrupted.interruptions)
        sys.stdout.write(
            f"\n{sampling}, {'with' if describes else 'without'} skims, seed {SEED}: {len(ways)} interruptions,"
            f" {hit} of them during extraction; {len(rows_of(workspace))} rows, {len(problems)} problems\n"
        )
    listed, when = "\n- ".join(problems), "\n  ".join(interrupted.interruptions)
    assert problems == [], f"EVERYFRAME_TEST_NIGHT_SEED={SEED}\n- {listed}\nInterruptions:\n  {when}"


def differences(chosen: list[Row], actual: list[Row], workspace: Workspace, described: Workspace | None) -> list[str]:
    """How rows differ from those of an undisturbed run without skims, and from the words of one with skims."""
    problems = [f"{row.video} at {row.timestamp} s has no index" for row in actual if row.index is None]
    titles = sorted({row.video for row in chosen})
    for title in titles:
        rows = [row for row in actual if row.video == title and row.index is not None]
        wanted = {row.where: row for row in chosen if row.video == title}
        count = workspace.value("SELECT frame_count FROM videos WHERE title = :title", title=title)
        total = sum(row.stands_for or 0 for row in rows)
        decoded = sum(row.stands_for or 0 for row in wanted.values())
        if not total == count == decoded:
            problems.append(f"{title}: stands for {total} of its {count} frames, {decoded} are right")
        gaps = [
            (before.index, before.stands_for, after.index)
            for before, after in pairwise(rows)
            if (before.index or 0) + (before.stands_for or 0) != after.index
        ]
        if gaps:
            problems.append(f"{title}: {len(gaps)} gaps or overlaps: (frame, stands for, next frame) {gaps[:5]}")
        found = {row.where: row for row in rows}
        video_id = workspace.value("SELECT id FROM videos WHERE title = :title", title=title)
        expected = selected_times(workspace, video_id)
        if missing := sorted(expected - {row.timestamp for row in rows}):
            problems.append(f"{title}: {len(missing)} frames are not kept, such as {missing[:5]}")
        extra = len(rows) - len(expected)
        places = skimmed_places(workspace, title)
        if extra > places:
            problems.append(f"{title}: {extra} frames too many, for {places} skimmed places")
        if other := [
            row.index for row in wanted.values() if row.where in found and row.chosen != found[row.where].chosen
        ]:
            problems.append(f"{title}: {len(other)} frames have another time, scene or image, such as {other[:5]}")
        shares = [
            where[1] for where, row in wanted.items() if where in found and row.stands_for != found[where].stands_for
        ]
        if shares and not places:
            problems.append(f"{title}: {len(shares)} frames stand for another number, such as {shares[:5]}")
    if described is not None:
        words = {row.where: (row.image, row.description, row.tags) for row in rows_of(described)}
        other_words = [
            (row.where, row.description, words[row.where][1])
            for row in actual
            if row.where in words and words[row.where] != (row.image, row.description, row.tags)
        ]
        if other_words:
            problems.append(f"{len(other_words)} frames have other words or images, such as {other_words[:3]}")
    return problems


def skimmed_places(workspace: Workspace, title: str) -> int:
    """At how many places a video was skimmed; 0 if the run does not describe."""
    found = workspace.ask(
        "SELECT json_extract(payload, '$.taken') FROM tasks JOIN videos ON videos.id = video_id"
        " WHERE kind = 'skim' AND title = :title",
        title=title,
    )
    return int(found[0][0] or 0) if found else 0


def unfinished(workspace: Workspace) -> list[str]:
    """Tasks that are not done, and those that counted an attempt or a crash."""
    rows = workspace.ask(
        "SELECT kind, status, attempts, crashes, count(*), min(error) FROM tasks"
        " WHERE kind IN (SELECT kind FROM tasks WHERE run_id IS NOT NULL)"
        " AND (status <> 'done' OR lease_token IS NOT NULL OR attempts > 0 OR crashes > 0) GROUP BY 1, 2, 3, 4"
    )
    return [f"{count} {kind} tasks: {more}" for kind, *more, count, _ in rows]


def verification(settings: Settings) -> list[str]:
    """What `everyframe verify` complains about."""
    done = subprocess.run(
        [sys.executable, "-m", "everyframe", "verify"], cwd=settings.home, capture_output=True, text=True, check=False
    )
    return (
        [] if done.returncode == 0 else [f"verify exits {done.returncode}: {done.stdout[-1200:]}{done.stderr[-300:]}"]
    )
