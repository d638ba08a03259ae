"""A night of thousands of frames with random kills, outages, clock jumps and nonsense replies.

A supervised worker describes a library that grows while it runs. In the first part of the night it is killed, stopped
and paused, its hosts fail, its clock jumps, and a share of the frames get nonsense before they get a good reply. In the
second part it is not killed, so that its memory can be compared over a long life. In the end every frame is described
once, by its own words.

EVERYFRAME_TEST_NIGHT_FRAMES sets the number of frames; the default takes about ten minutes on two cores, 1000 frames a
minute. EVERYFRAME_TEST_NIGHT_SEED sets the seed, which is printed. EVERYFRAME_TEST_NIGHT_KINDS (comma-separated, such
as `outage,clock jump`) limits the disturbances, and EVERYFRAME_TEST_NIGHT_NONSENSE (comma-separated kinds of
`tests/standin/nonsense.py`, or `none`) the nonsense, to find the one that does harm.
"""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import pytest

from enrich.process import find_process
from enrich.settings import Settings, load_settings
from enrich.worker.run_options import RunOptions
from tests.clips import decode_independently, image_clip, numbered_image
from tests.control.background import Background
from tests.night import shifted_clock as clock_module
from tests.night.disturbances import FATAL, Disturbances, Kill, Kind
from tests.night.night import ROOT, selected_times
from tests.standin.nonsense import NONSENSE
from tests.worker.workspace import Workspace, open_workspace, truthful

FRAMES = int(os.environ.get("EVERYFRAME_TEST_NIGHT_FRAMES", "20000"))
SEED = int(os.environ.get("EVERYFRAME_TEST_NIGHT_SEED", "0")) or random.randrange(1, 1 << 30)
KINDS = frozenset(
    Kind(name) for name in os.environ.get("EVERYFRAME_TEST_NIGHT_KINDS", ",".join(Kind)).split(",") if name
)
NONSENSE_KINDS = os.environ.get("EVERYFRAME_TEST_NIGHT_NONSENSE", ",".join(NONSENSE)).split(",")
NONSENSE_SHARE = 0.0 if NONSENSE_KINDS == ["none"] else 0.05

SIZE = (192, 108)
CLIP_FRAMES = min(1000, max(500, FRAMES // 4))  # of 20 seconds or more, so that they are skimmed
SAMPLED_FRAMES = 600
SAMPLINGS = ("every=200ms", "distinct")  # of one clip each; all others are exact
ADDED_AT = (0.0, 0.12, 0.25, 0.4)  # the library grows when this share of the frames is described
KILLS_END_AT = 0.6
HOSTS, CALLS_PER_HOST = 2, 4
CALLS = HOSTS * CALLS_PER_HOST
CALL_SECONDS = max(0.005, 25 * CALLS / FRAMES)  # a shorter night needs slower calls to have room for disturbances
MEAN_SECONDS, LATE_MEAN_SECONDS = 5.0, 10.0  # between two disturbances, before and after KILLS_END_AT
LOST_AT_MOST = 2 * CALLS  # requests in flight at a kill, and as many replies that were not saved yet
KILL_SECONDS = 0.5  # from the note of a kill to the death of its processes
UNSAVED_SECONDS = 5.0  # a reply is saved within this time, or lost in a kill within this time
STALLED_SECONDS = 150.0  # without a new description; a host is probed every 60 s at least
POLL_SECONDS, SAMPLE_SECONDS = 0.1, 1.0
WARM_FRAMES = 1000  # described by a worker before its memory is measured
FEWEST_SAMPLES = 40  # for comparing quarters of a life
MEMORY_GROWTH = 1.15

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Sample:
    """A worker at one moment: what its heartbeat says, and what the system says."""

    run_id: int
    described: int
    memory_bytes: int
    files: int
    threads: int


@dataclass(frozen=True)
class Reply:
    """A reply about a numbered image that was sent to a connected client. Times are monotonic seconds."""

    number: int
    nonsense: str | None
    asked_at: float
    sent_at: float


@dataclass
class Clip:
    """A clip whose images are numbered from `first` on."""

    path: Path
    first: int
    sampling: str = "exact"
    rows: list[tuple[int, float, int]] = field(default_factory=list)  # of an undisturbed run


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two stand-ins in a process of their own."""
    names = [word for kind in NONSENSE_KINDS if kind in NONSENSE for word in ("--kind", kind)]
    command = [
        sys.executable, "-m", "tests.standin.hostile", "--hosts", str(HOSTS), "--seed", str(SEED), "--share",
        str(NONSENSE_SHARE), "--delay", str(CALL_SECONDS), "--parallel", str(CALLS_PER_HOST), *names,
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        yield addresses
        process.terminate()


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that holds the offset of the clock of all processes that the test starts."""
    hook = tmp_path / "hook"
    hook.mkdir()
    shutil.copy(clock_module.__file__, hook / "sitecustomize.py") if clock_module.__file__ else None
    offset = tmp_path / "clock"
    offset.write_text("0")
    monkeypatch.setenv("EVERYFRAME_TEST_CLOCK", str(offset))
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(hook), inherited))))
    return offset


@pytest.fixture
def night_settings(hosts: list[str], clock: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of the worker: short timeouts."""
    for name, value in {
        "OLLAMA_HOSTS": ",".join(hosts),
        "CONCURRENCY": CALLS_PER_HOST,
        "CALL_SECONDS": 2 + CALL_SECONDS,
        "LOAD_SECONDS": 3 + CALL_SECONDS,
        "DISK_RESERVE_MB": 0,
        "KEEP_AWAKE": "never",
        "STORED_EDGE": 320,
    }.items():
        monkeypatch.setenv(f"EVERYFRAME_{name}", str(value))
    return load_settings()


@pytest.fixture
def library(night_settings: Settings) -> Iterator[Workspace]:
    opened = open_workspace(night_settings.home, ollama_hosts=night_settings.ollama_hosts)
    yield opened
    opened.library.engine.dispose()


@pytest.fixture
def processes(library: Workspace) -> Iterator[Background]:
    watched = Background(library)
    yield watched
    watched.end()


def make_clips(folder: Path) -> list[Clip]:
    """Clips of different codecs; the first ones of each are exact, the last ones sampled."""
    found = []
    sizes = [(first, min(CLIP_FRAMES, FRAMES - first), "exact") for first in range(0, FRAMES, CLIP_FRAMES)]
    sizes += [(FRAMES + SAMPLED_FRAMES * n, SAMPLED_FRAMES, sampling) for n, sampling in enumerate(SAMPLINGS)]
    for number, (first, count, sampling) in enumerate(sizes):
        how: dict[str, Any] = {"codec": "libx264", "bframes": 2} if number % 4 == 1 else {"codec": "mpeg4"}
        images = (numbered_image(first + n, SIZE) for n in range(count))
        found.append(Clip(image_clip(folder / f"{first:05d}.mp4", images, gop=48, **how), first, sampling))
    return found


def undisturbed_rows(clips: list[Clip], home: Path) -> None:
    """Fill in the rows of an undisturbed run: by another decoder, and for sampled clips by an extraction."""
    for clip in clips:
        if clip.sampling == "exact":
            clip.rows = [(index, at, 1) for index, at in enumerate(decode_independently(clip.path).times)]
    sampled = [clip for clip in clips if clip.sampling != "exact"]
    workspace = open_workspace(home, ollama_hosts="127.0.0.1:9")
    for clip in sampled:
        [video_id] = workspace.add(clip.path, sampling=clip.sampling)
        asyncio.run(workspace.enrich(RunOptions(describe=False, video_ids=frozenset((video_id,)))))
        clip.rows = rows_of(workspace, video_id)
        assert sum(row[2] for row in clip.rows) == SAMPLED_FRAMES
    workspace.library.engine.dispose()


def rows_of(workspace: Workspace, video_id: int) -> list[tuple[int, float, int]]:
    found = workspace.ask(
        'SELECT "index", timestamp, stands_for FROM frames WHERE video_id = :video ORDER BY "index", id', video=video_id
    )
    return [(row[0], float(row[1]), row[2]) for row in found]


class Observer:
    """Samples the worker, and collects the replies of the stand-ins."""

    def __init__(self, workspace: Workspace, background: Background, host: str) -> None:
        self.samples: list[Sample] = []
        self.replies: list[Reply] = []
        self._workspace = workspace
        self._background = background
        self._host = host
        self._sampled_at = float("-inf")

    def sample(self) -> None:
        if time.monotonic() - self._sampled_at < SAMPLE_SECONDS:
            return
        self._sampled_at = time.monotonic()
        self.collect()
        run = self._background.run()
        process = find_process(run.process)
        memory = run.activity.get("memory_bytes")
        if process is None or memory is None:
            return
        try:
            files, threads = process.num_fds(), process.num_threads()
        except psutil.Error:
            return
        self.samples.append(Sample(run.id, run.counts.get("frames_described", 0), memory, files, threads))

    def collect(self) -> None:
        try:
            found = httpx.get(f"{self._host}/standin/ledger", timeout=10).json()
        except httpx.TransportError:
            return  # it is refusing connections; the replies are kept
        self.replies += [Reply(*entry) for entry in found]

    def longest_life(self) -> list[Sample]:
        """The samples of the run with the most samples, after its first frames."""
        warm = [sample for sample in self.samples if sample.described >= min(WARM_FRAMES, FRAMES // 10)]
        if not warm:
            return []
        [(run_id, _)] = Counter(sample.run_id for sample in warm).most_common(1)
        return [sample for sample in warm if sample.run_id == run_id]


def test_hostile_night_describes_every_frame_once(
    night_settings: Settings,
    library: Workspace,
    processes: Background,
    hosts: list[str],
    clock: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = random.Random(SEED)
    clips = make_clips(tmp_path)
    undisturbed_rows(clips, tmp_path / "undisturbed")
    waiting = clips.copy()
    rng.shuffle(waiting)
    disturbances = Disturbances(
        night_settings, library, processes, hosts, clock, rng, mean_seconds=MEAN_SECONDS, kinds=KINDS
    )
    observer = Observer(library, processes, hosts[0])
    began = time.monotonic()
    say(capsys, f"\nA night of {FRAMES} frames; EVERYFRAME_TEST_NIGHT_SEED={SEED}")

    add_due(library, waiting, clips, disturbances, share=0.0)
    disturbances.begin()
    stall = run_through(library, waiting, clips, disturbances, observer)
    disturbances.end()
    seconds = time.monotonic() - began
    observer.sample()
    observer.collect()
    disturbances.background.end()

    problems = disturbances.unexpected + ([stall] if stall else [])
    problems += rows_that_differ(library, clips)
    problems += frames_not_described_once(library, clips)
    problems += tasks_not_done(library)
    problems += unexplained_crashes(library, disturbances.kills)
    repeated, unexplained = repeated_calls(observer.replies, disturbances.kills, began)
    problems += unexplained
    problems += verification(night_settings)
    problems += growth(observer.longest_life())
    say(capsys, figures(library, disturbances, observer, repeated, seconds))
    assert problems == [], explanation(problems, disturbances, processes, began)


def add_due(
    library: Workspace, waiting: list[Clip], clips: list[Clip], disturbances: Disturbances, *, share: float | None
) -> None:
    """Add the clips that are due at this share of described frames; None: nothing is left, so one is due."""
    batches = sum((share or 0.0) >= at for at in ADDED_AT)
    due = len(clips) * batches // len(ADDED_AT) - (len(clips) - len(waiting))
    for _ in range(min(len(waiting), max(due, int(share is None)))):
        clip = waiting.pop()
        library.add(clip.path, sampling=clip.sampling)
        disturbances.note(f"added {clip.path.name}, {clip.sampling}")


def run_through(
    library: Workspace, waiting: list[Clip], clips: list[Clip], disturbances: Disturbances, observer: Observer
) -> str | None:
    """Disturb the worker until everything is described. Returns why that was given up, if so."""
    expected = sum(len(clip.rows) for clip in clips)
    described, increased_at = 0, time.monotonic()
    while True:
        now_described = library.described()
        if now_described > described:
            described, increased_at = now_described, time.monotonic()
        is_enriched = library.ask("SELECT DISTINCT enrichment_status FROM videos") == [("enriched",)]
        if is_enriched and not waiting:
            return None
        add_due(library, waiting, clips, disturbances, share=None if is_enriched else described / expected)
        if described >= KILLS_END_AT * expected and disturbances.kinds & FATAL:
            disturbances.allow(disturbances.kinds - FATAL, LATE_MEAN_SECONDS)
            disturbances.note(f"{described} frames are described: no more kills")
        if time.monotonic() - increased_at > STALLED_SECONDS:
            return f"given up: no frame was described for {STALLED_SECONDS:.0f} s, after {described} of {expected}"
        disturbances.tick()
        observer.sample()
        time.sleep(POLL_SECONDS)


def rows_that_differ(library: Workspace, clips: list[Clip]) -> list[str]:
    """Kept rows that an undisturbed run does not have, or has differently; source frames not represented once."""
    problems = []
    for clip in clips:
        [(video_id, count, failures)] = library.ask(
            "SELECT id, frame_count, decode_failures FROM videos WHERE path = :path", path=str(clip.path)
        ) or [(0, None, None)]
        rows = rows_of(library, video_id)
        decoded = sum(row[2] for row in clip.rows)
        if sum(row[2] or 0 for row in rows) != decoded or count != decoded or failures:
            problems.append(
                f"{clip.path.name} ({clip.sampling}): {sum(row[2] or 0 for row in rows)} source frames are represented,"
                f" frame_count is {count}, {decoded} were decoded, {failures} failures"
            )
        if unplaced := [row for row in rows if row[0] is None]:
            problems.append(f"{clip.path.name}: {len(unplaced)} rows have no index")
        if twice := [index for index, times in Counter(row[0] for row in rows).items() if times > 1]:
            problems.append(f"{clip.path.name}: indices stored twice: {twice[:10]}")
        if clip.sampling == "exact":
            actual = [(index, round(at, 4), stands_for) for index, at, stands_for in rows]
            wanted = [(index, round(at, 4), stands_for) for index, at, stands_for in clip.rows]
            if actual != wanted:
                differing = sorted(set(actual) ^ set(wanted), key=str)
                problems.append(f"{clip.path.name}: {len(differing)} rows differ, such as {differing[:6]}")
        elif missing := selected_times(library, video_id) - {row[1] for row in rows}:
            problems.append(f"{clip.path.name} ({clip.sampling}): not kept: frames {sorted(missing)[:10]}")
    return problems


def frames_not_described_once(library: Workspace, clips: list[Clip]) -> list[str]:
    """Frames without their own words, or with more or less than one kept call."""
    problems = []
    firsts = {str(clip.path): clip.first for clip in clips}
    wrong = []
    for path, index, text in library.ask(
        'SELECT path, "index", local_description FROM frames JOIN videos ON videos.id = video_id'
    ):
        words = truthful(firsts[path] + index) if index is not None else ""
        if index is None or words not in (text or ""):
            wrong.append((Path(path).name, index, (text or "")[:80]))
    if wrong:
        problems.append(f"{len(wrong)} frames do not have their own words, such as {wrong[:8]}")
    calls = library.ask(
        "SELECT frames.id, (SELECT count(*) FROM analyses WHERE frame_id = frames.id AND is_kept) AS kept FROM frames"
        " WHERE kept <> 1"
    )
    if calls:
        problems.append(f"{len(calls)} frames do not have one kept call: (frame, calls) {calls[:8]}")
    documents = library.value("SELECT count(*) FROM search_documents")
    frames = library.value("SELECT count(*) FROM frames")
    if documents != frames:
        problems.append(f"{documents} search documents for {frames} frames")
    return problems


def tasks_not_done(library: Workspace) -> list[str]:
    """Tasks that are stuck or failed, and leases that are still held."""
    rows = library.ask(
        "SELECT kind, status, attempts, crashes, count(*), min(error) FROM tasks WHERE status <> 'done'"
        " OR lease_token IS NOT NULL GROUP BY 1, 2, 3, 4"
    )
    problems = [
        f"{count} {kind} tasks are {status} with {attempts} attempts and {crashes} crashes: {error}"
        for kind, status, attempts, crashes, count, error in rows
    ]
    videos = library.ask(
        "SELECT title, extraction_status, enrichment_status, error FROM videos WHERE error IS NOT NULL"
    )
    return problems + [f"video {tuple(video)}" for video in videos]


def unexplained_crashes(library: Workspace, kills: list[Kill]) -> list[str]:
    """Runs that crashed although nobody killed them."""
    crashed = library.ask("SELECT id, coalesce(error, reason) FROM runs WHERE state = 'crashed'")
    by_itself = [
        (run_id, text) for run_id, text in crashed if "killed by SIGKILL" not in text and "process is gone" not in text
    ]
    reasons = Counter(text[:300] for _, text in by_itself)
    problems = [f"{count} workers crashed by themselves: {text}" for text, count in reasons.most_common(10)]
    if len(crashed) - len(by_itself) > len(kills):
        problems.append(f"{len(crashed) - len(by_itself)} runs were killed, but only {len(kills)} kills were sent")
    return problems


def repeated_calls(replies: list[Reply], kills: list[Kill], began: float) -> tuple[int, list[str]]:
    """How many good replies were repeated, and those that no kill explains."""
    good: dict[int, list[Reply]] = {}
    for reply in sorted(replies, key=lambda one: one.asked_at):
        if reply.nonsense is None:
            good.setdefault(reply.number, []).append(reply)
    lost: Counter[float] = Counter()
    unexplained = []
    for number, sent in good.items():
        for before, after in pairwise(sent):
            by = [kill for kill in kills if before.asked_at - KILL_SECONDS <= kill.at <= after.asked_at]
            if by and by[0].at - before.sent_at <= UNSAVED_SECONDS:
                lost[by[0].at] += 1
            else:
                unexplained.append((number, round(before.sent_at - began, 1), round(after.asked_at - began, 1)))
    problems = [
        f"{count} calls were repeated after the kill at {at - began:.1f} s, {LOST_AT_MOST} at most could be lost"
        for at, count in lost.items()
        if count > LOST_AT_MOST
    ]
    if unexplained:
        problems.append(
            f"{len(unexplained)} calls were repeated without a kill (a worker that crashes by itself repeats some too):"
            f" (image, answered at, asked at) {unexplained[:8]}"
        )
    return lost.total() + len(unexplained), problems


def verification(settings: Settings) -> list[str]:
    """What `everyframe verify` complains about."""
    done = subprocess.run(
        [sys.executable, "-m", "everyframe", "verify"], cwd=settings.home, capture_output=True, text=True, check=False
    )
    return (
        [] if done.returncode == 0 else [f"verify exits {done.returncode}: {done.stdout[-1500:]}{done.stderr[-500:]}"]
    )


def growth(life: list[Sample]) -> list[str]:
    """What grew over the longest life of a worker. Nothing if it was too short to tell."""
    if len(life) < FEWEST_SAMPLES:
        return []
    first, last = quarters(life)
    problems = []
    memory = [median(sample.memory_bytes for sample in quarter) for quarter in (first, last)]
    if memory[1] > MEMORY_GROWTH * memory[0]:
        problems.append(f"memory grew from {memory[0] / 1e6:.0f} to {memory[1] / 1e6:.0f} MB")
    for name, more in (("files", 3 + 2 * CALLS), ("threads", 2)):
        counts = [median(getattr(sample, name) for sample in quarter) for quarter in (first, last)]
        if counts[1] > counts[0] + more:
            problems.append(f"{name} grew from {counts[0]:.0f} to {counts[1]:.0f}")
    return problems


def quarters(life: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    part = max(1, len(life) // 4)
    return life[:part], life[-part:]


def figures(library: Workspace, disturbances: Disturbances, observer: Observer, repeated: int, seconds: float) -> str:
    """The figures of the night, in one paragraph."""
    during = Counter(name for kill in disturbances.kills for name in kill.during)
    kinds = Counter(reply.nonsense for reply in observer.replies if reply.nonsense)
    attempts, crashes = library.ask("SELECT sum(attempts), max(crashes) FROM tasks")[0]
    frames, videos = (library.value(f"SELECT count(*) FROM {table}") for table in ("frames", "videos"))  # noqa: S608
    text = (
        f"{library.described()} of {frames} frames of {videos} videos described in {seconds:.0f} s, seed {SEED}:"
        f" {len(disturbances.kills)} kills (during {dict(during)}), {dict(disturbances.counts)},"
        f" {len(library.states_of_runs())} runs, {kinds.total()} nonsense replies of {len(kinds)} kinds,"
        f" {len(observer.replies)} replies in all, {repeated} repeated; {attempts} attempts counted,"
        f" at most {crashes} crashes for one task"
    )
    if life := observer.longest_life():
        memory, files, threads = (
            [f"{median(getattr(sample, name) for sample in quarter) / unit:.0f}" for quarter in quarters(life)]
            for name, unit in (("memory_bytes", 1e6), ("files", 1), ("threads", 1))
        )
        text += (
            f"; longest life {len(life)} samples, first and last quarter: memory {memory[0]} and {memory[1]} MB"
            f" (at most {max(sample.memory_bytes for sample in life) / 1e6:.0f}), files {files[0]} and {files[1]},"
            f" threads {threads[0]} and {threads[1]}"
        )
    return text


def explanation(problems: list[str], disturbances: Disturbances, processes: Background, began: float) -> str:
    """Everything needed to understand a failure."""
    listed = "\n- ".join(problems)
    return (
        f"EVERYFRAME_TEST_NIGHT_SEED={SEED}, EVERYFRAME_TEST_NIGHT_FRAMES={FRAMES}\n- {listed}\n\n"
        f"Timeline:\n{disturbances.timeline(began)}\n\nLogs:\n{processes.log()}"
    )


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"{text}\n")
