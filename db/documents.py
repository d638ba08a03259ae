"""What the search finds of each frame: the best text there is, a person's, the deep pass's or the quick one's.

While a person's is found, the model's is kept beside it, without the names it cannot know: it comes back when the
person takes theirs back. Every function takes part in its caller's transaction.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from db.models import Frame, SearchDocument

WRITTEN_BY_PERSON, WRITTEN_DEEP, WRITTEN_QUICK = 0, 1, 2


def put_model(connection: Connection, frame_id: int, *, source: int, text: str, tags: str) -> None:
    """Have a model's text found, unless a better source's is there; the part a person left open is the model's."""
    current = connection.execute(
        select(
            SearchDocument.source,
            SearchDocument.model_source,
            Frame.edited_description,
            Frame.edited_tags,
        )
        .join_from(Frame, SearchDocument, isouter=True)
        .where(Frame.id == frame_id)
    ).one_or_none()
    if current is None:
        return  # the frame is gone
    if current.source is None:
        connection.execute(insert(SearchDocument).values(frame_id=frame_id, source=source, text=text, tags=tags))
        return
    values: dict[str, Any]
    if current.source != WRITTEN_BY_PERSON:
        if source > current.source:
            return
        values = {"source": source, "text": text, "tags": tags}
    else:
        if current.model_source is not None and source > current.model_source:
            return
        values = {"model_source": source, "model_text": text, "model_tags": tags}
        if current.edited_description is None:
            values["text"] = text
        if current.edited_tags is None:
            values["tags"] = tags
    connection.execute(update(SearchDocument).where(SearchDocument.frame_id == frame_id).values(**values))


def put_person(connection: Connection, frame_id: int, *, text: str | None, tags: Sequence[str] | None) -> None:
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


def take_back(connection: Connection, frame_id: int) -> None:
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
