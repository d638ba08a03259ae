"""Network shares: SQLite's write-ahead log needs memory that only programs of one machine can share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import psutil

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
