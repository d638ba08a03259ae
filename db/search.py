"""Finding moments by words: what a person wrote first, then the deep pass, then the quick one; each best first.

What the search finds of each frame: the best text there is, a person's, the deep pass's or the quick one's.

Beside the deep pass's words those of the quick one are found too: one look may have seen what the other did not say.

While a person's is found, the model's is kept beside it, without the names it cannot know: it comes back when the
person takes theirs back. Every function takes part in its caller's transaction.

The full-text index over `search_documents`: FTS5 on SQLite, kept true by triggers.

This and `db/engine.py` are the only modules that know what SQLite alone understands. The table `search_documents` is
the same on every database; PostgreSQL will index it in its own way.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, column, delete, func, insert, literal_column, select, table, update

from db.models import Frame, SearchDocument, Video

WRITTEN_BY_PERSON, WRITTEN_DEEP, WRITTEN_QUICK = 0, 1, 2
SNIPPET_WORDS = 24
MARK_START, MARK_END = "\x02", "\x03"  # cannot occur in a description: control characters are taken out of replies
_INDEX = table("search_index", column("rowid"), column("tags"))
_MATCHES = literal_column("search_index").op("MATCH")
SOURCES = {WRITTEN_BY_PERSON: "person", WRITTEN_DEEP: "deep", WRITTEN_QUICK: "quick"}


def write_model_text(
    connection: Connection, frame_id: int, *, source: int, text: str, tags: str, is_lasting: bool = True
) -> None:
    """Have a model's text found, unless a better source's is there; the part a person left open is the model's.

    The deep pass's text is found together with the quick one's, if that is `is_lasting`: measurements are not.
    """
    current = connection.execute(
        select(*SearchDocument.__table__.columns, Frame.edited_description, Frame.edited_tags)
        .join_from(Frame, SearchDocument, isouter=True)
        .where(Frame.id == frame_id)
    ).one_or_none()
    if current is None:
        return  # the frame is gone
    quick = (current.quick_text, current.quick_tags)
    if source == WRITTEN_QUICK and is_lasting:
        quick = (text, tags)
    lasting = {"quick_text": quick[0], "quick_tags": quick[1]}
    if current.source is None:
        values: dict[str, Any] = {"frame_id": frame_id, "source": source, "text": text, "tags": tags}
        connection.execute(insert(SearchDocument).values(**values, **lasting))
        return
    is_persons = current.source == WRITTEN_BY_PERSON
    best = current.model_source if is_persons else current.source
    said = (current.model_text, current.model_tags) if is_persons else (current.text, current.tags)
    if source == WRITTEN_DEEP:
        found = _joined((text, tags), quick)
    elif best == WRITTEN_DEEP:  # its own words stay, those of an earlier quick look beside them go
        found, source = _joined(_parted(said, (current.quick_text, current.quick_tags)), quick), WRITTEN_DEEP
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


def _joined(deep: tuple[str, str], quick: tuple[str | None, str | None]) -> tuple[str, str]:
    """The text and the tags of both passes; the deep one's come first, so that they are what is shown of them."""
    return deep[0] + _tail(quick[0], "\n"), deep[1] + _tail(quick[1], " ")


def _parted(both: tuple[str, str], quick: tuple[str | None, str | None]) -> tuple[str, str]:
    """The deep pass's text and tags by themselves."""
    return both[0].removesuffix(_tail(quick[0], "\n")), both[1].removesuffix(_tail(quick[1], " "))


def _tail(text: str | None, between: str) -> str:
    return f"{between}{text}" if text else ""


def write_person_text(connection: Connection, frame_id: int, *, text: str | None, tags: Sequence[str] | None) -> None:
    """Have what a person wrote found; None leaves a part as it is."""
    written: dict[str, Any] = {"source": WRITTEN_BY_PERSON}
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
    if current.source != WRITTEN_BY_PERSON:
        written |= {"model_source": current.source, "model_text": current.text, "model_tags": current.tags}
    connection.execute(update(SearchDocument).where(SearchDocument.frame_id == frame_id).values(**written))


def restore_model_text(connection: Connection, frame_id: int) -> None:
    """Have the model's text found again instead of a person's; nothing, where no model has said anything."""
    by_person = (SearchDocument.frame_id == frame_id, SearchDocument.source == WRITTEN_BY_PERSON)
    said = connection.execute(
        select(SearchDocument.model_source, SearchDocument.model_text, SearchDocument.model_tags).where(*by_person)
    ).one_or_none()
    if said is None:
        return
    if said.model_source is None:
        connection.execute(delete(SearchDocument).where(*by_person))
        return
    values = {"source": said.model_source, "text": said.model_text, "tags": said.model_tags}
    nothing = {"model_source": None, "model_text": None, "model_tags": None}
    connection.execute(update(SearchDocument).where(*by_person).values(**values, **nothing))


def match_expression(words: str, *, any_word: bool = False, tag: str | None = None) -> str:
    """What a person typed, as an FTS5 expression that is never a syntax error; empty if there are no words in it.

    Quoted phrases stay together, a word that ends in `*` finds what begins with it, all else is plain words:
    all of them must occur, or one of them with `any_word`. `tag` must stand among the tags besides.
    """
    terms = []
    composed = unicodedata.normalize("NFC", words)  # macOS types é as e and an accent, at which a word would be cut
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
class SearchResult:
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
) -> SearchResult:
    """Find frames by words, also only in some videos, with a tag, or between two times of their videos (seconds).

    Anything typed is words, never an error. Without words and without a tag nothing is found.
    """
    for any_word in (False, True):
        expression = match_expression(words, any_word=any_word, tag=tag)
        if not expression:
            break
        ranked = _ranked(connection, expression, limit=limit, video_ids=video_ids, start=start, end=end)
        if ranked:
            return SearchResult(_hits(connection, expression, ranked), every_word=not any_word)
    return SearchResult([], every_word=True)


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
