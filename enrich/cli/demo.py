"""The command `demo`: process one video from end to end in a separate library, within two minutes."""

import asyncio
import re
import shlex
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.output import print_error, print_table, say
from enrich.errors import DescribeError, EveryFrameError
from enrich.private_files import make_private_folder
from enrich.settings import DEFAULT_OLLAMA_HOST, Settings, load_settings
from enrich.wording import format_count, format_duration, format_timestamp, one_line

if TYPE_CHECKING:
    from db.queries import FrameRow
    from enrich.library.library import Library

RUN_SECONDS = 80.0  # for extracting and describing together
SHOWN_DESCRIPTIONS = 5
SHOWN_HITS = 5
MIN_WORD_LETTERS = 4
TRIED_WORDS = 20


@dataclass(frozen=True, slots=True)
class DemoDescriber:
    """What the demo describes with, and the explanation to print."""

    describer: str
    model: str
    why: str


def demo(
    video: Annotated[
        Path | None, typer.Argument(metavar="VIDEO", help="Your own video. Default: a generated sample clip.")
    ] = None,
) -> None:
    """Try EveryFrame on a sample video.

    Extracts, describes and searches one video in a separate library, and shows what to do next. Takes up to two
    minutes. Your own library is not touched.

    Example: everyframe demo ~/Videos/wedding.mp4
    """
    from enrich.cli.estimate import say_estimate
    from enrich.cli.work import run_here
    from enrich.describe.registry import make_describer
    from enrich.library.adding import add_paths
    from enrich.library.library import Library
    from enrich.video.sampling import parse_sampling
    from enrich.worker.run_options import RunEnd, RunOptions

    base = load_settings()
    choice = asyncio.run(_choose(base))
    home = base.home / ("demo-own" if video else "demo")
    if video is None:
        shutil.rmtree(home, ignore_errors=True)  # the sample is generated and described from scratch each time
    settings = load_settings(
        home=home,
        database_url=f"sqlite:///{(home / 'library.db').as_posix()}",
        describer=choice.describer,
        model=choice.model,
    )
    library = Library.open(settings)
    path = video or _draw(home / "sample.mp4")
    sampling = parse_sampling("distinct", settings.likeness)
    say(f"Library:    {home}")
    say(f"Video:      {path}")
    say(f"Describer:  {choice.why}")
    say()
    additions = add_paths(library, [path], sampling=sampling, context="", is_sampling_chosen=False)
    (addition,) = additions if not path.is_dir() else (None,)
    if addition is None or addition.facts is None or addition.video_id is None:
        raise EveryFrameError(
            addition.error if addition and addition.error else f"{path} is a folder: choose a single video file"
        )
    say_estimate(library, sampling, [addition.facts])
    say()
    order = RunOptions(video_ids=frozenset({addition.video_id}), within_seconds=RUN_SECONDS)
    summary = run_here(library, make_describer(settings), order)
    counts = summary.counts
    verb = "measured" if settings.describer == "baseline" else "described"
    done = f"{format_count(counts.frames_described, 'frame')} {verb} in {format_duration(summary.seconds)}"
    say(f"{done}, {summary.left} remaining.")
    for reason, count in summary.failures:
        print_error(f"{count} × {one_line(reason)}")
    say()
    _say_frames(library, addition.video_id)
    _say_next(settings, home, is_sample=video is None, is_done=summary.ending is RunEnd.FINISHED)
    if summary.ending is RunEnd.STOPPED:
        raise typer.Exit(130)


async def _choose(settings: Settings) -> DemoDescriber:
    """The configured model if it is installed, else the smallest vision model, else the baseline."""
    from enrich.describe.ollama.describer import OllamaDescriber

    if settings.describer == "baseline":
        return DemoDescriber("baseline", settings.model, _explain_baseline("selected in your settings"))
    describer = OllamaDescriber(settings)
    reason = ""
    try:
        for host in describer.hosts:
            try:
                found = [model for model in await describer.installed(host) if model.sees and not model.is_cloud]
            except DescribeError as error:
                reason = one_line(str(error))
                continue
            names = [model.name for model in found]
            if settings.model in names or f"{settings.model}:latest" in names:
                return DemoDescriber("ollama", settings.model, f"{settings.model}, Ollama at {host}")
            if found:
                name = min(found, key=lambda model: model.size_bytes).name
                instead = f"{settings.model} is not installed; to install it: ollama pull {settings.model}"
                return DemoDescriber(
                    "ollama", name, f"{name}, the smallest vision model of Ollama at {host} ({instead})"
                )
            reason = f"Ollama at {host} has no vision model"
    finally:
        await describer.close()
    return DemoDescriber(
        "baseline", settings.model, _explain_baseline(reason or f"Ollama is not running at {DEFAULT_OLLAMA_HOST}")
    )


def _explain_baseline(reason: str) -> str:
    return (
        f"baseline, without a model ({reason}).\n"
        "            It only measures brightness, colours, sharpness and motion. These frames do not count as\n"
        "            described, and a vision model will replace the text later."
    )


def _draw(path: Path) -> Path:
    from enrich.video.sample_clip import draw_sample_clip

    make_private_folder(path.parent)
    draw_sample_clip(path)
    return path


def _say_frames(library: "Library", video_id: int) -> None:
    from db import queries
    from db.engine import reading
    from db.search import search

    with reading(library.engine) as connection:
        frames = [frame for frame in queries.frames(connection, video_id) if frame.description]
        if not frames:
            say("No frame is described yet: the model needs more time than the demo has.")
            return
        say("Sample descriptions:")
        print_table(
            [("TIME", "right"), ("DESCRIPTION", "left")],
            [(format_timestamp(frame.timestamp), one_line(frame.description)) for frame in spread(frames)],
        )
        say()
        for word in distinctive_words(frames):
            found = search(connection, word, limit=SHOWN_HITS, video_ids=[video_id])
            if found.hits:
                break
        else:
            say("The descriptions contain no words to search for.")
            say()
            return
        say(f"Sample search: everyframe search {word}")
        print_table(
            [("TIME", "right"), ("SOURCE", "left"), ("MATCH", "left")],
            [(format_timestamp(hit.timestamp), hit.source, hit.marked("[", "]")) for hit in found.hits],
        )
        say()


def spread(frames: "list[FrameRow]") -> "list[FrameRow]":
    """A few frames, spread evenly over the video."""
    first, last = frames[0].timestamp, frames[-1].timestamp
    step = (last - first) / max(1, SHOWN_DESCRIPTIONS - 1)
    wanted = (first + number * step for number in range(SHOWN_DESCRIPTIONS))
    chosen = {min(frames, key=lambda frame: abs(frame.timestamp - at)).id for at in wanted}
    return [frame for frame in frames if frame.id in chosen]


def distinctive_words(frames: "list[FrameRow]") -> list[str]:
    """Good search words, best first: long words that occur in about a quarter of the descriptions."""
    seen: Counter[str] = Counter()
    for frame in frames:
        text = " ".join([frame.description or "", *frame.tags])
        words = re.findall(r"[^\W_]+", text)  # tokenized as in the search index
        seen.update({word.casefold() for word in words if not word.isdecimal()})
    wanted = max(1, len(frames) // 4)
    long = {word: count for word, count in seen.items() if len(word) >= MIN_WORD_LETTERS} or dict(seen)
    return sorted(long, key=lambda word: (abs(long[word] - wanted), -len(word), word))[:TRIED_WORDS]


def _say_next(settings: Settings, home: Path, *, is_sample: bool, is_done: bool) -> None:
    command = Path(".venv/bin/everyframe") if Path(".venv/bin/everyframe").exists() else Path("everyframe")
    there = shlex.quote(str(home))  # contains a space on macOS
    say("Next:")
    say(f"  open the dashboard       EVERYFRAME_HOME={there} {command} dashboard")
    if not is_done:
        model = f" --model {settings.model}" if settings.describer == "ollama" else " --describer baseline"
        say(f"  describe the rest        EVERYFRAME_HOME={there} {command} enrich{model}")
    if settings.describer == "baseline":
        say(f"  get a vision model       install Ollama from https://ollama.com, then: ollama pull {settings.model}")
    if is_sample:
        say(f"  try your own video       {command} demo /path/to/video.mp4")
    say(f"  see every frame          EVERYFRAME_HOME={there} {command} show 1")
    say(f"  start your own library   {command} add /path/to/videos && {command} enrich")
