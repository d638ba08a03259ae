"""The commands add, list, remove and export."""

import csv
import io
import json
import os
import shutil
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

from db.models import Frame, Video
from db.queries import FrameRow, VideoRow
from tests.cli.terminal import ask, change
from tests.clips import numbered_clip

NASTY = 'She said: "hé, [bold]好[/bold]"\nand left;, \ttwice — 🎉'


def test_add_prints_frames_time_and_disk(cli, clips):
    said = cli("add", clips)
    assert said.code == 0
    assert "added    1 numbers: 1 s, 320×180" in said.out
    assert "Frames:  42 in 2 videos, about 5 to describe (distinct:normal, rough estimate)" in said.out
    assert "Time:    not measured with llava:13b on this computer" in said.out
    assert "Disk:    about" in said.out
    assert "everyframe enrich" in said.out
    assert said.err == ""


def test_known_video_is_reported(cli, party):
    cli("add", party)
    said = cli("add", party)
    assert (said.code, said.out) == (0, "known    1 party: under 1 s, 320×180 (already in the library)\n")


def test_moved_video_is_recognized(cli, party, tmp_path):
    first = shutil.copy(party, tmp_path / "a.mp4")
    cli("add", first)
    second = shutil.move(first, tmp_path / "b.mp4")
    said = cli("add", second, "--json")
    assert [(row["video_id"], row["outcome"]) for row in said.json] == [(1, "moved")]
    assert cli("list", "--json").json[0]["path"] == str(second)


def test_add_json_keys_are_the_columns(cli, party, tmp_path):
    said = cli("add", party, tmp_path / "nothing.mp4", "--json")
    assert said.code == 1
    good, bad = said.json
    assert set(good) - {"outcome", "was_named", "video_id", "note"} <= {
        column.name for column in Video.__table__.columns
    }
    assert (good["video_id"], good["outcome"], good["frame_count"], good["error"]) == (1, "added", 12, None)
    assert (good["title"], good["was_named"]) == ("party", True)
    assert (bad["video_id"], bad["outcome"]) == (None, "failed")
    assert "nothing.mp4" in bad["error"]


def test_ignored_files_in_a_folder_are_listed(cli, party, tmp_path):
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(party, folder / "deeper" / "video.MP4")
    (folder / "notes.txt").write_text("not a video")
    (folder / ".hidden.mp4").write_text("not a video either")
    said = cli("add", folder)
    assert said.code == 0
    assert f"skipped  {folder / 'notes.txt'} (not a video file type)" in said.out
    assert "video: under 1 s" in said.out
    assert f"skipped  {folder / '.hidden.mp4'} (hidden)" in said.out


def test_many_ignored_files_are_shortened(cli, party, tmp_path):
    folder = tmp_path / "card"
    folder.mkdir()
    for number in range(14):
        (folder / f"GX{number:02}0001.THM").write_bytes(b"tiny")
    shutil.copy(party, folder / "video.mp4")
    said = cli("add", folder)
    assert f"skipped  {folder / 'GX000001.THM'} and 13 more (camera thumbnail)" in said.out
    assert said.out.count("skipped") == 1
    assert len(cli("add", folder, "--json").json) == 15


def test_raw_footage_is_refused_with_the_fix(cli, party, tmp_path):
    (tmp_path / "A001.braw").write_bytes(bytes(2000))
    shutil.copy(party, tmp_path / "video.mp4")
    in_folder, named = cli("add", tmp_path), cli("add", tmp_path / "A001.braw")
    assert (in_folder.code, named.code) == (0, 1)
    for said in (in_folder, named):
        assert "Blackmagic RAW, which EveryFrame cannot read: export it as ProRes or H.264" in said.err


def test_log_footage_gets_a_warning(cli, tmp_path):
    numbered_clip(tmp_path / "grey.mov", frames=2, tags={"com.vendor.gamma": "S-Log3"})
    said = cli("add", tmp_path / "grey.mov")
    assert said.code == 0
    assert "warning  1 grey: recorded with S-Log3" in said.out
    assert "1 grey: recorded with S-Log3" in cli("list").out
    assert "S-Log3" in cli("list", "--json").json[0]["warnings"][0]
    assert "S-Log3" in cli("add", tmp_path / "grey.mov", "--json").json[0]["warnings"][0]


def test_chapters_are_grouped_with_their_totals(cli, tmp_path):
    folder = tmp_path / "card"
    folder.mkdir()
    for number, name in enumerate(("GP010123.MP4", "GOPR0123.MP4", "GH010200.MP4", "GP020123.MP4")):
        numbered_clip(folder / name, frames=50, first=number * 100, size=(64, 36))
        cli("add", folder / name)
    lines = [line.split() for line in cli("list").out.splitlines()]
    assert lines[1][:4] == ["GOPR0123", "(3", "chapters)", "0:06"]
    assert lines[1][4:6] == ["about", "150"]
    assert [line[:3] for line in lines[2:5]] == [
        ["2", "·", "GOPR0123"],
        ["1", "·", "GP010123"],
        ["4", "·", "GP020123"],
    ]
    assert lines[5][:2] == ["3", "GH010200"]
    assert [(row["recording"], row["chapter"]) for row in cli("list", "--json").json] == [
        (str(folder / "GOPR0123"), 2),
        (str(folder / "GOPR0123"), 1),
        (str(folder / "GH*0200"), 1),
        (str(folder / "GOPR0123"), 3),
    ]


def test_video_without_a_length(cli, tmp_path):
    said = cli("add", numbered_clip(tmp_path / "raw.h264", frames=5))
    assert "raw: length unknown, 320×180" in said.out
    assert "unknown" in cli("list").out


def test_broken_video_in_a_folder_is_named(cli, party, tmp_path):
    shutil.copy(party, tmp_path / "good.mp4")
    (tmp_path / "broken.mp4").write_text("not a video at all" * 300)
    said = cli("add", tmp_path)
    assert said.code == 0
    assert "broken.mp4 is not a video" in said.err
    assert said.err.count("\n") == 1
    assert "added    1 good" in said.out


def test_named_broken_video_fails_after_the_others(cli, party, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video at all" * 300)
    said = cli("add", broken, tmp_path / "gone.mp4", party)
    assert said.code == 1
    assert "added    1 party" in said.out
    assert [line.split(": ", 1)[0] for line in said.err.splitlines()] == ["everyframe", "everyframe"]
    assert "Traceback" not in said.err


def test_folder_without_videos(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    assert cli("add", tmp_path / "empty").out == "No videos found.\n"


@pytest.mark.parametrize("name", ["[red]loud[bold].mp4", "-a 'b\" $c;.mp4", "über 好 🎉.mp4", "a:b%20.mp4"])
def test_odd_file_names_work(cli, tmp_path, name):
    numbered_clip(tmp_path / "made.mp4", frames=2).rename(tmp_path / name)
    assert cli("add", tmp_path / name).code == 0
    assert Path(name).stem in cli("list").out
    said = cli("show", tmp_path / name)
    assert said.code == 0
    assert Path(name).stem in said.out
    assert str(tmp_path / name) in said.out


def test_control_characters_in_names_are_escaped(cli, tmp_path):
    name = "esc\x1b[31m\nnew\u202eline.mp4"
    numbered_clip(tmp_path / "made.mp4", frames=2).rename(tmp_path / name)
    for said in (cli("add", tmp_path / name), cli("list"), cli("show", "1"), cli("list", "--json")):
        assert said.code == 0
        assert "\x1b" not in said.out
        assert "\u202e" not in said.out
    assert cli("list", "--json").json[0]["path"] == str(tmp_path / name)
    assert r"esc\x1b[31m" in cli("list").out


def test_undecodable_ignored_name_is_listed(cli, tmp_path):
    (tmp_path / os.fsdecode(b"old\xff.txt")).write_text("")
    said = cli("add", tmp_path)
    assert (said.code, said.err) == (0, "")
    assert r"old\udcff.txt" in said.out
    assert cli("add", tmp_path, "--json").json[0]["path"] == str(tmp_path / os.fsdecode(b"old\xff.txt"))


def test_undecodable_video_name_does_not_stop_the_others(cli, party, tmp_path):
    shutil.copy(party, tmp_path / os.fsdecode(b"bad\xff.mp4"))
    numbered_clip(tmp_path / "good.mp4", frames=3)
    said = cli("add", tmp_path)
    assert r"bad\udcff.mp4" in said.err
    assert "details:" not in said.err
    assert "good: under 1 s" in said.out


def test_context_and_sampling_are_stored(cli, party):
    cli("add", party, "--context", "Erna's [80th] birthday", "--likeness", "strict")
    (video,) = cli("list", "--json").json
    assert (video["context"], video["sampling"]) == ("Erna's [80th] birthday", "distinct:strict")
    assert "context: Erna's [80th] birthday" in cli("show", "1").out


@pytest.mark.parametrize(("option", "value"), [("--sampling", "often"), ("--likeness", "very")])
def test_invalid_sampling_is_wrong_usage(cli, party, home, option, value):
    cli("add", party, option, value).refused(option, f"'{value}'", "everyframe add --help", code=2)
    assert not home.exists()


def test_empty_library_says_how_to_start(cli):
    said = cli("list")
    assert said.code == 0
    assert "everyframe add PATH" in said.out
    assert cli("list", "--json").json == []


def test_list_counts_kept_described_and_covered(cli, library):
    head, numbers, party = cli("list").out.splitlines()
    assert head.split() == ["ID", "TITLE", "LENGTH", "FRAMES", "KEPT", "DESCRIBED", "COVERED", "FAILED", "STATUS"]
    assert numbers.split() == ["1", "numbers", "0:01", "30", "6", "6", "30", "described"]
    assert party.split() == ["2", "party", "0:00", "12", "12", "12", "12", "described"]


def test_list_json_keys_are_the_columns(cli, library):
    rows = cli("list", "--json").json
    columns = {column.name for column in Video.__table__.columns}
    counted = {"kept", "described", "covered", "failed", "locations", "damage"}
    of_clock = {"epochs", "first_epoch_end", "is_steady", "clock_offset"}
    assert all(set(row) == columns | counted | of_clock for row in rows)
    assert {field.name for field in fields(VideoRow)} | {"damage"} == set(rows[0])


def test_unextracted_video_shows_an_estimate(cli, party):
    cli("add", party)
    assert "about 12" in cli("list").out
    assert "about 12 source frames" in cli("show", "1").out


def test_video_of_unknown_length_is_listed(cli, party, home):
    cli("add", party)
    change(home, "UPDATE videos SET frame_count = NULL, duration = NULL, fps = NULL")
    for said in (cli("list"), cli("show", "1")):
        assert said.code == 0
        assert "about ?" in said.out
        assert "None" not in said.out


def test_remove_without_a_terminal_needs_yes(cli, library):
    cli("remove", "party").refused("pass --yes to delete party: 12 images and 12 descriptions")
    assert len(cli("list", "--json").json) == 2


def test_remove_deletes_rows_and_images_not_the_file(cli, library, party):
    before = party.read_bytes()
    images = sorted((library / "frames").rglob("*.jpg"))
    said = cli("remove", "party", "--yes")
    assert said.code == 0
    assert f"The file {party} is unchanged" in said.out
    assert party.read_bytes() == before
    assert [row["title"] for row in cli("list", "--json").json] == ["numbers"]
    left = sorted((library / "frames").rglob("*.jpg"))
    assert len(images) - len(left) == 12
    assert ask(library, "SELECT count(*) FROM frames WHERE video_id = 2") == [(0,)]
    assert "No results" in cli("search", "purple").out


def test_unknown_video_cannot_be_removed(cli, library):
    cli("remove", "wedding", "-y").refused("no video is called 'wedding'", "everyframe list")


def test_part_of_two_titles_is_ambiguous(cli, library):
    cli("remove", "r", "-y").refused("'r' matches 2 videos (1 numbers, 2 party): use the number")


def wrote_something(home: Path) -> None:
    change(home, "UPDATE frames SET edited_description = ?, edited_tags = ? WHERE id = 1", NASTY, '["a, b", "c;d"]')


def test_csv_round_trip(cli, library):
    wrote_something(library)
    said = cli("export", "1", "--format", "csv")
    assert said.code == 0
    rows = list(csv.DictReader(io.StringIO(said.out, newline="")))
    assert len(rows) == 6
    assert rows[0]["description"] == rows[0]["edited_description"] == NASTY
    assert rows[0]["tags"] == "a, b; c;d"
    assert rows[1]["description"].startswith("Frame number 5:")
    assert [int(row["index"]) for row in rows] == [0, 5, 10, 15, 20, 25]
    assert sum(int(row["stands_for"]) for row in rows) == 30
    table = pd.read_csv(io.StringIO(said.out))
    assert table["description"][0] == NASTY
    assert table["timestamp"][1] == 0.2


@pytest.mark.parametrize("text", ["=1+1", "+1", "-a", "@SUM(A1)", "\t=1"])
def test_csv_cells_are_never_formulas(cli, library, text):
    values = (text, json.dumps([text]))
    change(library, 'UPDATE frames SET local_description = ?, local_tags = ? WHERE "index" = 0', *values)
    [row, *_] = csv.DictReader(io.StringIO(cli("export", "1", "--format", "csv").out, newline=""))
    assert (row["local_description"], row["local_tags"]) == (f"'{text}", f"'{text}")
    assert float(row["timestamp"]) == 0.0, "numbers stay numbers"


def test_line_ends_of_a_text_do_not_break_the_csv(cli, library):
    change(library, 'UPDATE frames SET local_description = ? WHERE "index" = 0', "one\rtwo\r\nthree")
    [row, *others] = csv.DictReader(io.StringIO(cli("export", "1", "--format", "csv").out, newline=""))
    assert row["local_description"] == "one\ntwo\nthree"
    assert len(others) == 5


def test_json_round_trip(cli, library):
    wrote_something(library)
    said = cli("export", "numbers", "--format", "json")
    value = said.json
    assert value["video"]["title"] == "numbers"
    first, second = value["frames"][:2]
    assert (first["description"], first["tags"]) == (NASTY, ["a, b", "c;d"])
    assert first["local_description"].startswith("Frame number 0:")
    assert second["description"] == second["local_description"]
    assert "好" in said.out  # readable, not escaped


def test_export_columns_are_the_tables(cli, library):
    expected = {column.name for column in Frame.__table__.columns} | {"description", "tags", "error", "warnings"}
    assert set(csv.DictReader(io.StringIO(cli("export", "1").out)).fieldnames or ()) == expected
    assert all(set(row) == expected for row in cli("export", "1", "--format", "json").json["frames"])
    assert {field.name for field in fields(FrameRow)} <= expected


def test_video_without_frames_exports_the_header(cli, party):
    cli("add", party)
    said = cli("export", "1")
    assert said.code == 0
    assert said.out.count("\n") == 1
    assert said.out.startswith("index,timestamp,stands_for,scene,description,tags,id,")


def test_export_writes_a_file(cli, library, tmp_path):
    target = tmp_path / "out.json"
    said = cli("export", "1", "--format", "json", "--output", target)
    assert said.out == f"Wrote 6 frames of numbers to {target}\n"
    assert len(json.loads(target.read_text(encoding="utf-8"))["frames"]) == 6


def test_unwritable_export_is_one_line(cli, library, tmp_path):
    cli("export", "1", "-o", tmp_path / "no" / "where.csv").refused("cannot write", "where.csv: No such file")


def test_unknown_format_is_wrong_usage(cli, library):
    cli("export", "1", "--format", "xml").refused("--format", "xml", code=2)


def test_titles_match_the_order_of_the_paths(cli, party, numbers):
    added = cli("add", party, numbers, "--title", "Our  party", "--title", "")
    assert added.code == 0
    assert "(as Our party)" in added.out
    assert [row["title"] for row in cli("list", "--json").json] == ["Our party", "numbers"]
    refused = cli("add", party, numbers, "--title", "one for both")
    assert refused.code == 2
    assert "one title for each PATH" in refused.err


def test_lines_prints_one_line_per_file(cli, clips, tmp_path):
    (tmp_path / "notes.mp4").write_text("not a video")
    said = cli("add", clips, tmp_path / "notes.mp4", "--json", "--lines")
    first, *lines = [json.loads(line) for line in said.out.splitlines()]
    assert first == {"total": 3}
    assert [line["outcome"] for line in lines] == ["added", "added", "failed"]
    assert said.code == 1
