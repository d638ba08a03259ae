"""The command `audit`: output and exit codes."""

import signal

import pytest

from db import store
from enrich.errors import LibraryError
from tests.cli.terminal import COMMAND, ask, running
from tests.waiting import wait_until


def test_audit_prints_plan_and_result(cli, library, standin):
    said = cli("audit", "numbers", "--sample", "10", "--seed", "3")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "numbers: comparing 10 of 24 skipped frames (seed 3)"
    assert lines[1].startswith("About 1")
    assert " requests to llava:13b; estimated time: " in lines[1]
    assert lines[2] == "0 of 10 skipped frames were redundant; the others differ from the kept frame:"
    assert "represented by frame " in lines[3]
    assert "the image differs (likeness " in lines[3]
    assert lines[4].startswith("    kept:    Frame number ")
    assert lines[5].startswith("    skipped: Frame number ")
    assert lines[6].startswith(f"    images:  {library / 'audits' / 'numbers-'}")
    assert lines[-2] == "By image: 0 of 10 match."
    assert lines[-1].startswith("By description: ")


def test_every_listed_image_exists(cli, library, standin):
    value = cli("audit", "numbers", "--sample", "5", "--json").json
    assert len(value["pairs"]) == 5
    for pair in value["pairs"]:
        for key in ("picture", "kept_picture"):
            with open(pair[key], "rb") as file:  # noqa: PTH123
                assert file.read(2) == b"\xff\xd8"
        assert pair["text"].startswith(f"Frame number {pair['index']}:")
        assert pair["kept_text"].startswith(f"Frame number {pair['kept_index']}:")


def test_json_output(cli, library, standin):
    said = cli("audit", "1", "--json")
    value = said.json
    assert said.code == 0
    assert (value["video_id"], value["seed"], value["left_out"], value["sampled"]) == (1, 1, 24, 24)
    assert (value["compared"], value["agree"], value["is_stopped"]) == (24, 0, False)
    assert value["by_picture"]["of"] == 24
    assert set(value["by_words"]) == {"agree", "of", "can_judge", "separation", "cut"}
    assert (value["describer"], value["model"]) == ("ollama", "llava:13b")
    assert [pair["index"] for pair in value["pairs"]] == [index for index in range(30) if index % 5]


def test_video_without_skipped_frames(cli, library):
    assert cli("audit", "party").out == "party: no frames were skipped, so there is nothing to compare.\n"
    assert cli("audit", "party", "--json").json["sampled"] == 0


def test_baseline_needs_no_model(cli, library):
    assert cli("audit", "numbers", "--describer", "baseline", "--sample", "3").code == 0


def test_errors_are_one_line(cli, library, party, home, standin):
    cli("audit", "nope").refused("no video is called 'nope'")
    cli("audit", "numbers", "--sample", "0").refused("--sample", code=2)
    standin.behave(models=())
    refused = cli("audit", "numbers", "--sample", "3")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "ollama pull llava:13b" in refused.err


def test_unextracted_video_names_the_command(cli, party, home):
    cli("add", party)
    cli("audit", "1").refused("party is not fully extracted yet: run `everyframe extract 1`")


def test_unreachable_ollama_is_one_line(cli, library):
    said = cli("audit", "numbers", "--sample", "3")
    assert said.code == 1
    assert set(said.err.splitlines()) == {
        "everyframe: Ollama at http://127.0.0.1:9 is not responding: start it with `ollama serve`"
    }


def test_failed_save_is_one_line(cli, library, standin, monkeypatch):
    def full(*_, **__):
        raise LibraryError("the disk is full: free some space")

    monkeypatch.setattr(store, "record_calls", full)
    said = cli("audit", "numbers", "--sample", "4")
    assert (said.code, said.err) == (1, "everyframe: the disk is full: free some space\n")


def test_help_explains_the_exit_code(cli):
    assert "Exits with 0 even if some frames differ" in " ".join(cli("audit", "--help").out.split())


@pytest.mark.slow
def test_ctrl_c_reports_partial_results(library, standin):
    standin.behave(delay=0.2)
    with running(COMMAND, "audit", "numbers") as process:
        wait_until(
            lambda: len(ask(library, "SELECT id FROM analyses WHERE pass = 'audit'")) > 10, "some calls", process
        )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted after " in out
    assert " of 24 frames." in out
    assert "By image: " in out
    assert "Traceback" not in err
