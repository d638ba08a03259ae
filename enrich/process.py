"""Which process is which: known by host, process id and create time, since process ids are used again.

What the system says of a process's beginning moves on Linux with the clock: the kernel counts from the boot, and
reckons the boot's own time from the clock. So there it is counted from the boot, and which boot that was is put into
the number: after every boot the same ids are given out at about the same times.
"""

import socket
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil

from db.runs import LiveRun, ProcessIdentity, RunRow

CREATE_TIME_TOLERANCE_SECONDS = 2.0  # the boot's time is told in whole seconds
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_SECONDS = 1e8  # longer than a machine runs from one boot to the next; floats still tell a quarter of a second
SILENT_SECONDS = 120  # a run on another machine that has not beaten for so long is dead


def this_process() -> ProcessIdentity:
    """The identity of the process that asks."""
    return identity_of(psutil.Process())


def identity_of(process: psutil.Process) -> ProcessIdentity:
    """The identity of a process of this machine. Raises psutil.Error."""
    return ProcessIdentity(hostname=socket.gethostname(), pid=process.pid, created_at=_created_at(process))


def is_here(process: ProcessIdentity) -> bool:
    """Whether a process is, or was, one of this machine."""
    return process.hostname == socket.gethostname()


def find(process: ProcessIdentity) -> psutil.Process | None:
    """The process of this machine with this identity if it lives; a zombie is dead, and so is another one's pid.

    Raises psutil.AccessDenied if it exists and belongs to somebody else.
    """
    if not is_here(process):
        return None
    try:
        found = psutil.Process(process.pid)
        same = abs(_created_at(found) - process.created_at) <= CREATE_TIME_TOLERANCE_SECONDS
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def lives(process: ProcessIdentity) -> bool:
    """Whether a process of this machine lives."""
    try:
        return find(process) is not None
    except psutil.AccessDenied:
        return True  # it exists, and belongs to somebody else


def is_alive(run: LiveRun | RunRow) -> bool:
    """Whether a run's process still lives. On another machine its heartbeat must do."""
    if not is_here(run.process):
        return (datetime.now(UTC) - run.heartbeat_at).total_seconds() < SILENT_SECONDS
    return lives(run.process)


def _created_at(process: psutil.Process) -> float:
    if sys.platform != "linux":
        return process.create_time()
    return process.create_time() - psutil.boot_time() + _boot_number() * BOOT_SECONDS


@cache
def _boot_number() -> int:
    """A number of this boot."""
    try:
        return int(BOOT_ID.read_text(encoding="ascii")[:6], 16)
    except (OSError, ValueError):
        return 0
