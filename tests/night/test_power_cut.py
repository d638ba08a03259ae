"""The power fails while a worker writes: the library on the disk opens, is consistent, and the run can be resumed.

The worker is stopped between two instructions and its files are copied. A disk may lose the end of the write-ahead log
that no checkpoint has reached, so the copy is truncated at a random byte of it; a disk that honors syncs would lose
less. Two cases are not covered: a disk that reorders its writes, and lost images (the copy has them all).
"""

import asyncio
import os
import random
import shutil
import signal
import struct
import time
from pathlib import Path

import pytest

from enrich.worker.run_options import RunEnd
from tests.clips import numbered_clip
from tests.night.night import Night, Worker, assert_complete
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_truthful, open_workspace

CUTS = 30
CLIP_FRAMES = 150
SEED = 20261122
WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24  # https://www.sqlite.org/fileformat2.html#the_write_ahead_log
CHECKPOINTED_AT, CHECKPOINTING_AT = 96, 128  # https://www.sqlite.org/walformat.html#the_wal_index_header

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def first_unsafe_byte(home: Path) -> int:
    """Where the part of the log begins that no checkpoint has copied."""
    with (home / "library.db-wal").open("rb") as log:
        page_bytes = struct.unpack(">I", log.read(12)[8:])[0]
    index = (home / "library.db-shm").read_bytes()
    pages = max(struct.unpack_from("=I", index, place)[0] for place in (CHECKPOINTED_AT, CHECKPOINTING_AT))
    return WAL_HEADER_BYTES + pages * (page_bytes + FRAME_HEADER_BYTES)


def cut_power(workspace: Workspace, worker: Worker, home: Path, rng: random.Random) -> int:
    """Copy the library as a power cut would leave it; return how many bytes of the log were lost."""
    worker.send_signal(signal.SIGSTOP)
    try:
        while Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.0005)
        home.mkdir()
        for name in ("library.db", "library.db-wal"):
            shutil.copy(workspace.settings.home / name, home / name)
        begin = first_unsafe_byte(workspace.settings.home)
        if workspace.frames_folder.exists():
            shutil.copytree(workspace.frames_folder, home / "frames", copy_function=os.link)
    finally:
        worker.send_signal(signal.SIGCONT)
    log = home / "library.db-wal"
    size = log.stat().st_size
    end = rng.randrange(begin, size) if begin < size else size
    os.truncate(log, end)
    return size - end


def assert_consistent(workspace: Workspace) -> None:
    """Every transaction is complete or absent, and every row has its image."""
    assert workspace.ask("PRAGMA integrity_check") == [("ok",)]
    assert workspace.ask("PRAGMA foreign_key_check") == []
    done = "SELECT frame_id FROM tasks WHERE kind = 'describe' AND status = 'done' ORDER BY 1"
    described = workspace.ask("SELECT id FROM frames WHERE local_description IS NOT NULL ORDER BY 1")
    assert described == workspace.ask(done)
    assert described == workspace.ask("SELECT frame_id FROM analyses WHERE is_kept ORDER BY 1")
    assert described == workspace.ask("SELECT frame_id FROM search_documents ORDER BY 1")
    without_task = "SELECT id FROM frames WHERE id NOT IN (SELECT frame_id FROM tasks WHERE frame_id IS NOT NULL)"
    assert workspace.ask(without_task) == []
    for (path,) in workspace.ask("SELECT image_path FROM frames"):
        assert (workspace.frames_folder / path).stat().st_size > 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to tell when a process is stopped")
def test_library_is_consistent_and_resumable_after_a_power_cut(night: Night, standin: StandIn, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    standin.behave(delay=0.03)
    workspace = night.workspace
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=CLIP_FRAMES))
    with workspace.library.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")  # the added video is in the database file itself
    worker = night.begin()
    night.until_running(worker)
    homes, lost = [tmp_path / f"cut-{number}" for number in range(CUTS)], []
    for home in homes:
        lost.append(cut_power(workspace, worker, home, rng))
        time.sleep(rng.uniform(0, 0.12))
    assert worker.poll() is None
    assert not night.is_done()
    worker.kill()
    standin.behave(delay=0, parallel=8)

    stages = []
    for home in homes:
        copy = open_workspace(home, ollama_hosts=standin.address)
        stages.append((copy.value("SELECT count(*) FROM frames"), copy.described()))
        assert_consistent(copy)
        summary = asyncio.run(copy.enrich())
        assert summary.ending is RunEnd.FINISHED
        assert_complete(copy)
        assert_truthful(copy)
        assert len(copy.frames()) == CLIP_FRAMES
        copy.library.engine.dispose()
    assert sum(count > 0 for count in lost) > CUTS // 2, lost
    assert len(set(stages)) > CUTS // 2, stages
