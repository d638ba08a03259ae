"""A library: settings and database, opened and checked. Importing this module loads no codec and no model client.

A SQLite database on a network share is refused, because its write-ahead log needs memory that only programs on one
machine can share.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
from sqlalchemy import Engine

from db.engine import database_file
from db.errors import StorageError
from db.migrate import check_integrity, open_library
from enrich.errors import LibraryError
from enrich.settings import LIBRARY_FILE, Settings

NETWORK_FILE_SYSTEMS = frozenset(
    (
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "afpfs",
        "webdav",
        "davfs",
        "fuse.sshfs",
        "fuse.davfs2",
    )
)


OTHERS = 0o077  # the permissions of the group and of other users


class Partition(Protocol):
    """A mounted file system, as psutil lists it."""

    mountpoint: str
    fstype: str
    opts: str


def network_share_type(path: Path, partitions: Iterable[Partition] | None = None) -> str | None:
    """The type of the network share a path is on; None if it is on a local disk. The path need not exist yet."""
    mounted = psutil.disk_partitions(all=True) if partitions is None else partitions
    above = [one for one in mounted if path.is_relative_to(one.mountpoint)]
    if not above:
        return None
    nearest = max(above, key=lambda one: len(Path(one.mountpoint).parts))
    is_share = nearest.fstype.lower() in NETWORK_FILE_SYSTEMS or "remote" in nearest.opts.split(",")
    return (nearest.fstype or "network drive") if is_share else None


def open_engine(settings: Settings) -> Engine:
    """Open the database that the settings name, creating it if needed. Raises LibraryError."""
    try:
        _require_local(database_file(settings.url))
        _keep_private(settings.home)
        return open_library(settings.url)
    except StorageError as error:
        raise LibraryError(str(error)) from error


def _keep_private(home: Path) -> None:
    """Make the user's data folder accessible to them alone, unless it was made for something else as well."""
    with suppress(OSError):
        status = home.stat()
        is_open = os.name == "posix" and status.st_uid == os.getuid() and status.st_mode & OTHERS
        if is_open and ((home / LIBRARY_FILE).exists() or not any(home.iterdir())):
            home.chmod(status.st_mode & ~OTHERS)


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
