"""What the search finds of each frame: the best text there is, a person's, the deep pass's or the quick one's.

Beside the deep pass's words those of the quick one are found too: one look may have seen what the other did not say.

While a person's is found, the model's is kept beside it, without the names it cannot know: it comes back when the
person takes theirs back. Every function takes part in its caller's transaction.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from db.models import Frame, SearchDocument

WRITTEN_BY_PERSON, WRITTEN_DEEP, WRITTEN_QUICK = 0, 1, 2


def put_model(
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
