"""A library: settings and database, opened and checked. Importing this module loads no codec and no model client.

A SQLite database on a network share is refused, because its write-ahead log needs memory that only programs on one
machine can share. A file system is local or a network share by its name. Of any other, such as the folders that virtual
machines and containers share with their host, a test says whether two processes can use one database in it.

The data folder and everything EveryFrame keeps in it belong to their owner alone. What an older version left open to
others is closed when the library is opened.
"""

import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import Protocol

import psutil
from sqlalchemy import Engine

from db.engine import database_file
from db.errors import StorageError
from db.migrate import check_integrity, open_library
from enrich.errors import LibraryError
from enrich.private_files import is_open_to_others, make_private
from enrich.settings import LIBRARY_FILE, Settings

_LOCAL = """
    apfs aufs bcachefs bfs btrfs cd9660 cdfs ecryptfs erofs exfat ext2 ext3 ext4 f2fs fat fat32 ffs fuseblk hammer
    hammer2 hfs iso9660 jfs lofs minix msdos msdosfs nilfs2 ntfs ntfs3 overlay overlayfs ramfs refs reiser4 reiserfs
    rootfs squashfs tmpfs udf ufs vfat xfs zfs
"""
LOCAL_FILE_SYSTEMS = frozenset(_LOCAL.split())
_NETWORK = """
    acfs afpfs afs beegfs ceph cifs coda davfs drvfs fuse.ceph fuse.curlftpfs fuse.davfs fuse.davfs2 fuse.gcsfuse
    fuse.glusterfs fuse.goofys fuse.google-drive-ocamlfuse fuse.gvfsd-fuse fuse.juicefs fuse.kio-fuse fuse.mount-s3
    fuse.onedriver fuse.rclone fuse.s3fs fuse.smbnetfs fuse.sshfs fuse.vmhgfs-fuse glusterfs gpfs lustre ncpfs nfs nfs3
    nfs4 ocfs2 orangefs prl_fs rclone smb smb2 smb3 smbfs vboxsf vmhgfs webdav
"""
NETWORK_FILE_SYSTEMS = frozenset(_NETWORK.split())  # also those by which virtual machines share folders of their host
LOCAL_DEVICE = re.compile(r"\\\\[?.]\\(?!UNC\\)", re.IGNORECASE)  # such as \\?\C:
WSL_DRIVE = "drvfs"  # in the options of a Windows drive that WSL mounts by 9p
OUR_FOLDERS = ("frames", "logs", "jobs", "uploads", "strips", "audits", "demo", "demo-own")
_DASHBOARD_FILES = ("dashboard-token*", "dashboard.json*", "dashboard.html*")
OUR_FILES = ("settings.toml*", "prices.toml", "sample.mp4", *_DASHBOARD_FILES, f"{LIBRARY_FILE}?*")
IGNORED_FILES = (".*", "desktop.ini", "Thumbs.db")  # of the operating system
TEST_SECONDS = 20.0
# Run by two processes at once, as "hold" and as "join". The first prints "works" at its end.
LOCK_TEST = """
import sqlite3, subprocess, sys
role, uri = sys.argv[1:]
one = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
if one.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
    sys.exit("it supports no write-ahead log")

def rows():
    return one.execute("SELECT count(*) FROM kept").fetchone()[0]

def expect_other(result):
    try:
        run = subprocess.run([*sys.orig_argv[:-2], "join", uri], capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        sys.exit("another process waits for it without end")
    found = (run.stdout or run.stderr).strip().splitlines()[-1:]
    if found != [result]:
        sys.exit(f"another process found {found} instead of {result!r}")

if role == "hold":
    one.execute("CREATE TABLE kept (value)")
    one.execute("INSERT INTO kept VALUES (1)")
    one.execute("BEGIN IMMEDIATE")
    one.execute("INSERT INTO kept VALUES (2)")
    expect_other("1 locked")
    one.execute("COMMIT")
    expect_other("2 free")
    if rows() != 3 or one.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
        sys.exit("what another process wrote is missing")
    print("works")
else:
    found = rows()
    try:
        one.execute("INSERT INTO kept VALUES (3)")
        print(found, "free")
    except sqlite3.OperationalError:
        print(found, "locked")
"""

log = logging.getLogger(__name__)


class Partition(Protocol):
    """A mounted file system, as psutil lists it."""

    mountpoint: str
    fstype: str
    opts: str


def network_share_type(path: PurePath, partitions: Iterable[Partition] | None = None) -> str | None:
    """The type of the network share a path is on; None if it can hold a database. The path need not exist yet.

    A file system that is neither known to be local nor known to be a share is tested.
    """
    if path.drive.startswith("\\\\") and not LOCAL_DEVICE.match(path.drive):  # Windows lists no drive for it
        return "network folder"
    folder = Path(os.path.realpath(path))  # the data folder may be a link
    nearest = _nearest(folder, partitions)
    kind = nearest.fstype if nearest is not None else "unknown file system"
    options = nearest.opts.split(",") if nearest is not None else []
    if kind.lower() in NETWORK_FILE_SYSTEMS or "remote" in options:
        return kind or "network drive"
    if any(WSL_DRIVE in option for option in options):
        return "Windows drive in WSL"
    if kind.lower() in LOCAL_FILE_SYSTEMS:
        return None
    problem = lock_problem(folder)
    log.info("%s is on %s: %s", folder, kind, problem or "locks between processes work")
    return None if problem is None else f"{kind or 'unknown file system'}: {problem}"


def _nearest(folder: Path, partitions: Iterable[Partition] | None) -> Partition | None:
    """The file system that a folder is in: of those mounted at the longest path above it, the last one."""
    try:
        mounted: list[Partition] = [*(psutil.disk_partitions(all=True) if partitions is None else partitions)]
    except (OSError, psutil.Error):  # for example without /proc
        return None
    above = [one for one in reversed(mounted) if folder.is_relative_to(one.mountpoint)]
    return max(above, key=lambda one: len(Path(one.mountpoint).parts), default=None)


def lock_problem(path: Path, vfs: str | None = None) -> str | None:
    """Why two processes cannot use one database in the folder; None if they can, or if it cannot be written to.

    If the folder does not exist, the nearest one above it is tested. `vfs` names another file system layer of SQLite.
    """
    folder = next((one for one in (path, *path.parents) if one.is_dir()), path)
    try:
        with tempfile.TemporaryDirectory(prefix=".everyframe-", dir=folder, ignore_cleanup_errors=True) as made:
            uri = (Path(made) / "test.db").absolute().as_uri() + (f"?vfs={vfs}" if vfs else "")
            run = subprocess.run(
                [sys.executable, "-I", "-S", "-c", LOCK_TEST, "hold", uri],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TEST_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return f"a test of its locks did not end within {TEST_SECONDS:.0f} s"
    except OSError:  # it cannot be written to: a library that is only read needs no locks
        return None
    if run.stdout.strip() == "works":
        return None
    return (run.stderr.strip().splitlines() or [f"a test of its locks ended with exit code {run.returncode}"])[-1]


def open_engine(settings: Settings) -> Engine:
    """Open the database that the settings name, creating it if needed. Raises LibraryError."""
    try:
        file = database_file(settings.url)
        _require_local(file)
        _keep_private(settings.home, file)
        return open_library(settings.url)
    except StorageError as error:
        raise LibraryError(str(error)) from error


def _keep_private(home: Path, file: Path | None) -> None:
    """Make the user's data folder, and what EveryFrame keeps in it, accessible to them alone.

    A folder that holds other files too keeps its own permissions. The database comes last: while it is open to others,
    the rest may be too. An error is logged: the library can be used.
    """
    home, file = Path(os.path.realpath(home)), None if file is None else Path(os.path.realpath(file))
    is_home_open = is_open_to_others(home) and _is_ours_alone(home)
    if not is_home_open and not (file is not None and is_open_to_others(file)):
        return
    failed = make_private([home], with_contents=False) if is_home_open else []
    if (is_home_open or (home / LIBRARY_FILE).exists()) and not failed:
        failed = make_private(
            [home / name for name in OUR_FOLDERS] + [one for name in OUR_FILES for one in home.glob(name)]
        )
    if file is not None and not failed:
        failed = make_private([file.with_name(f"{file.name}{suffix}") for suffix in ("-wal", "-shm", "-journal", "")])
    if failed:
        log.warning("other users of this computer may read %s: its permissions cannot be changed", failed[0])


def _is_ours_alone(home: Path) -> bool:
    """Whether a folder holds nothing but what EveryFrame keeps in a data folder."""
    ours = (*OUR_FOLDERS, LIBRARY_FILE, *OUR_FILES, *IGNORED_FILES)
    return home.is_dir() and all(any(fnmatch(name, one) for one in ours) for name in os.listdir(home))  # noqa: PTH208


def _require_local(file: Path | None) -> None:
    """Raise LibraryError for a SQLite file on a network share, where its write-ahead log could lose data."""
    if file is None:
        return
    file = file.absolute()
    share = network_share_type(file.parent)
    if share is not None:
        raise LibraryError(
            f"{file} is on a network share ({share}), which SQLite cannot use safely: "
            "set EVERYFRAME_HOME to a folder on a local disk; your videos may stay on the share"
        )


@dataclass(frozen=True, slots=True)
class Library:
    """An open library: its settings and its database."""

    settings: Settings
    engine: Engine

    @classmethod
    def open(cls, settings: Settings) -> "Library":
        """Open the library that the settings name, creating it if needed. Raises LibraryError."""
        return cls(settings, open_engine(settings))

    def require_whole(self) -> None:
        """Read the whole database and check that it is not damaged. Raises LibraryError."""
        try:
            check_integrity(self.engine)
        except StorageError as error:
            raise LibraryError(str(error)) from error

    @property
    def frames_folder(self) -> Path:
        return self.settings.frames_folder
