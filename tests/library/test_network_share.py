"""A library on a network share is refused. Of a file system that is not known, a test of its locks decides."""

import subprocess
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import psutil
import pytest

from enrich.errors import LibraryError
from enrich.library import library
from enrich.library.library import lock_problem, network_share_type, open_engine
from enrich.settings import load_settings


@dataclass(frozen=True)
class Mount:
    mountpoint: str
    fstype: str
    opts: str = "rw"


@pytest.fixture
def no_lock_test(monkeypatch):
    monkeypatch.setattr(library, "lock_problem", lambda _: pytest.fail("tested where the name is enough"))


@pytest.mark.usefixtures("no_lock_test")
@pytest.mark.parametrize(
    "kind", ["nfs4", "cifs", "fuse.sshfs", "SMB3", "fuse.rclone", "vboxsf", "prl_fs", "fuse.gcsfuse"]
)
def test_nearest_mount_decides(kind, tmp_path):
    mounts = [Mount("/", "ext4"), Mount(str(tmp_path), kind), Mount(str(tmp_path / "disk"), "ext4")]
    assert network_share_type(tmp_path / "films" / "library", mounts) == kind
    assert network_share_type(tmp_path / "disk" / "library", mounts) is None
    assert network_share_type(tmp_path.parent / "elsewhere", mounts) is None


@pytest.mark.usefixtures("no_lock_test")
@pytest.mark.parametrize(
    "kind",
    ["ext4", "xfs", "btrfs", "zfs", "f2fs", "apfs", "hfs", "NTFS", "ntfs3", "fuseblk", "exFAT", "overlay", "tmpfs"],
)
def test_local_file_systems_need_no_test(kind, tmp_path):
    assert network_share_type(tmp_path / "library", [Mount("/", kind)]) is None


@pytest.mark.parametrize("kind", ["9p", "virtiofs", "fakeowner", "fuse.unheard-of", ""])
def test_locks_decide_in_an_unknown_file_system(kind, tmp_path, monkeypatch):
    mounts = [Mount("/", "ext4"), Mount(str(tmp_path), kind)]
    assert network_share_type(tmp_path / "home", mounts) is None  # the folder's real file system works
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(library, "lock_problem", lambda _: "it supports no write-ahead log")
    assert network_share_type(tmp_path / "home", mounts).endswith(": it supports no write-ahead log")


def test_a_windows_drive_in_wsl_is_a_share(tmp_path):
    options = "rw,noatime,aname=drvfs;path=C:\\;uid=1000,trans=fd"
    assert network_share_type(tmp_path, [Mount(str(tmp_path), "9p", options)]) == "Windows drive in WSL"


@pytest.mark.parametrize("path", [r"\\nas\films\everyframe", r"\\?\UNC\nas\films", r"\\wsl.localhost\Ubuntu\home\anna"])
def test_a_unc_path_is_a_share(path):
    assert network_share_type(PureWindowsPath(path), [Mount("C:\\", "NTFS", "rw,fixed")]) == "network folder"


def test_the_file_system_mounted_last_at_a_place_counts(tmp_path):
    place = tmp_path / "with a space"
    mounts = [Mount("/", "ext4"), Mount(str(place), "autofs"), Mount(str(place), "nfs4"), Mount(f"{place}2", "xfs")]
    assert network_share_type(place / "home", mounts) == "nfs4"
    assert network_share_type(tmp_path / "with a space2", mounts) is None


def test_a_link_to_a_share_is_a_share(tmp_path):
    (tmp_path / "share").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "share")
    assert network_share_type(tmp_path / "home", [Mount("/", "ext4"), Mount(str(tmp_path / "share"), "cifs")]) == "cifs"


@pytest.mark.parametrize("vfs", ["unix-none", "unix-dotfile", "unix-excl"])
def test_broken_locks_are_found(tmp_path, vfs):
    """These layers of SQLite have no locks, no shared memory, or locks for one process only."""
    assert lock_problem(tmp_path, vfs)
    assert lock_problem(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_locks_that_hang_are_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "TEST_SECONDS", 0.2)
    monkeypatch.setattr(library, "LOCK_TEST", "import time\ntime.sleep(60)")
    assert "did not end" in lock_problem(tmp_path)


def test_a_folder_that_is_only_read_needs_no_locks(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(library.tempfile, "TemporaryDirectory", refuse)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing to test"))
    assert lock_problem(tmp_path) is None


def test_library_in_a_folder_without_locks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [Mount(str(tmp_path), "virtiofs")])
    monkeypatch.setattr(library, "LOCK_TEST", "import sys; sys.exit('no locks')")
    with pytest.raises(LibraryError, match=r"\(virtiofs: no locks\).*set EVERYFRAME_HOME to a folder on a local disk"):
        open_engine(load_settings(home=tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []


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
