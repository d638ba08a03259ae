"""audit: what it says, and how it exits."""

import signal

import pytest

from tests.cli.terminal import COMMAND, ask, running, until


def test_it_says_what_it_will_do_and_what_it_found(cli, library, standin):
    said = cli("audit", "numbers", "--sample", "10", "--seed", "3")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "numbers: 10 of 24 frames left out, drawn with seed 3"
    assert lines[1].startswith("About 1")
    assert " calls to llava:13b: " in lines[1]
    assert lines[2] == "0 of 10 agree; these do not:"
    assert "left to frame " in lines[3]
    assert "the picture changed (likeness " in lines[3]
    assert lines[4].startswith("    kept:     Frame number ")
    assert lines[5].startswith("    left out: Frame number ")
    assert lines[6].startswith(f"    pictures: {library / 'audits' / 'numbers-'}")
    assert lines[-1].startswith("By picture 0 of 10 agree; by words ")


def test_every_picture_it_names_is_there(cli, library, standin):
    value = cli("audit", "numbers", "--sample", "5", "--json").json
    assert len(value["pairs"]) == 5
    for pair in value["pairs"]:
        for key in ("picture", "kept_picture"):
            with open(pair[key], "rb") as file:  # noqa: PTH123
                assert file.read(2) == b"\xff\xd8"
        assert pair["text"].startswith(f"Frame number {pair['index']}:")
        assert pair["kept_text"].startswith(f"Frame number {pair['kept_index']}:")


def test_as_json(cli, library, standin):
    said = cli("audit", "1", "--json")
    value = said.json
    assert said.code == 0
    assert (value["video_id"], value["seed"], value["left_out"], value["sampled"]) == (1, 1, 24, 24)
    assert (value["compared"], value["agree"], value["is_stopped"]) == (24, 0, False)
    assert value["by_picture"]["of"] == 24
    assert set(value["by_words"]) == {"agree", "of", "can_judge", "separation", "cut"}
    assert (value["describer"], value["model"]) == ("ollama", "llava:13b")
    assert [pair["index"] for pair in value["pairs"]] == [index for index in range(30) if index % 5]


def test_a_film_of_which_all_is_kept(cli, library):
    assert cli("audit", "party").out == "party: every source frame is kept, so there is nothing to compare.\n"
    assert cli("audit", "party", "--json").json["sampled"] == 0


def test_with_the_baseline_no_model_is_needed(cli, library):
    assert cli("audit", "numbers", "--describer", "baseline", "--sample", "3").code == 0


def test_what_is_wrong_is_one_line(cli, library, party, home, standin):
    cli("audit", "nope").refused("no video is called 'nope'")
    cli("audit", "numbers", "--sample", "0").refused("--sample", code=2)
    standin.behave(models=())
    refused = cli("audit", "numbers", "--sample", "3")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "ollama pull llava:13b" in refused.err


def test_a_film_that_is_not_decoded_names_the_command(cli, party, home):
    cli("add", party)
    cli("audit", "1").refused("party is not fully extracted yet: run `everyframe extract 1`")


def test_ollama_that_is_away_is_one_sentence(cli, library):
    said = cli("audit", "numbers", "--sample", "3")
    assert said.code == 1
    assert set(said.err.splitlines()) == {
        "everyframe: Ollama does not answer at http://127.0.0.1:9: start it with `ollama serve`"
    }


def test_help_says_that_disagreement_is_no_failure(cli):
    assert "Exits 0 when it ran, also if frames disagree" in " ".join(cli("audit", "--help").out.split())


@pytest.mark.slow
def test_ctrl_c_reports_what_was_compared_so_far(library, standin):
    standin.behave(delay=0.2)
    with running(COMMAND, "audit", "numbers") as process:
        until(lambda: len(ask(library, "SELECT id FROM analyses WHERE pass = 'audit'")) > 10, "some calls", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted; compared so far: " in out
    assert " agree; " in out
    assert "Traceback" not in err
