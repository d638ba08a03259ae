"""Folder listings of real folders, start folders, and typed paths."""

import os
from pathlib import Path

import pytest

from pages.parts.library import browser, folders
from pages.parts.library.browser import StartFolder, drives, start_folders
from pages.parts.library.folders import FileOrder, first_folder, list_folder, nearest_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, count in (("film 10.mp4", 10), ("Film 2.MOV", 30), ("film 1.mkv", 20)):
        (tmp_path / name).write_bytes(bytes(count))
    os.utime(tmp_path / "film 10.mp4", (3000, 3000))
    os.utime(tmp_path / "Film 2.MOV", (1000, 1000))
    os.utime(tmp_path / "film 1.mkv", (2000, 2000))
    (tmp_path / "notes.txt").write_text("not a video")
    (tmp_path / ".hidden.mp4").write_bytes(b"1")
    (tmp_path / ".hidden").mkdir()
    for name in ("Day 10", "Day 9", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "Day 9" / "a.mp4").write_bytes(bytes(1500))
    (tmp_path / "Day 10" / "cards").mkdir()
    return tmp_path


def video_names(page: folders.FolderPage) -> list[str]:
    return [video.name for video in page.videos]


def test_folders_come_first_in_natural_order(folder):
    page = list_folder(str(folder))
    assert [entry.name for entry in page.folders] == ["Day 9", "Day 10", "empty"]
    assert video_names(page) == ["film 1.mkv", "Film 2.MOV", "film 10.mp4"]
    assert (page.total_folders, page.total_videos, page.others, page.problem) == (3, 3, 1, None)


def test_hidden_entries_are_skipped(folder):
    page = list_folder(str(folder))
    assert not [entry for entry in (*page.folders, *page.videos) if "hidden" in entry.name]


def test_videos_show_sizes_and_folders_their_contents(folder):
    page = list_folder(str(folder))
    assert [video.size_bytes for video in page.videos] == [20, 30, 10]
    assert [entry.about for entry in page.folders] == ["1 video, 2 kB", "1 folder", "no videos"]


def test_videos_are_sorted_by_age_and_size(folder):
    assert video_names(list_folder(str(folder), order=FileOrder.NEWEST)) == ["film 10.mp4", "film 1.mkv", "Film 2.MOV"]
    assert video_names(list_folder(str(folder), order=FileOrder.LARGEST)) == ["Film 2.MOV", "film 1.mkv", "film 10.mp4"]


def test_search_filters_entries(folder):
    page = list_folder(str(folder), words=" DAY ")
    assert [entry.name for entry in page.folders] == ["Day 9", "Day 10"]
    assert video_names(page) == []


def test_pages_continue_from_folders_to_videos(folder):
    pages = [list_folder(str(folder), number=number, limit=2) for number in (-1, 0, 1, 2, 9)]
    assert [page.number for page in pages] == [0, 0, 1, 2, 2]
    assert [entry.name for entry in pages[2].folders] == ["empty"]
    assert video_names(pages[2]) == ["film 1.mkv"]
    assert video_names(pages[3]) == ["Film 2.MOV", "film 10.mp4"]
    assert {page.pages for page in pages} == {3}


def test_missing_folder_is_reported(tmp_path):
    assert "no longer exists" in (list_folder(str(tmp_path / "nothing")).problem or "")
    (tmp_path / "file").touch()
    assert "no longer exists" in (list_folder(str(tmp_path / "file")).problem or "")


@pytest.mark.usefixtures("file_permissions")
def test_unreadable_folder_is_reported(folder):
    (folder / "Day 9").chmod(0)
    try:
        assert "do not have permission" in (list_folder(str(folder / "Day 9")).problem or "")
        first = list_folder(str(folder)).folders[0]
        assert (first.name, first.about, first.may_be_read) == ("Day 9", "no permission", False)
    finally:
        (folder / "Day 9").chmod(0o700)


def test_permission_error_is_reported(folder, monkeypatch):
    """Also runs as a user who can read every folder."""
    real = os.scandir

    def refuses(path):
        if str(path).endswith("Day 9"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(folders.os, "scandir", refuses)
    assert "do not have permission" in (list_folder(str(folder / "Day 9")).problem or "")
    first = list_folder(str(folder)).folders[0]
    assert (first.name, first.about, first.may_be_read) == ("Day 9", "no permission", False)


def test_links_are_followed_and_broken_ones_skipped(folder):
    (folder / "linked.mp4").symlink_to(folder / "film 1.mkv")
    (folder / "broken.mp4").symlink_to(folder / "nothing.mp4")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "Linked day").symlink_to(folder / "Day 9")
    page = list_folder(str(folder))
    assert "linked.mp4" in video_names(page)
    assert "broken.mp4" not in video_names(page)
    assert "Linked day" in [entry.name for entry in page.folders]


def test_only_entries_of_the_page_are_read(tmp_path, monkeypatch):
    for number in range(6000):
        (tmp_path / f"clip {number}.mp4").touch()
    for number in range(2000):
        (tmp_path / f"day {number}").mkdir()
    read = []
    video, details = folders._video, folders._details
    monkeypatch.setattr(folders, "_video", lambda path, name: read.append(name) or video(path, name))
    monkeypatch.setattr(folders, "_details", lambda path, end: read.append(path) or details(path, end))
    page = list_folder(str(tmp_path), number=100)
    assert sorted(read) == sorted(video.name for video in page.videos)
    assert (page.total_folders, page.total_videos, len(page.videos)) == (2000, 6000, 25)


def test_slow_drive_shows_no_details(folder, monkeypatch):
    monkeypatch.setattr(folders, "PEEK_SECONDS", 0.0)
    assert [entry.about for entry in list_folder(str(folder)).folders] == [None] * 3


def test_start_folders_begin_with_home(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "Movies").mkdir()
    assert start_folders()[:2] == [StartFolder("Home", str(tmp_path)), StartFolder("Movies", str(tmp_path / "Movies"))]
    assert first_folder() == str(tmp_path / "Movies")


def test_system_mounts_are_not_drives(monkeypatch):
    from pages.parts.library import browser as module

    people = ["/media/ana/CAMERA", "/run/media/ana/Disk 2", "/mnt/nas"]
    mounts = ["/", "/proc", "/boot/efi", *people, "/mnt/a/b/c", "/snap/x/1"]
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(
        module.psutil, "disk_partitions", lambda **_: [type("Part", (), {"mountpoint": path}) for path in mounts]
    )
    assert [place.name for place in drives()] == ["This computer", "CAMERA", "nas", "Disk 2"]


def test_nearest_folder_still_exists(folder):
    assert nearest_folder(str(folder / "gone" / "deeper" / "film.mp4")) == str(folder)


@pytest.mark.parametrize("how", ["{}", '"{}"', "'{}'", "  {}\n", "file://{}"])
def test_pasted_paths_are_understood(folder, how):
    path = folder / "Day 9" / "a.mp4"
    text = how.format(str(path).replace(" ", "%20") if "file" in how else path)
    assert browser.path_from(text) == str(path)


def test_tilde_means_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "film.mp4").touch()
    assert browser.path_from("~/film.mp4") == str(tmp_path / "film.mp4")


@pytest.mark.parametrize(
    ("typed", "words"),
    [("", "Enter the path"), ("film.mp4", "not an absolute path"), ("/nowhere/x.mp4", "does not exist")],
)
def test_invalid_path_is_explained(typed, words):
    with pytest.raises(browser.NoSuchPathError, match=words):
        browser.path_from(typed)
