"""Hostile texts, and a library in which every external text is one of them."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

from tests.browser.served import PROJECT, environment_of
from tests.clips import numbered_clip
from tests.standin import StandIn, Trick

EVIL = "http://127.0.0.1:9"  # nothing listens there; a request to it is recorded
HOSTILE = (
    f"<img src=x onerror=alert(1)><img src={EVIL}/a.png>",
    "<script>alert(2)</script><svg onload=alert(3)>",
    f"[click]({EVIL}/b) ![seen]({EVIL}/c.png)",
    f"<a href='javascript:alert(4)'>go</a> {EVIL}/d <{EVIL}/e>",
    "$\\LaTeX \\href{javascript:alert(5)}{x}$ $$\\sum_1^2$$",
    "\x1b[31mred\x1b[0m and \u202edetrevni\u202c \u200bhidden",
    ":red[x] :material/delete: :smile: **bold** `code` # title",
    "| a | b |\n|---|---|\n- one\n1. two\n> said",
)
VIDEOS = {"strange": 30, "failing": 12}  # frames


def hostile_library(folder: Path, standin: StandIn) -> None:
    """Create the library in `folder / "home"`: video 1 described, flagged and corrected; video 2 partly failed."""
    environment = environment_of(folder / "home", OLLAMA_HOST=standin.address)
    standin.play(Trick.ERROR, frames=[103])
    standin.play(Trick.EMPTY, frames=[105], stubborn=True)
    for place, (name, frames) in enumerate(VIDEOS.items()):
        video = numbered_clip(folder / f"{name}.mp4", frames=frames, first=place * 100, fps=5)
        assert _run(environment, "add", str(video), "--sampling", "exact") == 0
    assert _run(environment, "enrich") == 1
    standin.calm()
    _poison(folder / "home" / "library.db")


def _run(environment: dict[str, str], *words: str) -> int:
    """Run a command without retry pauses, in its own process, because Playwright occupies this one's event loop."""
    program = (
        "import sys; from enrich.worker import result_writer; from enrich.cli import run;"
        " result_writer.RETRY_PAUSE_SECONDS = 0; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, timeout=90, check=False)
    return done.returncode


def _poison(file: Path) -> None:
    """Put a hostile text wherever a user, a model, a file or a camera can supply one."""
    with closing(connect(file)) as database, database:
        for video, (title, context) in {1: HOSTILE[:2], 2: HOSTILE[2:4]}.items():
            database.execute(
                "UPDATE videos SET title = ?, context = ?, camera = ?, error = ?, start_timecode = ?, codec = ?"
                " WHERE id = ?",
                (title, context, HOSTILE[4], HOSTILE[0], HOSTILE[6], HOSTILE[6], video),
            )
        frames = [row[0] for row in database.execute("SELECT id FROM frames ORDER BY video_id, timestamp")]
        for place, frame in enumerate(frames):
            text = HOSTILE[place % len(HOSTILE)]
            database.execute(
                "UPDATE frames SET local_description = ?, local_tags = json_array(?, ?), quick_description = ?,"
                " event_type = ? WHERE id = ? AND local_description IS NOT NULL",
                (f"strange words {text}", text, "plain", text, text, frame),
            )
            database.execute(
                "UPDATE search_documents SET text = ?, tags = ? WHERE frame_id = ?",
                (f"strange words {text}", text, frame),
            )
            if place % 3 == 0:
                database.execute(
                    "UPDATE frames SET edited_description = ?, edited_tags = json_array(?), edited_at = enriched_at"
                    " WHERE id = ? AND local_description IS NOT NULL",
                    (f"corrected words {text}", text, frame),
                )
        for place, (task,) in enumerate(database.execute("SELECT id FROM tasks WHERE error IS NOT NULL").fetchall()):
            database.execute("UPDATE tasks SET error = ? WHERE id = ?", (HOSTILE[place % len(HOSTILE)], task))
        warnings = [{"problem": "cut off", "detail": HOSTILE[0]}, {"problem": HOSTILE[2], "detail": HOSTILE[6]}]
        database.execute("UPDATE analyses SET warnings = ? WHERE id % 2", (json.dumps(warnings),))
        database.execute("UPDATE videos SET warnings = ?", (json.dumps(HOSTILE),))
        database.execute("UPDATE analyses SET raw_reply = ?, model = ?, host = ?", (HOSTILE[0], HOSTILE[6], HOSTILE[2]))
        database.execute("UPDATE runs SET reason = ?, error = ?", (HOSTILE[0], HOSTILE[2]))
