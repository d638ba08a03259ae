"""No command prints or exports control characters, markup or formulas of file names, models, users and servers."""

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from enrich.wording import printable
from tests.clips import numbered_clip
from tests.standin import Trick

HOSTILE = (
    "=cmd|' /C calc'!A0 \x1b[2J\x1b]8;;http://evil\x07link\x1b]8;;\x07 \x9b31m\x1b]0;title\x9c \r\b"
    "\u202egpj\u2066 \u200b\u2028\u2029\ufeff \U000e0041\U000e0042 [red]bold[/red] [link=http://evil]x[/link]"
    "\neveryframe: forged line\n+1+1"
)
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f\udc80-\udcff]"
)
FORGED = re.compile(r"^everyframe: forged line|^\+1\+1", re.MULTILINE)
COMMANDS = (
    ["list"],
    ["list", "--json"],
    ["show", "1"],
    ["show", "1", "--json"],
    ["show", "1", "--at", "0"],
    ["show", "1", "--frame", "0"],
    ["search", "bold"],
    ["search", "bold", "--json"],
    ["search", HOSTILE],
    ["status"],
    ["status", "--json"],
    ["costs"],
    ["costs", "--json"],
    ["plan", "8h"],
    ["verify"],
    ["verify", "--json"],
    ["export", "1"],
    ["export", "1", "--format", "json"],
    ["set", "1", "--title", HOSTILE],
    ["set", "1", "--context", HOSTILE],
    ["settings"],
    ["settings", "set", "model", HOSTILE],
    ["settings", "set", HOSTILE, "1"],
    ["first", "1", "--from", "0", "--to", "1"],
    ["strip", "1", "--frame", "2"],
    ["describe", "1", "--frame", "0"],
    ["retry"],
    ["remove", "1"],
    ["relink", "1", HOSTILE],
    ["show", HOSTILE],
    ["add", HOSTILE],
    ["estimate", HOSTILE],
    ["enrich", "1"],
    ["models"],
    ["models", "remove", HOSTILE],
    ["doctor"],
    [HOSTILE],
    ["export", "1", "-o", "/nowhere/" + HOSTILE],
    ["remove", "1", "--yes"],
)


@pytest.fixture
def hostile_library(library: Path) -> Path:
    """A library in which every text that a person, file, model or server may write is hostile."""
    warnings = json.dumps([{"problem": HOSTILE, "detail": HOSTILE}])
    with closing(sqlite3.connect(library / "library.db")) as connection, connection:
        connection.execute(
            "UPDATE videos SET title = ?1, camera = ?1, context = ?1, codec = ?1, error = ?1, warnings = ?2, path = ?3",
            (HOSTILE, json.dumps([HOSTILE]), "/videos/" + HOSTILE),
        )
        connection.execute("UPDATE videos SET path = path || id")
        connection.execute(
            "UPDATE frames SET local_description = ?1, local_tags = ?2, quick_description = ?1, quick_tags = ?2,"
            "edited_description = ?1, edited_tags = ?2, event_type = ?1",
            (HOSTILE, json.dumps([HOSTILE, "=1+1"])),
        )
        connection.execute("UPDATE tasks SET error = ?", (HOSTILE,))
        connection.execute("UPDATE tasks SET status = 'failed' WHERE frame_id IS NOT NULL AND video_id = 2")
        connection.execute("UPDATE analyses SET model = ?1, host = ?1, warnings = ?2", (HOSTILE, warnings))
        connection.execute("UPDATE runs SET reason = ?1, error = ?1, state = 'crashed'", (HOSTILE,))
    return library


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: printable(" ".join(words))[:30])
def test_output_has_no_character_that_a_terminal_acts_on(cli, hostile_library, standin, command):
    del hostile_library
    if command[0] == "enrich":
        standin.play(Trick.ERROR, stubborn=True)
    said = cli(*command)
    for text in (said.out, said.err):
        assert UNSAFE.search(text) is None, printable(text)
        if command != ["export", "1"]:  # in CSV a line break belongs to its cell
            assert FORGED.search(text) is None, text
    if "--json" in command or "json" in command:
        json.loads(said.out)


def test_hostile_file_names_are_added_without_a_trace(cli, tmp_path):
    name = HOSTILE.replace("/", "-") + ".mp4"
    folder = tmp_path / "films"
    folder.mkdir()
    numbered_clip(tmp_path / "clip.mp4", frames=3).rename(folder / name)
    (folder / f"{HOSTILE.replace('/', '-')}.mov").write_text("no video")
    for command in (["estimate", folder], ["add", folder], ["add", folder, "--json"], ["add", folder], ["list"]):
        said = cli(*command)
        assert UNSAFE.search(said.out + said.err) is None, printable(said.out + said.err)
        assert FORGED.search(said.out + said.err) is None


def test_exported_cells_are_no_formulas(cli, hostile_library):
    del hostile_library
    rows = list(csv.reader(io.StringIO(cli("export", "1").out)))
    cells = [cell for row in rows[1:] for cell in row]
    assert any("cmd" in cell for cell in cells)
    for cell in cells:
        for part in re.split(r"[;\t\n]", cell):
            start = part.lstrip(" '\"")[:1]
            quoted = part.lstrip(" ")[:1] == "'"
            assert quoted or start not in set("=+-@|%") or re.fullmatch(r"-?[\d.e-]+", part.strip()), cell


def test_exported_json_keeps_every_character(cli, hostile_library):
    del hostile_library
    exported = cli("export", "1", "--format", "json").json
    assert exported["frames"][0]["description"] == HOSTILE
