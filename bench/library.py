"""Makes a large library: 1,000,000 kept and described frames in 500 videos, with real JPEG files.

Images are cut from a folder of videos and hard-linked, so that a million of them use the disk space of a few thousand.
Rows are inserted with SQL, with triggers enabled, in minutes; `bench/queries.py` then measures the queries of the
pages. Word frequencies follow Zipf's law: "bouquet" occurs in about 20,000 of 1,000,000 descriptions, "sparkler" in
about 800. One video is twenty times as long as the median. Everything follows from a seed, so libraries made with the
same options are identical.
"""

import argparse
import json
import math
import os
import random
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from db.migrate import open_library
from enrich.filenames import is_media_name
from enrich.settings import Settings
from enrich.video.decode import SourceFrames
from enrich.video.fingerprint import fingerprint
from enrich.video.jpeg import JpegFormat, encode_jpeg
from enrich.video.probe import probe
from enrich.video.selection import image_name

SEED = 5
EDGE, QUALITY = 960, 80
FPS = 30.0
WORDS_A_TEXT = 52  # some 320 characters
VOCABULARY = 20_000
SCENE_FRAMES = 40
SECONDS_A_CALL = 2.0
FAILED, WARNED, CORRECTED, REVIEWED = 0.0005, 0.015, 0.002, 0.01  # shares of the frames
END = datetime(2026, 11, 25, 12, tzinfo=UTC)
RUN_HOURS = 8  # of the last run
# By how common they are, from 1: with 52 words a text, rank r stands in about 5 / r of the descriptions.
NAMED = {
    1: "the", 2: "a", 3: "woman", 4: "man", 5: "white", 6: "dress", 7: "people", 8: "stands", 10: "table", 12: "bride",
    14: "flowers", 16: "groom", 20: "dancing", 30: "cake", 40: "church", 60: "smiling", 80: "glass", 120: "ring",
    245: "bouquet", 250: "toast", 1000: "balloon", 6000: "sparkler", 6100: "accordion",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The size of the library to make."""

    frames: int
    sizes: list[int]  # kept frames of each video
    described: float  # share of the frames

    def order(self, frame_id: int) -> int:
        """When a frame was described: its position in an order that alternates between all videos, from 0."""
        step = int(self.frames * (math.sqrt(5) - 1) / 2) | 1
        while math.gcd(step, self.frames) != 1:
            step += 2
        return frame_id * step % self.frames


class Words:
    """Descriptions with word frequencies as in a natural language."""

    def __init__(self) -> None:
        random_ = random.Random(SEED)  # noqa: S311  # repeatable, not secret
        syllables = [a + b for a in "bdfgklmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er", "ol")]
        made: dict[str, None] = {}
        while len(made) < VOCABULARY:
            made["".join(random_.choices(syllables, k=random_.choice((2, 2, 3))))] = None
        self.all = [NAMED.get(rank, word) for rank, word in enumerate(made, start=1)]
        weights = 1 / np.arange(1, VOCABULARY + 1)
        self._sums = np.cumsum(weights / weights.sum())
        self._random = np.random.default_rng(SEED)

    def texts(self, count: int) -> Iterator[tuple[str, list[str]]]:
        """This many descriptions with their tags."""
        drawn = np.searchsorted(self._sums, self._random.random((count, WORDS_A_TEXT)))
        for row in drawn.tolist():
            words = [self.all[place] for place in row]
            yield (
                f"{' '.join(words[:26]).capitalize()}. {' '.join(words[26:]).capitalize()}.",
                [word for word in dict.fromkeys(words[:12]) if len(word) > 3][:5],
            )


def make(home: Path, footage: Path, plan: Plan, *, unique: int) -> None:
    """Make the library at `home`, where none may exist."""
    settings = Settings(home=home)
    home.mkdir(parents=True)
    open_library(settings.url).dispose()
    sources = sorted(path.resolve() for path in footage.iterdir() if is_media_name(path))
    images = _cut(sources, home / "images", unique)
    _say(f"{len(images)} images cut")
    with closing(sqlite3.connect(home / "library.db", isolation_level=None)) as connection:
        connection.executescript("PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF; PRAGMA cache_size=-400000;")
        _fill(connection, settings.frames_folder, sources, plan, images)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _say(f"done: {(home / 'library.db').stat().st_size / 1e9:.1f} GB of rows")


def _cut(sources: list[Path], folder: Path, count: int) -> list[Path]:
    """Cut evenly spaced images from all videos."""
    folder.mkdir()
    every = max(1, sum(probe(source).frame_estimate or 0 for source in sources) // count)
    found: list[Path] = []
    for source in sources:
        with SourceFrames(source) as frames:
            for number, frame in enumerate(frames):
                if number % every == 0:
                    found.append(folder / f"{len(found):05d}.jpg")
                    found[-1].write_bytes(encode_jpeg(frame.av_frame, JpegFormat(edge=EDGE, quality=QUALITY)))
    return found


def _fill(
    connection: sqlite3.Connection, frames_folder: Path, sources: list[Path], plan: Plan, images: list[Path]
) -> None:
    random_ = random.Random(SEED)  # noqa: S311  # repeatable, not secret
    run_id = _add_run(connection, plan)
    words = Words()
    first_id = 1
    for video_id, size in enumerate(plan.sizes, start=1):
        source = sources[(video_id - 1) % len(sources)]
        known = fingerprint(source) if video_id <= len(sources) else f"bench-{video_id}"
        rows: list[_Frame] = []
        folder = frames_folder / known
        made: set[Path] = set()
        index = 0
        for number, (text, tags) in enumerate(words.texts(size)):
            frame_id = first_id + number
            stands_for = random_.randint(1, 17)
            name = image_name(index / FPS)
            path = folder / name
            if path.parent not in made:
                path.parent.mkdir(parents=True)
                made.add(path.parent)
            os.link(images[(frame_id * 7) % len(images)], path)
            rows.append(_Frame(frame_id, index, stands_for, number // SCENE_FRAMES, f"{known}/{name}", text, tags))
            index += stands_for
        connection.execute("BEGIN")
        _add_video(connection, video_id, source, known, index)
        _add_frames(connection, video_id, rows, plan, run_id, random_)
        connection.execute("COMMIT")
        first_id += size
        if video_id % 50 == 0:
            _say(f"{video_id} videos, {first_id - 1} frames")
    connection.execute("BEGIN")
    connection.execute(
        """INSERT INTO analyses (created_at, run_id, frame_id, "pass", describer, model, model_digest, host,
            prompt_version, latency_seconds, load_seconds, prompt_tokens, output_tokens, cost_usd, raw_reply, warnings,
            is_kept)
        SELECT enriched_at, CASE WHEN enriched_at >= ? THEN ? END, id, 'deep', 'ollama', 'llava:13b', 'abc',
            'http://127.0.0.1:11434', '1', 2.0, 0.0, 700, 90, 0.0,
            json_object('description', local_description, 'tags', json(local_tags)),
            CASE WHEN abs(random()) % 1000 < ? THEN '[{"problem": "names_unseen", "detail": "Erna"}]' ELSE '[]' END, 1
        FROM frames WHERE local_description IS NOT NULL ORDER BY enriched_at""",
        (_stored(END - timedelta(hours=RUN_HOURS)), run_id, round(WARNED * 1000)),
    )
    connection.execute("COMMIT")
    _say("the calls are booked")


@dataclass(frozen=True, slots=True)
class _Frame:
    id: int
    index: int
    stands_for: int
    scene: int
    image_path: str
    text: str
    tags: list[str]


def _add_run(connection: sqlite3.Connection, plan: Plan) -> int:
    done = round(plan.frames * plan.described)
    values = {
        "id": 1,
        "hostname": "bench",
        "pid": 1,
        "process_created_at": 0.0,
        "started_at": _stored(END - timedelta(hours=RUN_HOURS)),
        "heartbeat_at": _stored(END),
        "progress_at": _stored(END),
        "state": "finished",
        "options": "{}",
        "counts": json.dumps({"frames_described": min(done, round(RUN_HOURS * 3600 / SECONDS_A_CALL))}),
    }
    _insert(connection, "runs", [values])
    return 1


def _add_video(connection: sqlite3.Connection, video_id: int, source: Path, known: str, frame_count: int) -> None:
    values = {
        "id": video_id,
        "path": str(source),
        "fingerprint": known,
        "image_folder": known,
        "title": f"{video_id:03d} {source.stem}",
        "duration": frame_count / FPS,
        "fps": FPS,
        "width": 1920,
        "height": 1080,
        "codec": "h264",
        "rotation": 0,
        "recorded_at": _stored(END - timedelta(days=600 - video_id)),
        "camera": ("Canon EOS R6", "Sony FX3", None)[video_id % 3],
        "warnings": "[]",
        "frame_count": frame_count,
        "decode_failures": 0,
        "extraction_status": "extracted",
        "enrichment_status": "enriching",
        "context": "",
        "sampling": "distinct:normal",
        "added_at": _stored(END - timedelta(days=60)),
    }
    _insert(connection, "videos", [values])
    _insert(
        connection,
        "tasks",
        [{**_TASK, "kind": "extract", "pass": "", "video_id": video_id, "frame_id": None, "status": "done"}],
    )


_TASK = {"priority": 0, "attempts": 0, "crashes": 0}


def _add_frames(
    connection: sqlite3.Connection, video_id: int, rows: list[_Frame], plan: Plan, run_id: int, random_: random.Random
) -> None:
    frames, tasks, documents = [], [], []
    done = round(plan.frames * plan.described)
    for row in rows:
        place = plan.order(row.id)
        is_described = place < done
        is_edited = is_described and random_.random() < CORRECTED
        tags = json.dumps(row.tags)
        timestamp = _stored(END - timedelta(seconds=(done - 1 - place) * SECONDS_A_CALL)) if is_described else None
        frames.append(
            {
                "id": row.id,
                "video_id": video_id,
                "index": row.index,
                "timestamp": row.index / FPS,
                "stands_for": row.stands_for,
                "scene": row.scene,
                "image_path": row.image_path,
                "dhash": f"{random_.getrandbits(64):016x}",
                "sharpness": random_.uniform(5, 80),
                "brightness": random_.uniform(10, 240),
                "motion": random_.uniform(0, 30),
                "is_keyframe": 0,
                "local_description": row.text if is_described else None,
                "local_tags": tags if is_described else None,
                "enriched_at": timestamp,
                "edited_description": f"{row.text} Corrected." if is_edited else None,
                "edited_tags": tags if is_edited else None,
                "edited_at": timestamp if is_edited else None,
                "reviewed_at": timestamp if is_described and random_.random() < REVIEWED else None,
            }
        )
        is_failed = not is_described and random_.random() < FAILED / (1 - plan.described)
        tasks.append(
            {
                **_TASK,
                "kind": "describe",
                "pass": "deep",
                "video_id": video_id,
                "frame_id": row.id,
                "priority": 10_000 - place * 10_000 // plan.frames,
                "status": "done" if is_described else "failed" if is_failed else "todo",
                "attempts": 3 * is_failed,
                "error": "the model's reply was empty" if is_failed else None,
                "run_id": run_id if is_described else None,
            }
        )
        if is_described:
            text = f"{row.text} Corrected." if is_edited else row.text
            documents.append(
                {"frame_id": row.id, "source": 0 if is_edited else 1, "text": text, "tags": " ".join(row.tags)}
            )
    _insert(connection, "frames", frames)
    _insert(connection, "tasks", tasks)
    _insert(connection, "search_documents", documents)


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        names = ", ".join(f'"{name}"' for name in rows[0])
        marks = ", ".join("?" * len(rows[0]))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  # our own names
        connection.executemany(statement, [tuple(row.values()) for row in rows])


def _stored(timestamp: datetime) -> str:
    """A datetime in the form SQLAlchemy stores in SQLite."""
    return f"{timestamp:%Y-%m-%d %H:%M:%S.%f}"


def _sizes(frames: int, videos: int) -> list[int]:
    """The number of frames of each video: many short ones, and one of twenty times the median."""
    random_ = random.Random(SEED)  # noqa: S311  # repeatable, not secret
    weights = [random_.lognormvariate(0, 0.7) for _ in range(videos)]
    weights[videos // 2] = 20 * statistics.median(weights)
    sizes = [max(1, round(frames * weight / sum(weights))) for weight in weights]
    sizes[0] += frames - sum(sizes)
    return sizes


def _say(text: str) -> None:
    print(f"{time.process_time():7.0f} s  {text}", flush=True)


def main() -> None:
    """Make a library."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path, help="EVERYFRAME_HOME of the new library; must not exist")
    parser.add_argument("--footage", type=Path, required=True, help="a folder of videos to cut images from")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--images", type=int, default=3000, help="distinct images; the rest are links to them")
    parser.add_argument("--described", type=float, default=0.9, help="share of the frames")
    given = parser.parse_args()
    plan = Plan(given.frames, _sizes(given.frames, given.videos), given.described)
    make(given.home, given.footage, plan, unique=given.images)


if __name__ == "__main__":
    main()
