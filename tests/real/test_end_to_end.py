"""From a file to a search result by command line only: with the stand-in and with a real Ollama."""

import asyncio
import csv
import io
import json
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from enrich import LocalVisionAnalyzer
from enrich.errors import EveryFrameError, ModelError, NotAVideoError
from enrich.library.adding import add_paths
from enrich.library.library import Library
from enrich.settings import load_settings
from enrich.video.sampling import parse_sampling
from enrich.worker.run_options import RunEnd
from tests.cli.terminal import Terminal, run_here
from tests.clips import numbered_clip, shared_videos
from tests.standin import StandIn

PATIENCE_SECONDS = 110
REAL = pytest.param("real", marks=[pytest.mark.real_ollama, pytest.mark.slow])


@dataclass(frozen=True)
class Place:
    """An Ollama server, a video, and a library for one test."""

    kind: str
    address: str
    model: str
    video: Path
    home: Path
    most_tokens: int
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str | Path) -> Terminal:
        """Run the command line in this process."""
        return run_here(self.capsys, *arguments)

    def says(self, *arguments: str | Path) -> str:
        """The output of a command that must succeed."""
        done = self.run(*arguments)
        assert done.code == 0, done
        return done.out

    def rows(self, sql: str) -> list[sqlite3.Row]:
        with closing(sqlite3.connect(self.home / "library.db")) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql).fetchall()


@pytest.fixture(params=["stand-in", REAL])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    home, videos = tmp_path / "home", shared_videos()
    with ExitStack() as stack:
        if request.param == "real":
            server = request.getfixturevalue("real_ollama")
            model, most_tokens = server.model, 40
        else:
            server = stack.enter_context(StandIn(parallel=2))
            model, most_tokens = "llava:13b", 500
        if request.param == "real" and videos is not None:
            video = videos / "fire-vfr-rotated.mp4"
        else:
            video = numbered_clip(tmp_path / "film.mp4", frames=40, fps=10)
        for name in [name for name in os.environ if name.startswith("EVERYFRAME_") and "_TEST_" not in name]:
            monkeypatch.delenv(name)
        for name, value in {"HOME": home, "MODEL": model, "NUM_PREDICT": most_tokens, "STORED_EDGE": 480}.items():
            monkeypatch.setenv(f"EVERYFRAME_{name}", str(value))
        monkeypatch.setenv("EVERYFRAME_OLLAMA_HOSTS", server.address)
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        yield Place(request.param, server.address, model, video, home, most_tokens, capsys)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_file_becomes_a_search_result(place):
    before = place.video.read_bytes()

    added = place.says("add", place.video, "--sampling", "every=0.4s", "--context", "Erna's birthday in Graz")
    assert "Time:    not measured" in added
    assert "describe" in added

    enriched = place.run("enrich")
    (counts,) = place.rows("SELECT counts FROM runs")
    done = json.loads(counts["counts"])
    assert enriched.code == (0 if done["frames_failed"] == 0 else 1), enriched
    assert done["frames_described"] > 0

    (video,) = json.loads(place.says("list", "--json"))
    assert video["extraction_status"] == "extracted"
    assert video["enrichment_status"] == "enriched"
    assert video["described"] == done["frames_described"]
    assert video["described"] + video["failed"] == video["kept"] > 3
    assert video["title"] in place.says("list")

    frames = json.loads(place.says("show", "1", "--json"))["frames"]
    assert sum(frame["stands_for"] for frame in frames) == video["frame_count"]
    for frame in frames:
        assert frame["local_description"] or frame["error"]
        assert bool(frame["enriched_at"]) == bool(frame["local_description"])
        assert (place.home / "frames" / frame["image_path"]).stat().st_size > 500
    for number in (0, video["frame_count"] // 2, video["frame_count"] - 1):
        assert f"frame {number}, at " in place.says("show", "1", "--frame", str(number))

    calls = place.rows("SELECT * FROM analyses")
    assert len(calls) >= len(frames)
    for call in calls:
        assert (call["describer"], call["model"], call["host"]) == ("ollama", place.model, place.address)
        assert len(call["model_digest"]) == 64
        assert call["prompt_version"]
        assert call["prompt_tokens"] > 0
        assert 0 < call["output_tokens"] <= place.most_tokens
        assert 0 <= call["load_seconds"] <= call["latency_seconds"] < PATIENCE_SECONDS
        assert call["cost_usd"] == 0

    word = found_word(place)
    hits = json.loads(place.says("search", word, "--json"))["hits"]
    assert {hit["frame_id"] for hit in hits} <= {frame["id"] for frame in frames}
    assert hits[0]["source"] == "deep"
    assert place.says("search", word).startswith("VIDEO ")

    exported = json.loads(place.says("export", "1", "--format", "json"))["frames"]
    assert [frame["description"] for frame in exported] == [frame["local_description"] for frame in frames]
    table = list(csv.DictReader(io.StringIO(place.says("export", "1", "--format", "csv"), newline="")))
    assert [row["description"] or None for row in table] == [frame["local_description"] for frame in frames]
    if place.kind == "stand-in":  # only the stand-in describes what the images show
        assert [row["description"].split(":")[0] for row in table] == [f"Frame number {n}" for n in range(0, 40, 4)]

    assert "not measured" not in place.says("estimate", place.video)
    speeds = {row["name"]: row["seconds_per_frame"] for row in json.loads(place.says("models", "--json"))}
    assert any(speed and speed > 0 for speed in speeds.values())

    assert "already described" in place.run("enrich").out
    place.says("remove", "1", "--yes")
    assert place.video.read_bytes() == before


async def test_python_api_does_the_same(place):
    library = Library.open(load_settings())
    list(add_paths(library, [place.video], sampling=parse_sampling("every=1s"), context=""))
    analyzer = LocalVisionAnalyzer(model=place.model)
    summary = await analyzer.enrich_video(1)
    assert summary.counts.frames_described + summary.counts.frames_failed == len(place.rows("SELECT id FROM frames"))
    assert (summary.ending, summary.left) == (RunEnd.FINISHED, 0)
    (image, *_) = sorted((place.home / "frames").rglob("*.jpg"))
    description = await analyzer.analyze_frame_deep(image, context="a party")
    assert description.text
    if place.kind == "stand-in":
        assert description.text == "Frame number 0: black and white squares above a red band."
    calls = place.rows("SELECT id FROM analyses")
    working = asyncio.create_task(analyzer.worker())
    while not place.rows("SELECT id FROM runs WHERE state = 'running'"):
        assert not working.done()
        await asyncio.sleep(0.02)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert len(place.rows("SELECT id FROM analyses")) == len(calls)  # there was nothing left to do
    assert not place.rows("SELECT id FROM runs WHERE state NOT IN ('finished', 'stopped')")


async def test_python_api_raises_our_errors(place, tmp_path):
    with pytest.raises(NotAVideoError, match=r"nothing\.jpg cannot be read: No such file"):
        await LocalVisionAnalyzer().analyze_frame_deep(tmp_path / "nothing.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(EveryFrameError):
        await LocalVisionAnalyzer().analyze_frame_deep(tmp_path / "text.jpg")
    with pytest.raises(EveryFrameError, match="there is no video 7"):
        await LocalVisionAnalyzer().enrich_video(7)
    with pytest.raises(ModelError, match="ollama pull absent:1b"):
        await LocalVisionAnalyzer(model="absent:1b").worker()


def found_word(place: Place) -> str:
    """A word of some description, even if the description is noise."""
    for row in place.rows("SELECT text FROM search_documents WHERE source = 1"):
        if words := re.findall(r"[^\W_]+", row["text"]):
            return max(words, key=len)
    pytest.fail("no description has a word")
