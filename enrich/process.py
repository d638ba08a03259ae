"""Identity of machines and processes, and liveness. A process is identified by machine, process id and create time.

A host name is no identity: a laptop gets another one when it joins a network, and two machines may share one. The
machine's id combines a random value, stored once for this user on this machine, with the id of the operating system, if
it has one: the random value differs between machines cloned from one image, the system's id between machines that share
a home folder over the network. The value is not stored in the library, so it does not travel with a copy of it.

Process ids are reused. On Linux the create time that the system reports shifts when the clock is set: the kernel counts
from boot, and derives the boot time from the clock. There the identity uses seconds since boot plus a number of the
boot itself, because after every boot the same process ids are handed out at about the same times.
"""

import ctypes
import hashlib
import os
import secrets
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil

from db.runs import LiveRun, ProcessIdentity, RunRow
from enrich.private_files import make_private_folder, private_opener, sync_file, sync_folder

if sys.platform == "win32":
    import winreg

SYSTEM_ID_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid")  # Linux, older Linux, BSD
UUID_BYTES = 16
VALUE_CHARACTERS = 32


@cache
def machine_id() -> str | None:
    """The id of this machine for this user; None if none can be stored and the system has none. Read once."""
    try:
        value = stored_value(state_file())
    except RuntimeError:  # the user has no home folder, as in some containers
        value = ""
    system = system_id()
    if not value and not system:
        return None
    return hashlib.sha256(f"everyframe {value} {system}".encode()).hexdigest()[:VALUE_CHARACTERS]


def state_file() -> Path:
    """Where the random value is stored.

    The path depends on no variable but the home folder: a worker started at login must find the value that a terminal
    finds, and XDG_STATE_HOME is often set in one of them only.
    """
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "everyframe-state" / "machine-id"
    if sys.platform == "win32":  # the roaming folder would follow the user to other machines
        return home / "AppData" / "Local" / "everyframe-state" / "machine-id"
    return home / ".local" / "state" / "everyframe" / "machine-id"


def stored_value(file: Path) -> str:
    """The random value in `file`, created if there is none; "" if it cannot be stored.

    Of processes that create it at once, all return the same value.
    """
    value = _read(file)
    if value:
        return value
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    try:
        make_private_folder(file.parent)
        _write(draft, secrets.token_hex(VALUE_CHARACTERS // 2))
        if file.exists() and not _read(file):  # damaged, for example by a power cut
            file.unlink(missing_ok=True)
        _publish(draft, file)
    except OSError:
        return _read(file)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return _read(file)


def system_id() -> str:
    """The id that the operating system gives to this machine; "" if it has none."""
    try:
        if sys.platform == "win32":
            return _windows_id()
        if sys.platform == "darwin":
            return _mac_id()
    except (OSError, AttributeError):
        return ""
    for path in SYSTEM_ID_FILES:
        with suppress(OSError, UnicodeDecodeError):
            if found := Path(path).read_text(encoding="ascii").strip():
                return found
    return ""


def _read(file: Path) -> str:
    try:
        value = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return value if len(value) == VALUE_CHARACTERS else ""


def _write(file: Path, value: str) -> None:
    with open(file, "x", encoding="ascii", opener=private_opener) as opened:
        opened.write(value)
        opened.flush()
        sync_file(opened.fileno())
    sync_folder(file.parent)


def _publish(draft: Path, file: Path) -> None:
    """Give a complete file its name, unless another process was first."""
    try:
        os.link(draft, file)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        with suppress(FileExistsError):
            _write(file, draft.read_text(encoding="ascii"))


def _windows_id() -> str:
    if sys.platform == "win32":
        access = winreg.KEY_READ | winreg.KEY_WOW64_64KEY
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography", 0, access) as key:
            return str(winreg.QueryValueEx(key, "MachineGuid")[0])
    return ""


def _mac_id() -> str:
    """The hardware's UUID, from gethostuuid(2)."""
    found = (ctypes.c_ubyte * UUID_BYTES)()
    wait = (ctypes.c_long * 2)(1, 0)  # struct timespec: at most one second
    if ctypes.CDLL(None).gethostuuid(found, ctypes.byref(wait)) != 0:
        return ""
    return bytes(found).hex()


CREATE_TIME_TOLERANCE_SECONDS = 2.0  # the boot time has a resolution of one second
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_SECONDS = 1e8  # longer than any uptime; a float still resolves a quarter of a second at this size
REMOTE_DEAD_SECONDS = 120  # without a heartbeat for this long, a run on another machine counts as dead


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module with this Python and EveryFrame's own folders, from any working directory.

    Every process of EveryFrame is started with it. In an installed wheel `python -m enrich` would be another package;
    `everyframe.run_module` is found by name, so the command stays valid when Python is upgraded.
    """
    return [sys.executable, "-P", "-m", "everyframe.run_module", module, *arguments]


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
