"""Full-text search: find frames by words, join them to moments, and keep the searchable text of each frame.

Results are ranked by source, then by relevance: a person's text first, then the deep pass, then the quick pass.

`search_documents` has one row per frame with the best text there is. The quick pass's text is appended to the deep
pass's, because each may mention what the other does not. While a person's text replaces the model's, the model's is
kept in the `model_…` columns and comes back when the person's is deleted. Model text is stored without the names a
model cannot know.

On SQLite the index `search_index` (FTS5) is maintained by triggers of `search_documents`: see the migrations. This
module, `db.checks`, `db.engine` and `db.migrate` are the only ones with statements for SQLite alone; PostgreSQL has no
search index yet. Every function runs in its caller's transaction.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    ForeignKey,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    table,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models import Base, BigId, Frame, Video

SOURCE_PERSON, SOURCE_DEEP, SOURCE_QUICK = 0, 1, 2  # of `search_documents`; results are ranked in this order
SOURCES = {SOURCE_PERSON: "person", SOURCE_DEEP: "deep", SOURCE_QUICK: "quick"}
SNIPPET_WORDS = 24
MARK_START, MARK_END = "\x02", "\x03"  # cannot occur in a description: control characters are removed from replies
_INDEX = table("search_index", column("rowid"), column("tags"))
_MATCHES = literal_column("search_index").op("MATCH")


class SearchDocument(Base):
    """The searchable text of a frame: the best one there is, without names that no model can know."""

    __tablename__ = "search_documents"

    frame_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("frames.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    source: Mapped[int]  # 0 person, 1 deep pass, 2 quick pass: results are ranked in this order
    text: Mapped[str]
    tags: Mapped[str]
    model_source: Mapped[int | None]  # model_…: the model's text, kept while a person's text replaces it
    model_text: Mapped[str | None]
    model_tags: Mapped[str | None]
    quick_text: Mapped[str | None]  # quick_…: the quick pass's text, searchable beside the deep pass's text
    quick_tags: Mapped[str | None]


@dataclass(frozen=True, slots=True)
class Hit:
    """A matching frame. In `snippet`, matches are enclosed in `MARK_START` and `MARK_END`."""

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
    score: float  # BM25: lower is better

    def marked(self, start: str, end: str) -> str:
        """The snippet with other marks."""
        return self.snippet.replace(MARK_START, start).replace(MARK_END, end)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits. `every_word`: they contain all words; else no frame does, and they contain some."""

    hits: list[Hit]
    every_word: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """Adjacent hits of one video in time order; `start` and `end` in seconds."""

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
) -> SearchResult:
    """Find frames by words, optionally only in some videos, with a tag, or between two timestamps (seconds).

    No input is a syntax error. Without words and without a tag there are no hits.
    """
    words = unicodedata.normalize("NFC", words)
    for any_word in (False, True):
        expression = match_expression(words, any_word=any_word, tag=tag)
        if not expression:
            break
        ranked = _ranked(connection, expression, limit=limit, video_ids=video_ids, start=start, end=end)
        if ranked:
            return SearchResult(_hits(connection, expression, ranked), every_word=not any_word)
    return SearchResult([], every_word=True)


def moments(hits: Sequence[Hit], *, gap_seconds: float = 3.0) -> list[Moment]:
    """Join hits of a video that are at most `gap_seconds` apart; ordered by the best hit of each moment."""
    rank = {hit.frame_id: position for position, hit in enumerate(hits)}
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


def match_expression(words: str, *, any_word: bool = False, tag: str | None = None) -> str:
    """Convert user input to an FTS5 expression that is never a syntax error; empty if it contains no words.

    A quoted phrase must match as a whole, a word ending in `*` is a prefix, everything else is plain words. All terms
    must match, or any of them with `any_word`. `tag` must also be among the tags.
    """
    terms = []
    composed = unicodedata.normalize("NFC", words)  # macOS types é as e plus an accent, which would split the word
    for phrase, word in re.findall(r'"([^"]*)"|([^\s"]+)', composed):
        star = "*" if word.endswith("*") else ""
        text = " ".join(re.findall(r"\w+", phrase or word))
        if text:
            terms.append(f'"{text}"{star}')
    expression = (" OR " if any_word else " ").join(terms)
    label = " ".join(re.findall(r"\w+", unicodedata.normalize("NFC", tag))) if tag is not None else ""
    if not label:
        return expression
    return f'tags : "{label}"' + (f" AND ({expression})" if expression else "")


def write_model_text(
    connection: Connection, frame_id: int, *, source: int, text: str, tags: str, is_lasting: bool = True
) -> None:
    """Store a model's searchable text, unless there is one of a better source.

    Where a person edited only the text or only the tags, the model's is used for the other. The quick pass's text is
    appended to the deep pass's if it `is_lasting`: measurements without a model are not.
    """
    current = connection.execute(
        select(*SearchDocument.__table__.columns, Frame.edited_description, Frame.edited_tags)
        .join_from(Frame, SearchDocument, isouter=True)
        .where(Frame.id == frame_id)
    ).one_or_none()
    if current is None:
        return  # the frame was removed
    quick = (current.quick_text, current.quick_tags)
    if source == SOURCE_QUICK and is_lasting:
        quick = (text, tags)
    lasting = {"quick_text": quick[0], "quick_tags": quick[1]}
    if current.source is None:
        values: dict[str, Any] = {"frame_id": frame_id, "source": source, "text": text, "tags": tags}
        connection.execute(insert(SearchDocument).values(**values, **lasting))
        return
    is_persons = current.source == SOURCE_PERSON
    best = current.model_source if is_persons else current.source
    model = (current.model_text, current.model_tags) if is_persons else (current.text, current.tags)
    if source == SOURCE_DEEP:
        found = _joined((text, tags), quick)
    elif best == SOURCE_DEEP:  # the deep text stays, only the appended quick text is replaced
        found, source = _joined(_parted(model, (current.quick_text, current.quick_tags)), quick), SOURCE_DEEP
    else:
        found = (text, tags)
    if not is_persons:
        values = {"source": source, "text": found[0], "tags": found[1]}
    else:
        values = {"model_source": source, "model_text": found[0], "model_tags": found[1]}
        if current.edited_description is None:
            values["text"] = found[0]
        if current.edited_tags is None:
            values["tags"] = found[1]
    changed = update(SearchDocument).where(SearchDocument.frame_id == frame_id)
    connection.execute(changed.values(**values, **lasting))


def write_person_text(connection: Connection, frame_id: int, *, text: str | None, tags: Sequence[str] | None) -> None:
    """Store a person's searchable text and tags; None leaves a part unchanged."""
    written: dict[str, Any] = {"source": SOURCE_PERSON}
    if text is not None:
        written["text"] = text
    if tags is not None:
        written["tags"] = " ".join(tags)
    current = connection.execute(
        select(SearchDocument.source, SearchDocument.text, SearchDocument.tags).where(
            SearchDocument.frame_id == frame_id
        )
    ).one_or_none()
    if current is None:
        connection.execute(insert(SearchDocument).values(frame_id=frame_id, **({"text": "", "tags": ""} | written)))
        return
    if current.source != SOURCE_PERSON:
        written |= {"model_source": current.source, "model_text": current.text, "model_tags": current.tags}
    connection.execute(update(SearchDocument).where(SearchDocument.frame_id == frame_id).values(**written))


def restore_model_text(connection: Connection, frame_id: int) -> None:
    """Replace a person's searchable text with the model's; delete it if there is no text of a model."""
    by_person = (SearchDocument.frame_id == frame_id, SearchDocument.source == SOURCE_PERSON)
    model = connection.execute(
        select(SearchDocument.model_source, SearchDocument.model_text, SearchDocument.model_tags).where(*by_person)
    ).one_or_none()
    if model is None:
        return
    if model.model_source is None:
        connection.execute(delete(SearchDocument).where(*by_person))
        return
    values = {"source": model.model_source, "text": model.model_text, "tags": model.model_tags}
    nothing = {"model_source": None, "model_text": None, "model_tags": None}
    connection.execute(update(SearchDocument).where(*by_person).values(**values, **nothing))


def discard_model_text(connection: Connection, frame_id: int) -> None:
    """Delete the searchable text of both passes; a person's stays."""
    own = SearchDocument.frame_id == frame_id
    connection.execute(delete(SearchDocument).where(own, SearchDocument.source != SOURCE_PERSON))
    person = connection.execute(
        select(Frame.edited_description, Frame.edited_tags).join(SearchDocument).where(own)
    ).one_or_none()
    if person is None:
        return
    names = ("model_source", "model_text", "model_tags", "quick_text", "quick_tags")
    values: dict[str, Any] = dict.fromkeys(names)
    if person.edited_description is None:  # the person edited only the other part
        values["text"] = ""
    if person.edited_tags is None:
        values["tags"] = ""
    connection.execute(update(SearchDocument).where(own).values(**values))


def _ranked(
    connection: Connection,
    expression: str,
    *,
    limit: int,
    video_ids: Collection[int] | None,
    start: float | None,
    end: float | None,
) -> dict[int, tuple[str, float]]:
    """The ids of the best frames, best first, with source and score. Reads no text."""
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


def _joined(deep: tuple[str, str], quick: tuple[str | None, str | None]) -> tuple[str, str]:
    """The text and the tags of both passes, those of the deep pass first: snippets show the beginning."""
    return deep[0] + _tail(quick[0], "\n"), deep[1] + _tail(quick[1], " ")


def _parted(both: tuple[str, str], quick: tuple[str | None, str | None]) -> tuple[str, str]:
    """The deep pass's text and tags without those of the quick pass."""
    return both[0].removesuffix(_tail(quick[0], "\n")), both[1].removesuffix(_tail(quick[1], " "))


def _tail(text: str | None, separator: str) -> str:
    return f"{separator}{text}" if text else ""
