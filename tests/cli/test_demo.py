"""The command `demo`: end to end in a separate library, with and without a model."""

import re

import pytest

from tests.cli.terminal import ask
from tests.standin import ShelfModel


def test_demo_without_ollama_explains_the_baseline(cli, home):
    said = cli("demo")
    assert said.code == 0
    assert "Describer:  baseline, without a model (Ollama at http://127.0.0.1:9 is not responding" in said.out
    assert "Sample descriptions:" in said.out
    assert "Sample search: everyframe search " in said.out
    assert "ollama pull llava:13b" in said.out
    assert f"EVERYFRAME_HOME={home / 'demo'} " in said.out
    assert re.search(r"everyframe dashboard$", said.out, re.MULTILINE)
    assert re.search(r"everyframe demo /path/to/video.mp4$", said.out, re.MULTILINE)
    assert "make " not in said.out  # the installed package has no Makefile
    assert not (home / "library.db").exists()  # the user's own library is not touched
    assert ask(home / "demo", "SELECT extraction_status FROM videos") == [("extracted",)]


def test_demo_uses_an_installed_model_and_is_repeatable(cli, standin, home):
    standin.behave(models=(ShelfModel("big:1b", size=9 * 10**9), ShelfModel("moondream:latest", size=10**9)))
    for _ in range(2):
        said = cli("demo")
        assert said.code == 0
        assert "moondream:latest, the smallest vision model of Ollama" in said.out
        assert "to install it: ollama pull llava:13b" in said.out
    assert ask(home / "demo", "SELECT enrichment_status, title FROM videos") == [("enriched", "sample")]


def test_demo_of_own_video_uses_a_separate_library(cli, standin, party, home):
    said = cli("demo", party)
    assert said.code == 0
    assert f"Video:      {party}" in said.out
    assert "Frame number 100: black and white squares above a purple band." in said.out
    assert ask(home / "demo-own", "SELECT enrichment_status FROM videos") == [("enriched",)]


@pytest.mark.parametrize("name", ["gone.mp4", "."])
def test_demo_of_a_missing_video_is_one_line(cli, tmp_path, name):
    said = cli("demo", tmp_path / name)
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert str(tmp_path) in said.err
