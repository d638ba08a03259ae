"""Files for their owner alone, and writes that reach the disk."""

import os
import sqlite3
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from db.engine import make_engine, reading
from db.migrate import migrate
from enrich import private_files
from enrich.private_files import make_private, make_private_folder, write_durably
from enrich.process import stored_value
from enrich.settings_file import set_setting
from enrich.video.jpeg import write_jpeg

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
FULL_SYNC = 51  # F_FULLFSYNC of macOS


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


class Disk:
    """Records how files are made durable, as on macOS."""

    def __init__(self, monkeypatch, *, refuses=False):
        self.full: list[str] = []
        self.plain: list[str] = []
        self._refuses = refuses
        monkeypatch.setattr(private_files.fcntl, "F_FULLFSYNC", FULL_SYNC, raising=False)
        monkeypatch.setattr(private_files.fcntl, "fcntl", self._fcntl)
        monkeypatch.setattr(os, "fsync", lambda descriptor: self.plain.append(self._name(descriptor)))

    @staticmethod
    def _name(descriptor):
        return Path(f"/proc/self/fd/{descriptor}").readlink().name.split(".")[0]

    def _fcntl(self, descriptor, command):
        assert command == FULL_SYNC
        if self._refuses:
            raise OSError(45, "Operation not supported")
        self.full.append(self._name(descriptor))


linux = pytest.mark.skipif(sys.platform != "linux", reason="names open files by /proc")
WRITERS = {
    "image": lambda folder: write_jpeg(folder / "file.jpg", b"image"),
    "settings": lambda _: set_setting("model", "llava:7b"),
    "machine id": lambda folder: stored_value(folder / "file"),
}


@linux
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_every_durable_write_empties_the_cache_of_the_drive(tmp_path, monkeypatch, write):
    folder = tmp_path / "home"
    folder.mkdir()
    disk = Disk(monkeypatch)
    write(folder)
    file, parent = disk.full
    assert file in ("file", "settings")
    assert parent == "home"
    assert disk.plain == []


@linux
def test_many_images_empty_the_cache_of_the_drive_once(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    for name in ("a.jpg", "b.jpg"):
        write_jpeg(tmp_path / name, b"image", is_folder_synced=False)
    assert (disk.plain, disk.full) == (["a", "b"], [])
    private_files.sync_folder(tmp_path)
    assert disk.full == [tmp_path.name]


@linux
def test_file_system_without_full_sync_is_synced_as_usual(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, refuses=True)
    write_durably(tmp_path / "file", b"text")
    assert disk.plain == ["file", tmp_path.name]


def test_database_empties_the_cache_of_the_drive(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path / 'library.db'}")
    with reading(engine) as connection:
        for pragma, value in (("synchronous", 2), ("fullfsync", 1), ("checkpoint_fullfsync", 1)):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    engine.dispose()


@posix
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_files_and_folders_are_private_under_any_umask(tmp_path, write):
    with umask(0):
        write(tmp_path / "home" / "folder")
    made = list((tmp_path / "home").rglob("*"))
    assert [path for path in made if mode(path) & 0o077] == []
    assert any(path.is_file() for path in made)
    assert mode(tmp_path / "home") == 0o700


@posix
def test_database_is_private_under_any_umask(tmp_path):
    with umask(0):
        engine = make_engine(f"sqlite:///{tmp_path / 'library.db'}")
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
            files = sorted(tmp_path.iterdir())
            assert [file.name for file in files] == ["library.db", "library.db-shm", "library.db-wal"]
            assert [oct(mode(file)) for file in files] == ["0o600"] * 3
        engine.dispose()


@posix
def test_existing_folders_keep_their_permissions(tmp_path):
    tmp_path.chmod(0o755)
    make_private_folder(tmp_path / "new" / "newer")
    assert (mode(tmp_path), mode(tmp_path / "new"), mode(tmp_path / "new" / "newer")) == (0o755, 0o700, 0o700)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_durably(file, b"old")

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_durably(file, b"new", is_folder_synced=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@posix
def test_links_are_not_followed_when_files_are_made_private(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "link").symlink_to(outside)
    (home / "file-link").symlink_to(outside / "file")
    before = mode(outside), mode(outside / "file")
    (home / "frames").symlink_to(outside)
    assert make_private([home, home / "frames"]) == []
    assert (mode(outside), mode(outside / "file")) == before
    assert mode(home) == 0o700


@posix
def test_files_that_stay_open_to_others_are_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch(mode=0o644)
    monkeypatch.setattr(os, "chmod", lambda *_: None)  # as on FAT, which accepts and ignores it
    assert make_private([tmp_path / "file"]) == [tmp_path / "file"]


@posix
def test_backup_of_a_migration_is_private(tmp_path):
    file = tmp_path / "library.db"
    oldest = min((Path(__file__).parent / "db" / "schemas").glob("*.sql"))
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(oldest.read_text(encoding="utf-8"))
    with umask(0):
        backup = migrate(make_engine(f"sqlite:///{file}"))
    assert backup is not None
    assert mode(backup) == 0o600
