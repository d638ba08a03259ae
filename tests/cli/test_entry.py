"""The commands set, relink and remove: they change the entry of a video, never its file."""

import shutil

import pytest

from tests.cli.terminal import ask, change
from tests.clips import numbered_clip


def test_set_title_and_context(cli, library):
    said = cli("set", "party", "--title", "  Erna's \n [80th] birthday ", "--context", "In the garden")
    assert (said.code, said.out, said.err) == (0, "2 Erna's [80th] birthday: In the garden\n", "")
    assert cli("show", "80th").code == 0
    said = cli("set", "2", "--context", "", "--json")
    assert said.json == {"id": 2, "title": "Erna's [80th] birthday", "context": ""}
    assert ask(library, "SELECT title, context FROM videos WHERE id = 1") == [("numbers", "")]


def test_control_characters_in_a_title_are_escaped(cli, library):
    cli("set", "2", "--title", "red\x1b[31m\u202e")
    assert ask(library, "SELECT title FROM videos WHERE id = 2") == [(r"red\x1b[31m\u202e",)]


def test_set_without_values_or_bad_title_is_wrong_usage(cli, library):
    cli("set", "2").refused("--context TEXT or --title TEXT", code=2)
    cli("set", "2", "--title", "  ").refused("a title must have", code=2)
    cli("set", "2", "--title", "x" * 301).refused("a title must have", code=2)
    assert cli("list", "--json").json[1]["title"] == "party"


def test_new_context_is_used_for_new_frames(cli, library, standin):
    cli("set", "1", "--context", "A walk in the hills")
    cli("describe", "1", "--frame", "0")
    assert "A walk in the hills" in standin.chats[-1].prompt


@pytest.fixture
def video(party, tmp_path):
    return shutil.copy(party, tmp_path / "video.mp4")


def test_relink_moved_video(cli, video, tmp_path, home, standin):
    cli("add", video, "--sampling", "exact")
    moved = shutil.move(video, tmp_path / "elsewhere.mp4")
    assert cli("enrich").code == 1
    assert "does not exist" in cli("list", "--json").json[0]["error"]
    said = cli("relink", "video", moved, "--json")
    assert (said.code, said.json) == (0, {"id": 1, "title": "video", "path": str(moved)})
    assert ask(home, "SELECT path, error FROM videos") == [(str(moved), None)]
    assert ask(home, "SELECT count(*) FROM tasks WHERE not_before IS NOT NULL") == [(0,)]
    assert cli("enrich").code == 0


def test_relink_to_a_different_video_is_refused(cli, video, numbers, tmp_path, home):
    cli("add", video)
    before = ask(home, "SELECT * FROM videos")
    cli("relink", "video", numbers).refused(f"{numbers} is not the same video as video", "everyframe add")
    cli("relink", "video", tmp_path / "gone.mp4").refused("gone.mp4 does not exist")
    (tmp_path / "notes.mp4").write_text("not a video")
    cli("relink", "video", tmp_path / "notes.mp4").refused("is not the same video")
    assert cli("relink", "video", tmp_path).code == 1
    assert ask(home, "SELECT * FROM videos") == before


def test_relink_stores_an_absolute_path(cli, video, tmp_path, home, monkeypatch):
    cli("add", video)
    shutil.move(video, tmp_path / "elsewhere.mp4")
    monkeypatch.chdir(tmp_path)
    assert cli("relink", "1", "elsewhere.mp4").code == 0
    assert ask(home, "SELECT path FROM videos") == [(str(tmp_path / "elsewhere.mp4"),)]


def test_relinked_chapter_joins_the_recording_in_its_folder(cli, tmp_path, home):
    first = numbered_clip(tmp_path / "GOPR0123.MP4", frames=3)
    cli("add", first)
    (tmp_path / "card").mkdir()
    shutil.move(first, tmp_path / "card" / "GOPR0123.MP4")
    cli("relink", "1", tmp_path / "card" / "GOPR0123.MP4")
    assert ask(home, "SELECT recording FROM videos") == [(str(tmp_path / "card" / "GOPR0123"),)]


def test_remove_as_json(cli, library, party):
    cli("remove", "party", "--json").refused("pass --yes to delete party: 12 images and 12 descriptions")
    said = cli("remove", "party", "--yes", "--json")
    assert said.code == 0
    assert said.json == {"id": 2, "title": "party", "path": str(party), "kept": 12, "described": 12}
    assert party.exists()


def test_relink_keeps_a_permanent_error(cli, video, tmp_path, home):
    cli("add", video)
    change(home, "UPDATE videos SET extraction_status = 'failed', error = 'no pictures in it'")
    cli("relink", "1", shutil.move(video, tmp_path / "b.mp4"))
    assert ask(home, "SELECT error FROM videos") == [("no pictures in it",)]
