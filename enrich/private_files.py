"""Files and folders for their owner alone, and writes that survive a power cut.

Entry points also set the umask (`enrich.process.keep_files_private`). Files still get their permissions explicitly: a
program that uses EveryFrame as a library keeps its own umask, and a folder with a default ACL ignores the umask. On
Windows these permissions have no effect: a folder inherits its access list from the folder that it is in.
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

FILE_MODE = 0o600
FOLDER_MODE = 0o700
OTHERS = 0o077  # the permissions of the group and of other users
PART_SUFFIX = ".part"


def make_private_folder(folder: Path) -> None:
    """Create a folder, and those above it that are missing, for their owner alone. An existing one stays as it is."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_private_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def private_opener(path: str, flags: int) -> int:
    """The `opener` of `open()` with which a new file belongs to its owner alone."""
    return os.open(path, flags, FILE_MODE)


def write_durably(path: Path, data: bytes, *, is_folder_synced: bool = True, part_suffix: str = PART_SUFFIX) -> None:
    """Write a private file atomically and durably: it survives a power cut once this returns.

    With `is_folder_synced=False`, the caller makes the files durable with `sync_folder`, once for many of them. After a
    kill, a part is left, which the next write of the same file replaces; `part_suffix` must differ between processes
    that may write the file at once.
    """
    part = path.with_name(f"{path.name}{part_suffix}")
    if not path.parent.is_dir():
        make_private_folder(path.parent)
        sync_folder(path.parent.parent)
    try:
        with open(part, "wb", opener=private_opener) as file:
            file.write(data)
            file.flush()
            if is_folder_synced:
                sync_file(file.fileno())
            else:
                os.fsync(file.fileno())
        os.replace(part, path)  # noqa: PTH105  # atomic, and overwrites on Windows too
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if is_folder_synced:
        sync_folder(path.parent)


def sync_file(descriptor: int) -> None:
    """Write a file or folder through to the disk.

    On macOS fsync leaves the data in the drive's own cache, which a power cut empties. F_FULLFSYNC empties the cache,
    with everything that fsync has sent there before. Network and FAT file systems may not support it.
    """
    if sys.platform != "win32" and (command := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        try:
            fcntl.fcntl(descriptor, command)
        except OSError:
            pass
        else:
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable, where the system can (Windows cannot open folders)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        sync_file(handle)
    finally:
        os.close(handle)


def is_open_to_others(path: Path) -> bool:
    """Whether the group or other users have permissions on a file or folder of this user."""
    if sys.platform == "win32":
        return False
    try:
        status = path.lstat()
    except OSError:
        return False
    return not stat.S_ISLNK(status.st_mode) and status.st_uid == os.geteuid() and bool(status.st_mode & OTHERS)


def make_private(paths: Iterable[Path], *, with_contents: bool = True) -> list[Path]:
    """Take the group's and other users' permissions from files and folders, and from everything in the folders.

    Symbolic links are not followed, and what belongs to another user is left alone. Returns what could not be changed.
    """
    every = (path for given in paths for path in (_with_contents(given) if with_contents else (given,)))
    return [path for path in every if is_open_to_others(path) and not _closed(path)]


def _closed(path: Path) -> bool:
    """Whether the permissions could be taken. Some file systems, such as FAT, accept the change and ignore it."""
    try:
        os.chmod(path, stat.S_IMODE(path.lstat().st_mode) & ~OTHERS)  # noqa: PTH101  # a link was excluded before
    except OSError:
        return False
    return not is_open_to_others(path)


def _with_contents(path: Path) -> Iterator[Path]:
    yield path
    if path.is_symlink():
        return
    for folder, folders, files in os.walk(path):  # follows no link
        yield from (Path(folder, name) for name in (*folders, *files))
