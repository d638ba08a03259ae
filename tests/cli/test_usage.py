"""Help, wrong usage, and unexpected errors."""

import re
import tomllib
from pathlib import Path

import pytest

from enrich import wording
from enrich.cli.options import open_library
from tests.cli.terminal import PROJECT, run_process

COMMANDS = (
    *("doctor", "models", "add", "estimate", "extract", "enrich", "worker", "list", "show", "remove", "retry"),
    *("search", "export", "migrate", "demo", "audit", "verify", "first"),
    *("start", "pause", "resume", "stop", "status"),
    *("plan", "strip", "describe", "audition", "set", "relink", "dashboard", "settings"),
    *("quick", "costs"),
)


def test_help_lists_every_command_with_a_full_sentence(cli):
    said = cli("--help")
    assert said.code == 0
    listed = dict(re.findall(r"^  ([a-z]+) {2,}(.+)$", said.out.split("Commands:")[1], re.MULTILINE))
    assert sorted(listed) == sorted(COMMANDS)
    assert all(text.endswith(".") and not text.endswith("...") for text in listed.values())


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), ["models", "pull"]], ids=" ".join)
def test_every_command_has_help(cli, command, home):
    said = cli(*command, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: everyframe {' '.join(command)} ")
    assert not home.exists()


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), ["models", "pull"]], ids=" ".join)
def test_unknown_option_names_the_help(cli, command, home):
    cli(*command, "--frobnicate").refused("--frobnicate", f"`everyframe {' '.join(command)} --help`", code=2)
    assert not home.exists()


@pytest.mark.parametrize(
    "command",
    [
        ["nope"], ["add"], ["estimate"], ["show"], ["remove"], ["search"], ["export"], ["models", "push"],
        ["enrich", "--limit", "0"], ["enrich", "--limit", "many"], ["enrich", "--within", "tomorrow"],
        ["enrich", "--within", "-1h"], ["enrich", "--describer", "claude9"], ["search", "x", "--limit", "0"],
        ["show", "1", "--limit", "0"], ["show", "1", "2"], ["list", "1"], ["estimate", "x", "--sampling", "every=0s"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_exits_2_without_creating_a_library(cli, command, home):
    cli(*command).refused("--help`", code=2)
    assert not home.exists()


def test_version_is_that_of_pyproject_and_needs_no_library(cli, home):
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = cli("--version")
    assert (said.code, said.out, said.err) == (0, f"everyframe {project['version']}\n", "")
    assert not home.exists()


def test_no_command_shows_the_help(cli):
    assert cli().out == cli("--help").out


def test_unexpected_error_is_one_line_with_a_private_report(cli, monkeypatch, home):
    def broken(*_):
        raise RuntimeError("the [red]roof\n is on fire")

    monkeypatch.setattr("enrich.cli.videos.open_library", broken)
    said = cli("list")
    said.refused("RuntimeError: the [red]roof is on fire (details: ")
    details = Path(re.search(r"\(details: (.+)\)", said.err)[1])
    assert details.is_relative_to(home / "logs")
    assert details.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in details.read_text(encoding="utf-8")
    assert "in broken" in details.read_text(encoding="utf-8")


def test_unexpected_error_without_a_folder_for_its_report_is_one_line(cli, monkeypatch, home):
    def broken(*_):
        raise RuntimeError("the roof is on fire")

    monkeypatch.setattr("enrich.cli.videos.open_library", broken)
    home.touch()  # a file in place of the data folder
    said = cli("list")
    said.refused("RuntimeError: the roof is on fire")
    assert "details" not in said.err


def test_errors_name_no_secret(cli, monkeypatch, home):
    reply = "A wedding in a garden. " * 17 + "postgresql://anna:lang-geheim@box " + "and so on. " * 100

    def broken(*_):
        raise RuntimeError(f"sk-ant-api03-abcdefgh, postgresql://anna:ge%2Fheim@box/films refused: {reply}")

    monkeypatch.setattr("enrich.cli.videos.open_library", broken)
    said = cli("list")
    [report] = (home / "logs").iterdir()
    for text in (said.err, report.read_text(encoding="utf-8")):
        assert "abcdefgh" not in text
        assert "heim" not in text
        assert text.count("garden") < 20
    assert "postgresql://anna:[key]@box" in report.read_text(encoding="utf-8")


def test_address_that_is_cut_in_an_error_shows_no_password(cli, monkeypatch):
    def broken(*_):
        raise RuntimeError(f"{'x' * 130} postgresql://anna:lang-geheim@box/films refused")

    monkeypatch.setattr("enrich.cli.videos.open_library", broken)
    assert "lang" not in cli("list").err


def test_interrupt_exits_130_without_a_traceback(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("enrich.cli.videos.open_library", interrupted)
    said = cli("list")
    assert (said.code, said.out, said.err) == (130, "", "")


def test_the_installed_command_works_from_anywhere(tmp_path, party):
    said = run_process("estimate", party, cwd=tmp_path)
    assert (said.code, said.err) == (0, "")
    assert "Frames:  12 in 1 video," in said.out
    assert run_process("estimate", "nothing.mp4", cwd=tmp_path).err.startswith(f"everyframe: {tmp_path}/nothing.mp4")


def test_undecodable_name_is_one_line():
    run_process("show", b"\xff\xfe").refused("no video is called")


def test_open_library_creates_a_library(home):
    open_library().engine.dispose()
    assert (home / "library.db").exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "not measured"), (0, "under 1 s"), (0.6, "1 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"),
     (12_000, "3 h 20 min"), (90_000, "1 d 1 h"), (86_399, "23 h 59 min")],
)  # fmt: skip
def test_duration_has_its_two_largest_units(seconds, text):
    assert wording.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (0, "0:00.000"), (59.9996, "1:00.000"), (3723.45, "1:02:03.450"), (-0.5, "-0:00.500")],
)
def test_timestamp_format(seconds, text):
    assert wording.format_timestamp(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28_800), ("1h30m", 5400), ("45s", 45), ("90", 90), (" 1 H ", 3600), ("0.5h", 1800)]
)
def test_durations_are_parsed(text, seconds):
    assert wording.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "8x", "-1h", "1h-", "nan", "1h 30"])
def test_invalid_durations_are_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        wording.parse_duration(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (51_840, "52 kB"), (1_250_000, "1.2 MB"), (8e9, "8.0 GB"), (2e15, "2000.0 TB")],
)
def test_size_has_a_fitting_unit(count, text):
    assert wording.format_bytes(count) == text
