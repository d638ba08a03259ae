"""The command `verify`: output and exit codes."""

import pytest

from tests.cli.terminal import ask, change


def image_file(home, frame_id):
    [(name,)] = ask(home, f"SELECT image_path FROM frames WHERE id = {frame_id}")  # noqa: S608
    return home / "frames" / name


def test_consistent_library_is_one_line(cli, library):
    said = cli("verify")
    assert (said.code, said.out) == (0, "18 frames of 2 videos: no problems found.\n")
    assert cli("verify", "party", "--quick").out == "12 frames of 1 video: no problems found.\n"


def test_empty_library_is_consistent(cli):
    assert cli("verify").out == "0 frames of 0 videos: no problems found.\n"


def test_problem_has_place_and_fix(cli, library):
    image_file(library, 9).unlink()
    change(library, "UPDATE frames SET local_description = 'A cat.' WHERE id IN (1, 2)")
    said = cli("verify")
    assert said.code == 1
    first, second, last = said.out.splitlines()
    assert first.startswith(
        "numbers (1): 2 × description that differs from its model reply: frame 0 at 0.000 s; frame 5 at 0.200 s. Fix:"
    )
    assert second == ("party (2): 1 × missing image: frame 2 at 0.080 s. Fix: `everyframe verify --mend` recreates it")
    assert last == "18 frames of 2 videos: 3 problems found."


def test_problems_of_a_kind_are_grouped(cli, library):
    for frame_id in range(7, 19):
        image_file(library, frame_id).unlink()
    first, last = cli("verify", "--quick").out.splitlines()
    assert first.startswith("party (2): 12 × missing image: frame 0 at 0.000 s; ")
    assert " … and 7 more. Fix:" in first
    assert last.endswith("12 problems found.")


def test_mend_reports_repairs(cli, library):
    image_file(library, 9).unlink()
    said = cli("verify", "--mend")
    assert said.code == 0
    assert said.out.splitlines() == [
        "party (2): 1 × missing image: frame 2 at 0.080 s. Repaired: 1.",
        "18 frames of 2 videos: 1 problem found, 1 repaired.",
    ]
    assert cli("verify").code == 0


def test_verify_as_json(cli, library):
    image_file(library, 9).unlink()
    said = cli("verify", "--json")
    assert said.code == 1
    value = said.json
    [group] = value.pop("groups")
    nothing_to_do = {"to_describe": 0, "to_describe_quick": 0, "to_extract": []}
    assert value == {"videos": 2, "frames": 18, "problems": 1, "mended": 0, "left_out": []} | nothing_to_do
    assert (group["kind"], group["video_id"], group["count"]) == ("picture_missing", 2, 1)
    assert group["places"] == ["frame 2 at 0.080 s"]


def swap_images(home, one, other):
    first, second = image_file(home, one), image_file(home, other)
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def test_mend_says_what_is_described_again(cli, library, standin):
    swap_images(library, 9, 15)
    said = cli("verify", "--mend")
    step = (
        "Descriptions of wrong images were discarded: 2 frames to describe again. "
        "Run `everyframe enrich` or `everyframe start`."
    )
    assert said.code == 0
    assert said.out.splitlines() == [
        "party (2): 2 × image that does not show its frame: frame 2 at 0.080 s; frame 8 at 0.320 s. Repaired: 2.",
        "18 frames of 2 videos: 2 problems found, 2 repaired.",
        step,
    ]
    assert cli("verify").out.splitlines() == ["18 frames of 2 videos: no problems found.", step]
    assert cli("verify", "--json").json["to_describe"] == 2
    assert cli("verify", "numbers").out == "6 frames of 1 video: no problems found.\n"
    assert cli("enrich").code == 0
    assert sorted(number for number in standin.described if number is not None) == [102, 108]
    assert cli("verify").out == "18 frames of 2 videos: no problems found.\n"


def test_mend_says_what_is_extracted_again(cli, library):
    change(library, "UPDATE frames SET stands_for = 2 WHERE id = 9")
    assert "Fix: `everyframe verify --mend` queues the video for extraction again" in cli("verify").out
    said = cli("verify", "--mend")
    assert said.code == 1
    *groups, total, step = said.out.splitlines()
    assert all(
        line.endswith("Fix: the video is queued for extraction again: run `everyframe enrich`") for line in groups
    )
    assert total == "18 frames of 2 videos: 2 problems found."
    assert step == ("Queued for extraction again: 1 video (party). Run `everyframe enrich` or `everyframe start`.")
    assert cli("verify", "--mend", "--json").json["to_extract"] == ["party"]
    assert cli("enrich").code == 0
    assert cli("verify").out == "18 frames of 2 videos: no problems found.\n"


def test_unknown_video_is_refused(cli, library):
    cli("verify", "nope").refused("no video is called 'nope'")


@pytest.mark.parametrize("title", ["[red]x[/red]", "a\x1b[31mb"])
def test_titles_are_plain_text(cli, library, title):
    image_file(library, 9).unlink()
    change(library, "UPDATE videos SET title = ? WHERE id = 2", title)
    said = cli("verify")
    assert "\x1b" not in said.out
    assert "[red]x[/red] (2)" in said.out or r"a\x1b[31mb (2)" in said.out
