"""The commands show and search."""

import re

import pytest

from db.models import Frame
from tests.cli.terminal import change
from tests.clips import read_jpeg, read_number


def test_show_prints_video_and_frames(cli, library, numbers):
    said = cli("show", "numbers")
    assert said.code == 0
    assert said.out.startswith(f"numbers (1)\n  {numbers}\n  0:01.200, 320×180, h264, 25 fps, every=0.2s\n")
    assert "\n  status: extracted, described\n" in said.out
    assert "30 source frames, 6 kept, 6 described (representing 30), 0 failed" in said.out
    assert "0:00.200  frame 5 (×5)  Frame number 5: black and white squares above a red band." in said.out


def test_show_says_waiting_once(cli, party):
    cli("add", party)
    assert "\n  status: waiting\n" in cli("show", "1").out


def test_show_json_keys_are_the_columns(cli, library):
    value = cli("show", "1", "--json").json
    columns = {column.name for column in Frame.__table__.columns}
    assert all(set(frame) == columns | {"description", "tags", "error", "warnings"} for frame in value["frames"])
    assert (value["video"]["id"], len(value["frames"])) == (1, 6)


def test_show_names_the_command_for_more_frames(cli, library):
    said = cli("show", "2", "--limit", "5")
    assert "… 7 more frames: everyframe show 2 --limit 12" in said.out


@pytest.mark.parametrize("index", range(30))
def test_every_source_frame_can_be_shown(cli, library, index, tmp_path):
    kept = index // 5 * 5
    image = tmp_path / "shown.jpg"
    said = cli("show", "numbers", "--frame", str(index), "--save", image)
    assert said.code == 0
    head, relation = said.out.splitlines()[:2]
    assert head == f"numbers, frame {index}, at 0:0{index // 25}.{index % 25 * 40:03d}"
    if index == kept:
        assert relation == "kept; represents 5 frames"
    else:
        assert re.fullmatch(rf"represented by frame {kept}, likeness [01]\.\d\d", relation)
    assert f"deep: Frame number {kept}: " in said.out
    assert read_number(read_jpeg(image)) == index


def test_source_frame_json_has_its_kept_frame(cli, library):
    value = cli("show", "1", "--frame", "7", "--json").json
    assert (value["video_id"], value["index"], value["timestamp"], value["is_kept"]) == (1, 7, 0.28, False)
    assert 0 <= value["likeness"] < 1
    assert (value["stood_for_by"]["index"], value["stood_for_by"]["stands_for"]) == (5, 5)
    kept = cli("show", "1", "--frame", "5", "--json").json
    assert (kept["is_kept"], kept["likeness"]) == (True, 1.0)


@pytest.mark.parametrize(
    ("moment", "index"), [("0", 0), ("0.05", 1), ("0.2", 5), ("0.27", 6), ("1.19", 29), ("99", 29)]
)
def test_at_selects_the_frame_at_that_time(cli, library, moment, index):
    assert cli("show", "1", "--at", moment, "--json").json["index"] == index


def test_frame_beyond_the_end_is_refused(cli, library):
    cli("show", "1", "--frame", "30").refused("has no frame 30: it has 30 frames, 0 to 29")


def test_frame_of_an_unextracted_video_is_shown(cli, party):
    cli("add", party)
    said = cli("show", "1", "--frame", "3")
    assert said.code == 0
    assert said.out.startswith("party, frame 3, at 0:00.120\n")
    assert "everyframe extract" in said.out


def test_frame_of_a_missing_video_is_refused(cli, party, tmp_path, home):
    video = tmp_path / "video.mp4"
    video.write_bytes(party.read_bytes())
    cli("add", video)
    video.unlink()
    cli("show", "1", "--frame", "3").refused("video.mp4 does not exist")


def test_frame_and_at_exclude_each_other(cli, library, tmp_path):
    cli("show", "1", "--frame", "1", "--at", "2").refused("--frame", "--at", code=2)
    cli("show", "1", "--save", tmp_path / "x.jpg").refused("--frame", "--at", code=2)
    cli("show", "1", "--frame", "-1").refused("--frame", code=2)
    cli("show", "1", "--frame", "one").refused("--frame", code=2)


def test_failed_save_is_one_line(cli, library, tmp_path):
    cli("show", "1", "--frame", "1", "--save", tmp_path / "no" / "x.jpg").refused("cannot write", "x.jpg")


def test_descriptions_are_printed_as_plain_text(cli, library):
    loud = "[red]Erna[/red] \x1b[31mlaughs[bold]\x07"
    change(library, "UPDATE frames SET local_description = ?, edited_description = ? WHERE id = 1", loud, "[link]you")
    change(library, "UPDATE search_documents SET text = ? WHERE frame_id = 1", loud)
    for said in (cli("show", "1", "--frame", "0"), cli("show", "1"), cli("search", "Erna")):
        assert said.code == 0
        assert "\x1b" not in said.out
        assert "\x07" not in said.out
    assert r"deep: [red]Erna[/red] \x1b[31mlaughs[bold]\x07" in cli("show", "1", "--frame", "0").out
    assert "you: [link]you" in cli("show", "1", "--frame", "0").out
    assert "[red][Erna][/red]" in cli("search", "Erna").out


def test_search_prints_video_time_frame_and_snippet(cli, library):
    head, hit = cli("search", "number", "15").out.splitlines()
    assert head.split() == ["VIDEO", "TIME", "FRAME", "SOURCE", "MATCH"]
    assert hit.split()[:4] == ["numbers", "0:00.600", "15", "deep"]
    assert "Frame [number] [15]: black and white squares above a green band." in hit


def test_search_json_keys_are_the_columns(cli, library):
    value = cli("search", "purple", "--json", "--limit", "3").json
    assert value["every_word"] is True
    assert len(value["hits"]) == 3
    for hit in value["hits"]:
        assert {"frame_id", "video_id", "index", "timestamp", "stands_for", "image_path"} <= set(hit)
        assert "[purple]" in hit["snippet"]
        assert (hit["title"], hit["source"]) == ("party", "deep")


def test_own_texts_rank_before_deep_and_quick(cli, library):
    change(library, "UPDATE search_documents SET text = 'a cake' WHERE frame_id IN (1, 2, 3)")
    change(library, "UPDATE search_documents SET source = 2, text = 'cake cake cake' WHERE frame_id = 1")
    change(library, "UPDATE search_documents SET source = 0, text = 'long ago there was a cake' WHERE frame_id = 3")
    assert [hit["source"] for hit in cli("search", "cake", "--json").json["hits"]] == ["person", "deep", "quick"]


def test_search_within_one_video(cli, library):
    assert {hit["video_id"] for hit in cli("search", "squares", "--json").json["hits"]} == {1, 2}
    assert {hit["video_id"] for hit in cli("search", "squares", "--video", "party", "--json").json["hits"]} == {2}
    cli("search", "squares", "--video", "nope").refused("no video is called 'nope'")


def test_search_falls_back_to_some_of_the_words(cli, library):
    said = cli("search", "purple", "elephant")
    assert said.out.startswith("No frame matches all of these words. These match some:\n")
    assert "[purple]" in said.out


@pytest.mark.parametrize(
    "words",
    ['"', "((", "AND", "purple AND", "NEAR(", "*", "-", "a:b", "text:purple", "^", "'; DROP TABLE frames; --", "",
     "\udcff", "\x1b[", "purple OR", '"purple', "好", "{}", "rowid"],
)  # fmt: skip
def test_any_search_text_is_accepted(cli, library, words):
    said = cli("search", "--", words)
    assert (said.code, said.err) == (0, "")
    assert cli("list").code == 0


def test_search_without_results(cli, library):
    assert cli("search", "elephant").out == "No results.\n"
    assert cli("search", "elephant", "--json").json == {"every_word": True, "hits": []}
