"""A library: its settings and its database, opened and checked.

Network shares: SQLite's write-ahead log needs memory that only programs of one machine can share.

Opening the library's database, also for whoever only watches a worker: without all that works on it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
from sqlalchemy import Engine

from db.engine import database_file
from db.migrate import SchemaError, check_integrity, open_library
from enrich.errors import LibraryError
from enrich.settings import Settings

SHARES = frozenset(
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


class Partition(Protocol):
    """A mounted file system, as psutil tells of it."""

    mountpoint: str
    fstype: str
    opts: str


def share_below(path: Path, partitions: Iterable[Partition] | None = None) -> str | None:
    """What kind of network share a path lies on, None if on a disk of this machine. The path need not be there yet."""
    mounted = psutil.disk_partitions(all=True) if partitions is None else partitions
    above = [one for one in mounted if path.is_relative_to(one.mountpoint)]
    if not above:
        return None
    nearest = max(above, key=lambda one: len(Path(one.mountpoint).parts))
    is_share = nearest.fstype.lower() in SHARES or "remote" in nearest.opts.split(",")
    return (nearest.fstype or "network drive") if is_share else None


def open_engine(settings: Settings) -> Engine:
    """The engine of the library the settings name; it is made if there is none yet. Raises LibraryError."""
    try:
        _require_local(database_file(settings.url))
        return open_library(settings.url)
    except SchemaError as error:
        raise LibraryError(str(error)) from error


def _require_local(file: Path | None) -> None:
    """Refuse a SQLite file on a network share, where its write-ahead log would lose what is written."""
    if file is None:
        return
    file = file.absolute()
    share = share_below(file.parent)
    if share is not None:
        raise LibraryError(
            f"{file} lies on a network share ({share}), which SQLite cannot use safely: "
            "set EVERYFRAME_HOME to a folder on a disk of this machine; the films may stay on the share"
        )


@dataclass(frozen=True, slots=True)
class Library:
    """What every piece of work needs: where the rows and the pictures are."""

    settings: Settings
    engine: Engine

    @classmethod
    def open(cls, settings: Settings) -> "Library":
        """Open the library the settings name; it is made if there is none yet. Raises LibraryError."""
        return cls(settings, open_engine(settings))

    def require_whole(self) -> None:
        """Read all of the database and check that none of it is damaged. Raises LibraryError."""
        try:
            check_integrity(self.engine)
        except SchemaError as error:
            raise LibraryError(str(error)) from error

    @property
    def frames_folder(self) -> Path:
        return self.settings.frames_folder
