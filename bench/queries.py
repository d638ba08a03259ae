"""Latency of every database query of the dashboard, on a library such as `bench/library.py` makes.

Every query runs repeatedly, each time with another video, time and word, over one engine, as the pages do. The largest
video is measured separately. `--plans` prints SQLite's query plans instead.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, func, select, text

from db import gallery, queries
from db.counts import frames_by_minute, recent_work
from db.engine import make_engine, reading
from db.gallery import FrameFilter
from db.models import Analysis, Frame, Tally
from db.search import moments, search
from enrich.control import status
from enrich.settings import Settings

ROUNDS = 40
COMMON, FREQUENT, RARE = ("bouquet", "toast"), ("ring", "glass", "smiling"), ("sparkler", "accordion")
Query = Callable[[Connection, random.Random], Any]


def page_queries(connection: Connection) -> dict[str, Query]:
    """The queries of the pages, by purpose."""
    largest = connection.execute(select(Tally.video_id).order_by(Tally.kept.desc()).limit(1)).scalar_one()
    usual = list(connection.scalars(select(Tally.video_id).order_by(Tally.video_id)))
    newest = connection.execute(select(func.max(Analysis.created_at))).scalar_one()
    lengths = dict(connection.execute(select(Frame.video_id, func.max(Frame.timestamp)).group_by(Frame.video_id)).all())
    [(tag, _), *_] = gallery.tags(connection, largest, limit=1)
    rare_tag = gallery.tags(connection, largest, limit=200)[-1][0]

    def anywhere(random_: random.Random, video_id: int) -> float:
        return random_.uniform(0, lengths[video_id])

    def paged(show: FrameFilter, tag: str | None = None) -> Query:
        return lambda connection, random_: gallery.cards(
            connection, largest, show=show, tag=tag, after=anywhere(random_, largest)
        )

    found: dict[str, Query] = {
        "videos": lambda connection, _: queries.videos(connection),
        "progress": lambda connection, _: queries.progress(connection, "deep"),
        "kept_share": lambda connection, _: queries.kept_share(connection, "distinct:normal"),
        "failures": lambda connection, _: queries.failures(connection),
        "speed": lambda connection, _: queries.speed(connection, "ollama", "llava:13b"),
        "latest": lambda connection, _: gallery.latest(connection),
        "poster of 500": lambda connection, _: gallery.poster(connection, usual),
        "poster of 24": lambda connection, random_: gallery.poster(
            connection, random_.sample(usual, min(24, len(usual)))
        ),
        "described_lately": lambda connection, _: recent_work(
            connection, 1, since=newest - timedelta(hours=8), now=newest, seconds=60, frames=20
        ),
        "described_by_minute": lambda connection, _: frames_by_minute(connection, run_id=1, now=newest),
        "frame": lambda connection, random_: queries.frame(
            connection, random_.randrange(1, sum(1 for _ in usual) * 100)
        ),
        "cards of a usual video": lambda connection, random_: gallery.cards(
            connection, (video_id := random_.choice(usual)), after=anywhere(random_, video_id)
        ),
        "cards before": lambda connection, random_: gallery.cards(
            connection, largest, before=anywhere(random_, largest)
        ),
    }
    for show in FrameFilter:
        found[f"cards, {show}"] = paged(show)
        found[f"count, {show}"] = lambda connection, _, show=show: gallery.count(connection, largest, show=show)
        found[f"neighbours, {show}"] = lambda connection, random_, show=show: gallery.neighbours(
            connection, largest, anywhere(random_, largest), show=show
        )
    for name, label in (("common tag", tag), ("rare tag", rare_tag), ("no such tag", "ninguno")):
        found[f"cards, {name}"] = paged(FrameFilter.ALL, label)
        found[f"count, {name}"] = lambda connection, _, label=label: gallery.count(connection, largest, tag=label)
    found |= {
        "timeline": lambda connection, _: gallery.timeline(connection, largest),
        "scenes": lambda connection, _: gallery.scenes(connection, largest),
        "tags": lambda connection, _: gallery.tags(connection, largest),
        "timeline of a usual video": lambda connection, random_: gallery.timeline(connection, random_.choice(usual)),
        "tags of a usual video": lambda connection, random_: gallery.tags(connection, random_.choice(usual)),
        "calls": lambda connection, random_: gallery.calls(connection, random_.randrange(1, 20_000)),
        "search, 800": lambda connection, random_: _search(connection, random_.choice(RARE)),
        "search, 20,000": lambda connection, random_: _search(connection, random_.choice(COMMON)),
        "search, 20,000, 100 hits": lambda connection, random_: _search(connection, random_.choice(COMMON), limit=100),
        "search, two of 20,000": lambda connection, _: _search(connection, "bouquet toast"),
        "search, 60,000": lambda connection, random_: _search(connection, random_.choice(FREQUENT)),
        "search, nearly all": lambda connection, _: _search(connection, "the"),
        "search, none with every word": lambda connection, _: _search(connection, "bouquet ninguno"),
        "search, 20,000, one video": lambda connection, _: _search(connection, "bouquet", video_ids=[largest]),
        "search, 20,000, a time": lambda connection, _: _search(connection, "bouquet", start=0.0, end=60.0),
        "search, 20,000, 400 videos": lambda connection, _: _search(connection, "bouquet", video_ids=usual[:400]),
        "search, 20,000, a tag": lambda connection, _: _search(connection, "bouquet", tag="toast"),
        "search, a tag alone": lambda connection, _: _search(connection, "", tag="toast"),
        "search, quoted, begins with": lambda connection, _: _search(connection, '"white dress" spark*'),
    }
    return found


def _search(connection: Connection, words: str, **filters: Any) -> Any:
    return moments(search(connection, words, **{"limit": 60, **filters}).hits)


def measure(engine: Engine, rounds: int, only: str) -> None:
    """Print the latency of each query."""
    print(f"{'query':<34} {'p50 ms':>8} {'p95 ms':>8}")
    with reading(engine) as connection:
        wanted = page_queries(connection)
    for name, query in wanted.items():
        if only not in name:
            continue
        random_ = random.Random(name)  # noqa: S311  # repeatable, not secret
        took = []
        for _ in range(rounds):
            began = time.perf_counter()
            with reading(engine) as connection:
                query(connection, random_)
            took.append((time.perf_counter() - began) * 1000)
        _print(name, took)
    took = []
    for _ in range(rounds if only in "status.look" else 0):
        began = time.perf_counter()
        status.read_status(engine, now=datetime.now(UTC) + timedelta(seconds=1))
        took.append((time.perf_counter() - began) * 1000)
    if took:
        _print("status.look", took)


def _print(name: str, took: list[float]) -> None:
    p95 = statistics.quantiles(took, n=20)[-1]
    print(f"{name:<34} {statistics.median(took):>8.1f} {p95:>8.1f}{'  <- slow' if p95 > 100 else ''}", flush=True)


def explain(engine: Engine, only: str) -> None:
    """Print the plan of every statement."""
    seen: set[str] = set()

    def note(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT") and statement not in seen:
            seen.add(statement)
            plan = cursor.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            print("\n".join(f"    {row[3]}" for row in plan), end="\n\n")

    with reading(engine) as connection:
        wanted = page_queries(connection)
        event.listen(engine, "before_cursor_execute", note)
        for name, query in wanted.items():
            if only in name:
                print(name)
                query(connection, random.Random(name))  # noqa: S311  # repeatable, not secret
        connection.execute(text("SELECT 1"))


def main() -> None:
    """Measure, or print the query plans."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path, help="EVERYFRAME_HOME of the library")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="queries with this in their name")
    parser.add_argument("--plans", action="store_true")
    given = parser.parse_args()
    engine = make_engine(Settings(home=given.home).url)
    if given.plans:
        explain(engine, given.only)
    else:
        measure(engine, given.rounds, given.only)


if __name__ == "__main__":
    main()
