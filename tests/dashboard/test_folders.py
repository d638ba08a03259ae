"""The folders of this machine, listed from real ones, and the browser that shows them."""

import os
from pathlib import Path

import pytest

from pages.parts.library import browser, folders
from pages.parts.library.browser import StartFolder, drives, places
from pages.parts.library.folders import FileOrder, first_folder, look_into, nearest_folder

needs_permissions = pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="whoever runs this may read every folder"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, count in (("film 10.mp4", 10), ("Film 2.MOV", 30), ("film 1.mkv", 20)):
        (tmp_path / name).write_bytes(bytes(count))
    os.utime(tmp_path / "film 10.mp4", (3000, 3000))
    os.utime(tmp_path / "Film 2.MOV", (1000, 1000))
    os.utime(tmp_path / "film 1.mkv", (2000, 2000))
    (tmp_path / "notes.txt").write_text("no film")
    (tmp_path / ".hidden.mp4").write_bytes(b"1")
    (tmp_path / ".hidden").mkdir()
    for name in ("Day 10", "Day 9", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "Day 9" / "a.mp4").write_bytes(bytes(1500))
    (tmp_path / "Day 10" / "cards").mkdir()
    return tmp_path


def films(page: folders.FolderPage) -> list[str]:
    return [film.name for film in page.films]


def test_folders_come_first_and_both_are_sorted_as_people_count(folder):
    page = look_into(str(folder))
    assert [entry.name for entry in page.folders] == ["Day 9", "Day 10", "empty"]
    assert films(page) == ["film 1.mkv", "Film 2.MOV", "film 10.mp4"]
    assert (page.total_folders, page.total_films, page.others, page.problem) == (3, 3, 1, None)


def test_hidden_ones_are_left_out(folder):
    page = look_into(str(folder))
    assert not [entry for entry in (*page.folders, *page.films) if "hidden" in entry.name]


def test_films_have_their_sizes_and_folders_what_lies_in_them(folder):
    page = look_into(str(folder))
    assert [film.size_bytes for film in page.films] == [20, 30, 10]
    assert [entry.about for entry in page.folders] == ["1 film, 2 kB", "1 folder", "no films"]


def test_films_are_sorted_by_age_and_by_size(folder):
    assert films(look_into(str(folder), order=FileOrder.NEWEST)) == ["film 10.mp4", "film 1.mkv", "Film 2.MOV"]
    assert films(look_into(str(folder), order=FileOrder.LARGEST)) == ["Film 2.MOV", "film 1.mkv", "film 10.mp4"]


def test_words_narrow_it_down(folder):
    page = look_into(str(folder), words=" DAY ")
    assert [entry.name for entry in page.folders] == ["Day 9", "Day 10"]
    assert films(page) == []


def test_pages_run_on_from_folders_to_films(folder):
    pages = [look_into(str(folder), number=number, limit=2) for number in (-1, 0, 1, 2, 9)]
    assert [page.number for page in pages] == [0, 0, 1, 2, 2]
    assert [entry.name for entry in pages[2].folders] == ["empty"]
    assert films(pages[2]) == ["film 1.mkv"]
    assert films(pages[3]) == ["Film 2.MOV", "film 10.mp4"]
    assert {page.pages for page in pages} == {3}


def test_a_folder_that_is_gone_says_so(tmp_path):
    assert "gone" in (look_into(str(tmp_path / "nothing")).problem or "")
    (tmp_path / "file").touch()
    assert "gone" in (look_into(str(tmp_path / "file")).problem or "")


@needs_permissions
def test_a_folder_that_may_not_be_read_says_so(folder):
    (folder / "Day 9").chmod(0)
    try:
        assert "may not be read" in (look_into(str(folder / "Day 9")).problem or "")
        first = look_into(str(folder)).folders[0]
        assert (first.name, first.about, first.may_be_read) == ("Day 9", "may not be read", False)
    finally:
        (folder / "Day 9").chmod(0o700)


def test_a_folder_that_the_system_refuses_says_so_too(folder, monkeypatch):
    """Whoever may read everything cannot be refused for real."""
    real = os.scandir

    def refuses(path):
        if str(path).endswith("Day 9"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(folders.os, "scandir", refuses)
    assert "may not be read" in (look_into(str(folder / "Day 9")).problem or "")
    first = look_into(str(folder)).folders[0]
    assert (first.name, first.about, first.may_be_read) == ("Day 9", "may not be read", False)


def test_links_are_followed_and_broken_ones_left_out(folder):
    (folder / "linked.mp4").symlink_to(folder / "film 1.mkv")
    (folder / "broken.mp4").symlink_to(folder / "nothing.mp4")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "Linked day").symlink_to(folder / "Day 9")
    page = look_into(str(folder))
    assert "linked.mp4" in films(page)
    assert "broken.mp4" not in films(page)
    assert "Linked day" in [entry.name for entry in page.folders]


def test_of_thousands_of_entries_only_those_of_the_page_are_looked_at(tmp_path, monkeypatch):
    for number in range(6000):
        (tmp_path / f"clip {number}.mp4").touch()
    for number in range(2000):
        (tmp_path / f"day {number}").mkdir()
    looked_at = []
    film, peek = folders._film, folders._peek
    monkeypatch.setattr(folders, "_film", lambda path, name: looked_at.append(name) or film(path, name))
    monkeypatch.setattr(folders, "_peek", lambda path, end: looked_at.append(path) or peek(path, end))
    page = look_into(str(tmp_path), number=100)
    assert sorted(looked_at) == sorted(film.name for film in page.films)
    assert (page.total_folders, page.total_films, len(page.films)) == (2000, 6000, 25)


def test_a_slow_drive_only_says_less(folder, monkeypatch):
    monkeypatch.setattr(folders, "PEEK_SECONDS", 0.0)
    assert [entry.about for entry in look_into(str(folder)).folders] == [None] * 3


def test_places_begin_with_home_and_name_the_usual_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "Movies").mkdir()
    assert places()[:2] == [StartFolder("Home", str(tmp_path)), StartFolder("Movies", str(tmp_path / "Movies"))]
    assert first_folder() == str(tmp_path / "Movies")


def test_drives_are_those_that_are_for_people(monkeypatch):
    from pages.parts.library import browser as module

    people = ["/media/ana/CAMERA", "/run/media/ana/Disk 2", "/mnt/nas"]
    mounts = ["/", "/proc", "/boot/efi", *people, "/mnt/a/b/c", "/snap/x/1"]
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(
        module.psutil, "disk_partitions", lambda **_: [type("Part", (), {"mountpoint": path}) for path in mounts]
    )
    assert [place.name for place in drives()] == ["This computer", "CAMERA", "nas", "Disk 2"]


def test_the_nearest_folder_that_is_still_there_is_where_looking_begins(folder):
    assert nearest_folder(str(folder / "gone" / "deeper" / "film.mp4")) == str(folder)


@pytest.mark.parametrize("how", ["{}", '"{}"', "'{}'", "  {}\n", "file://{}"])
def test_pasted_paths_are_understood(folder, how):
    path = folder / "Day 9" / "a.mp4"
    text = how.format(str(path).replace(" ", "%20") if "file" in how else path)
    assert browser.path_from(text) == str(path)


def test_a_path_in_the_home_folder_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "film.mp4").touch()
    assert browser.path_from("~/film.mp4") == str(tmp_path / "film.mp4")


@pytest.mark.parametrize(
    ("typed", "words"), [("", "Paste"), ("film.mp4", "no whole path"), ("/nowhere/x.mp4", "nothing")]
)
def test_a_path_that_leads_nowhere_is_explained(typed, words):
    with pytest.raises(browser.NoSuchPathError, match=words):
        browser.path_from(typed)
