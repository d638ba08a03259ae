"""The machine's id: tells this machine from others, whatever its host name is.

A host name is no identity: a laptop gets another one when it joins a network, and two machines may share one. The id
combines a random value, stored once for this user on this machine, with the id of the operating system, if it has one:
the random value differs between machines cloned from one image, the system's id between machines that share a home
folder over the network. The value is not stored in the library, so it does not travel with a library that is copied.
"""

import ctypes
import hashlib
import os
import secrets
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

if sys.platform == "win32":
    import winreg

SYSTEM_ID_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid")  # Linux, older Linux, BSD
UUID_BYTES = 16
VALUE_CHARACTERS = 32
PRIVATE_MODE = 0o600


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
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_MODE)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(value)
        opened.flush()
        os.fsync(descriptor)


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
