"""A library on a network share is refused."""

from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from enrich.errors import LibraryError
from enrich.library.library import network_share_type, open_engine
from enrich.settings import load_settings


@dataclass(frozen=True)
class Mount:
    mountpoint: str
    fstype: str
    opts: str = "rw"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "SMB3"])
def test_nearest_mount_decides(kind, tmp_path):
    mounts = [Mount("/", "ext4"), Mount(str(tmp_path), kind), Mount(str(tmp_path / "disk"), "ext4")]
    assert network_share_type(tmp_path / "films" / "library", mounts) == kind
    assert network_share_type(tmp_path / "disk" / "library", mounts) is None
    assert network_share_type(tmp_path.parent / "elsewhere", mounts) is None


def test_windows_remote_drive_is_a_network_share(tmp_path):
    assert network_share_type(tmp_path, [Mount("/", "", "rw,remote")]) == "network drive"
    assert network_share_type(tmp_path, [Mount("/", "NTFS", "rw,fixed")]) is None


def test_library_on_a_share_is_refused_and_not_created(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [Mount(str(tmp_path), "nfs4")])
    with pytest.raises(LibraryError, match=r"network share \(nfs4\).*set EVERYFRAME_HOME"):
        open_engine(load_settings(home=tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_local_disk_is_accepted(tmp_path: Path):
    open_engine(load_settings(home=tmp_path / "home")).dispose()
    assert (tmp_path / "home" / "library.db").exists()
