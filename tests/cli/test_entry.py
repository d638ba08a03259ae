"""set, relink and remove: a video's entry in the library changes, its file never."""

import shutil

import pytest

from tests.cli.terminal import ask, change
from tests.clips import numbered_clip


def test_title_and_context_are_set_and_found_by(cli, library):
    said = cli("set", "party", "--title", "  Erna's \n [80th] birthday ", "--context", "In the garden")
    assert (said.code, said.out, said.err) == (0, "2 Erna's [80th] birthday: In the garden\n", "")
    assert cli("show", "80th").code == 0
    said = cli("set", "2", "--context", "", "--json")
    assert said.json == {"id": 2, "title": "Erna's [80th] birthday", "context": ""}
    assert ask(library, "SELECT title, context FROM videos WHERE id = 1") == [("numbers", "")]


def test_what_a_terminal_would_obey_does_not_get_into_a_title(cli, library):
    cli("set", "2", "--title", "red\x1b[31m\u202e")
    assert ask(library, "SELECT title FROM videos WHERE id = 2") == [(r"red\x1b[31m\u202e",)]


def test_nothing_to_set_and_an_empty_title_are_wrong_usage(cli, library):
    cli("set", "2").refused("--context TEXT or --title TEXT", code=2)
    cli("set", "2", "--title", "  ").refused("write a title", code=2)
    cli("set", "2", "--title", "x" * 301).refused("write a title", code=2)
    assert cli("list", "--json").json[1]["title"] == "party"


def test_new_frames_are_described_with_the_new_context(cli, library, standin):
    cli("set", "1", "--context", "A walk in the hills")
    cli("describe", "1", "--frame", "0")
    assert "A walk in the hills" in standin.chats[-1].prompt


@pytest.fixture
def film(party, tmp_path):
    return shutil.copy(party, tmp_path / "film.mp4")


def test_a_moved_film_is_linked_again_and_waits_no_more(cli, film, tmp_path, home, standin):
    cli("add", film, "--sampling", "exact")
    moved = shutil.move(film, tmp_path / "elsewhere.mp4")
    assert cli("enrich").code == 1
    assert "is not there" in cli("list", "--json").json[0]["error"]
    said = cli("relink", "film", moved, "--json")
    assert (said.code, said.json) == (0, {"id": 1, "title": "film", "path": str(moved)})
    assert ask(home, "SELECT path, error FROM videos") == [(str(moved), None)]
    assert ask(home, "SELECT count(*) FROM tasks WHERE not_before IS NOT NULL") == [(0,)]
    assert cli("enrich").code == 0


def test_another_film_is_refused_and_nothing_changes(cli, film, numbers, tmp_path, home):
    cli("add", film)
    before = ask(home, "SELECT * FROM videos")
    cli("relink", "film", numbers).refused(f"{numbers} is not the same video as film", "everyframe add")
    cli("relink", "film", tmp_path / "gone.mp4").refused("gone.mp4 is not there")
    (tmp_path / "notes.mp4").write_text("no film")
    cli("relink", "film", tmp_path / "notes.mp4").refused("is not the same video")
    assert cli("relink", "film", tmp_path).code == 1
    assert ask(home, "SELECT * FROM videos") == before


def test_a_relative_path_is_kept_whole(cli, film, tmp_path, home, monkeypatch):
    cli("add", film)
    shutil.move(film, tmp_path / "elsewhere.mp4")
    monkeypatch.chdir(tmp_path)
    assert cli("relink", "1", "elsewhere.mp4").code == 0
    assert ask(home, "SELECT path FROM videos") == [(str(tmp_path / "elsewhere.mp4"),)]


def test_a_chapter_that_moved_belongs_to_the_recording_in_its_new_folder(cli, tmp_path, home):
    first = numbered_clip(tmp_path / "GOPR0123.MP4", frames=3)
    cli("add", first)
    (tmp_path / "card").mkdir()
    shutil.move(first, tmp_path / "card" / "GOPR0123.MP4")
    cli("relink", "1", tmp_path / "card" / "GOPR0123.MP4")
    assert ask(home, "SELECT recording FROM videos") == [(str(tmp_path / "card" / "GOPR0123"),)]


def test_remove_says_in_json_what_it_deleted(cli, library, party):
    cli("remove", "party", "--json").refused("12 pictures and 12 descriptions would be deleted", "--yes")
    said = cli("remove", "party", "--yes", "--json")
    assert said.code == 0
    assert said.json == {"id": 2, "title": "party", "path": str(party), "kept": 12, "described": 12}
    assert party.exists()


def test_a_film_that_is_an_error_for_good_keeps_its_error(cli, film, tmp_path, home):
    cli("add", film)
    change(home, "UPDATE videos SET extraction_status = 'failed', error = 'no pictures in it'")
    cli("relink", "1", shutil.move(film, tmp_path / "b.mp4"))
    assert ask(home, "SELECT error FROM videos") == [("no pictures in it",)]
