"""Process identity and liveness. A process is identified by machine, process id and create time, as ids are reused.

On Linux the create time that the system reports shifts when the clock is set: the kernel counts from boot, and derives
the boot time from the clock. There the identity uses seconds since boot plus a number of the boot itself, because after
every boot the same process ids are handed out at about the same times.
"""

import os
import socket
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil

from db.runs import LiveRun, ProcessIdentity, RunRow
from enrich.machine import machine_id

CREATE_TIME_TOLERANCE_SECONDS = 2.0  # the boot time has a resolution of one second
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_SECONDS = 1e8  # longer than any uptime; a float still resolves a quarter of a second at this size
REMOTE_DEAD_SECONDS = 120  # without a heartbeat for this long, a run on another machine counts as dead


def keep_files_private() -> None:
    """Make the files that this process and its children create from now on accessible to their owner alone."""
    os.umask(0o077)


def this_process() -> ProcessIdentity:
    """The identity of the current process."""
    return identity_of(psutil.Process())


def identity_of(process: psutil.Process) -> ProcessIdentity:
    """The identity of a process on this machine. Raises psutil.Error."""
    return ProcessIdentity(socket.gethostname(), process.pid, _created_at(process), machine_id())


def is_local(process: ProcessIdentity) -> bool:
    """Whether the process runs, or ran, on this machine."""
    ours = machine_id()
    if process.machine_id is None or ours is None:
        return process.hostname == socket.gethostname()
    return process.machine_id == ours


def is_same_process(one: ProcessIdentity, other: ProcessIdentity) -> bool:
    """Whether two identities are of one process, which may have been recorded under different host names."""
    if one.machine_id is None or other.machine_id is None:
        is_same_machine = one.hostname == other.hostname
    else:
        is_same_machine = one.machine_id == other.machine_id
    return is_same_machine and (one.pid, one.created_at) == (other.pid, other.created_at)


def find_process(process: ProcessIdentity) -> psutil.Process | None:
    """The live process with this identity, if it runs on this machine. Zombies and reused process ids do not count.

    Raises psutil.AccessDenied if the process exists but belongs to another user.
    """
    if not is_local(process):
        return None
    try:
        found = psutil.Process(process.pid)
        same = abs(_created_at(found) - process.created_at) <= CREATE_TIME_TOLERANCE_SECONDS
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def is_process_alive(process: ProcessIdentity) -> bool:
    """Whether the process runs on this machine."""
    try:
        return find_process(process) is not None
    except psutil.AccessDenied:
        return True  # it exists, but belongs to another user


def is_suspended(process: ProcessIdentity) -> bool:
    """Whether the process runs on this machine but was stopped by a signal, such as Ctrl-Z, and may never continue."""
    try:
        found = find_process(process)
        return found is not None and found.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def is_alive(run: LiveRun | RunRow) -> bool:
    """Whether the run's process is alive. On another machine, its heartbeat decides."""
    if not is_local(run.process):
        return (datetime.now(UTC) - run.heartbeat_at).total_seconds() < REMOTE_DEAD_SECONDS
    return is_process_alive(run.process)


def _created_at(process: psutil.Process) -> float:
    if sys.platform != "linux":
        return process.create_time()
    return process.create_time() - psutil.boot_time() + _boot_number() * BOOT_SECONDS


@cache
def _boot_number() -> int:
    """A number that identifies this boot."""
    try:
        return int(BOOT_ID.read_text(encoding="ascii")[:6], 16)
    except (OSError, ValueError):
        return 0
