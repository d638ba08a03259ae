"""Finding moments by words: what a person wrote first, then the deep pass, then the quick one; each best first."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, column, func, literal_column, select, table

from db.documents import WRITTEN_BY_PERSON, WRITTEN_DEEP, WRITTEN_QUICK
from db.models import Frame, SearchDocument, Video
from db.search_index import match_expression

SNIPPET_WORDS = 24
MARK_START, MARK_END = "\x02", "\x03"  # cannot occur in a description: control characters are taken out of replies
_INDEX = table("search_index", column("rowid"), column("tags"))
_MATCHES = literal_column("search_index").op("MATCH")
SOURCES = {WRITTEN_BY_PERSON: "person", WRITTEN_DEEP: "deep", WRITTEN_QUICK: "quick"}


@dataclass(frozen=True, slots=True)
class Hit:
    """A frame that was found. `snippet` has the found words between `MARK_START` and `MARK_END`."""

    frame_id: int
    video_id: int
    title: str
    path: str
    index: int | None
    timestamp: float
    stands_for: int | None
    image_path: str
    source: str  # person, deep or quick
    snippet: str
    score: float  # bm25: the lower, the better

    def marked(self, start: str, end: str) -> str:
        """The snippet with marks of one's own."""
        return self.snippet.replace(MARK_START, start).replace(MARK_END, end)


@dataclass(frozen=True, slots=True)
class Found:
    """The hits, and whether they have every word or, since none has, some of them."""

    hits: list[Hit]
    every_word: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """Hits of one video that are next to each other in time, in its order; `start` and `end` in seconds."""

    hits: list[Hit]
    best: Hit
    start: float
    end: float


def search(
    connection: Connection,
    words: str,
    *,
    limit: int = 20,
    video_ids: Collection[int] | None = None,
    tag: str | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Found:
    """Find frames by words, also only in some videos, with a tag, or between two times of their videos (seconds).

    Anything typed is words, never an error. Without words and without a tag nothing is found.
    """
    for any_word in (False, True):
        expression = match_expression(words, any_word=any_word, tag=tag)
        if not expression:
            break
        ranked = _ranked(connection, expression, limit=limit, video_ids=video_ids, start=start, end=end)
        if ranked:
            return Found(_hits(connection, expression, ranked), every_word=not any_word)
    return Found([], every_word=True)


def moments(hits: Sequence[Hit], *, gap_seconds: float = 3.0) -> list[Moment]:
    """Hits joined where the next one of the same video is at most a gap away, in the order of the best of each."""
    rank = {hit.frame_id: place for place, hit in enumerate(hits)}
    joined: list[list[Hit]] = []
    for hit in sorted(hits, key=lambda hit: (hit.video_id, hit.timestamp)):
        last = joined[-1][-1] if joined else None
        if last is not None and last.video_id == hit.video_id and hit.timestamp - last.timestamp <= gap_seconds:
            joined[-1].append(hit)
        else:
            joined.append([hit])
    found = [
        Moment(group, min(group, key=lambda hit: rank[hit.frame_id]), group[0].timestamp, group[-1].timestamp)
        for group in joined
    ]
    return sorted(found, key=lambda moment: rank[moment.best.frame_id])


def _ranked(
    connection: Connection,
    expression: str,
    *,
    limit: int,
    video_ids: Collection[int] | None,
    start: float | None,
    end: float | None,
) -> dict[int, tuple[str, float]]:
    """The best frames' ids, best first, with their sources and scores: without looking at any text."""
    score: ColumnElement[float] = literal_column("bm25(search_index, 1.0, 2.0)")
    statement = (
        select(_INDEX.c.rowid, SearchDocument.source, score.label("score"))
        .select_from(_INDEX)
        .join(SearchDocument, SearchDocument.frame_id == _INDEX.c.rowid)
        .where(_MATCHES(expression))
        .order_by(SearchDocument.source, score, _INDEX.c.rowid)
        .limit(limit)
    )
    within: list[ColumnElement[bool]] = []
    if video_ids is not None:
        within.append(Frame.video_id.in_(video_ids))
    if start is not None:
        within.append(Frame.timestamp >= start)
    if end is not None:
        within.append(Frame.timestamp <= end)
    if within:
        statement = statement.join(Frame, Frame.id == _INDEX.c.rowid).where(*within)
    return {row.rowid: (SOURCES[row.source], row.score) for row in connection.execute(statement)}


def _hits(connection: Connection, expression: str, ranked: dict[int, tuple[str, float]]) -> list[Hit]:
    snippet = func.snippet(literal_column("search_index"), -1, MARK_START, MARK_END, "…", SNIPPET_WORDS)
    statement = (
        select(
            Frame.id.label("frame_id"),
            Frame.video_id,
            Video.title,
            Video.path,
            Frame.index.label("frame_index"),
            Frame.timestamp,
            Frame.stands_for,
            Frame.image_path,
            snippet.label("snippet"),
        )
        .select_from(_INDEX)
        .join(Frame, Frame.id == _INDEX.c.rowid)
        .join(Video, Video.id == Frame.video_id)
        .where(_MATCHES(expression), _INDEX.c.rowid.in_(ranked))
    )
    hits = {
        row.frame_id: Hit(
            frame_id=row.frame_id,
            video_id=row.video_id,
            title=row.title,
            path=row.path,
            index=row.frame_index,
            timestamp=row.timestamp,
            stands_for=row.stands_for,
            image_path=row.image_path,
            source=ranked[row.frame_id][0],
            snippet=re.sub(r"\s+", " ", row.snippet),
            score=ranked[row.frame_id][1],
        )
        for row in connection.execute(statement)
    }
    return [hits[frame_id] for frame_id in ranked if frame_id in hits]
