"""Finding moments by words: what a person wrote first, then the deep pass, then the quick one; each best first."""

import re
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, column, func, literal_column, select, table

from db.models import Frame, SearchDocument, Video
from db.search_index import match_expression
from db.store import WRITTEN_BY_PERSON, WRITTEN_DEEP, WRITTEN_QUICK

SNIPPET_WORDS = 24
MARK_START, MARK_END = "\x02", "\x03"  # cannot occur in a description: control characters are taken out of replies
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


def search(connection: Connection, words: str, *, limit: int = 20, video_id: int | None = None) -> Found:
    """Find frames by words; anything typed is words, never an error. No words find nothing."""
    for any_word in (False, True):
        expression = match_expression(words, any_word=any_word)
        hits = _hits(connection, expression, limit=limit, video_id=video_id) if expression else []
        if hits:
            return Found(hits, every_word=not any_word)
    return Found([], every_word=True)


def _hits(connection: Connection, expression: str, *, limit: int, video_id: int | None) -> list[Hit]:
    index = table("search_index", column("rowid"), column("tags"))
    score: ColumnElement[float] = literal_column("bm25(search_index, 1.0, 2.0)")
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
            SearchDocument.source,
            snippet.label("snippet"),
            score.label("score"),
        )
        .select_from(index)
        .join(SearchDocument, SearchDocument.frame_id == index.c.rowid)
        .join(Frame, Frame.id == SearchDocument.frame_id)
        .join(Video, Video.id == Frame.video_id)
        .where(literal_column("search_index").op("MATCH")(expression))
        .order_by(SearchDocument.source, score, Frame.video_id, Frame.timestamp)
        .limit(limit)
    )
    if video_id is not None:
        statement = statement.where(Frame.video_id == video_id)
    return [
        Hit(
            frame_id=row.frame_id,
            video_id=row.video_id,
            title=row.title,
            path=row.path,
            index=row.frame_index,
            timestamp=row.timestamp,
            stands_for=row.stands_for,
            image_path=row.image_path,
            source=SOURCES[row.source],
            snippet=re.sub(r"\s+", " ", row.snippet),
            score=row.score,
        )
        for row in connection.execute(statement)
    ]
