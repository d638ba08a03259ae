"""Reservations: money set aside for requests to paid models, from before they are sent until their cost is recorded.

    reserve ──► sent ──settle──► deleted, in the transaction that records the calls
       │          └──hold──► kept without money, for images that are sent again alone ──► reserve_again
       ├──release──► deleted: the request was certainly not charged
       └──record_uncertain──► deleted: the request may have been charged, so it is recorded at its highest price

There is one row for each image. The rows' money counts as spent, and as their frame, describer, model and prompt
version are unique, they are the claim on the image: while there is one, nobody else sends it. What happens in one
transaction cannot be passed by another one: check the budget and reserve in one transaction of `writing`, which SQLite
runs one after another. PostgreSQL will need a lock on the table for that.

The row outlives its frame and its batch's task, so that removing a video loses no cost. Every function runs in its
caller's transaction; `now` is an argument.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    UniqueConstraint,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from db import store
from db.models import QUICK, Analysis, Base, BigId, Frame
from db.runs import ProcessIdentity

UNCERTAIN = "uncertain_cost"  # the warning of a call that was recorded at its highest price


class Reservation(Base):
    """Money set aside for one image of a request to a paid model, and the claim on it. Here, beside what it means."""

    __tablename__ = "reservations"
    __table_args__ = (
        UniqueConstraint("frame_id", "describer", "model", "prompt_version"),
        Index(None, "request"),
        Index(None, "task_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    created_at: Mapped[datetime]  # just before the request is sent: its cost counts in that month
    request: Mapped[str]  # the same for all images of a request; of a batch, the request's custom id
    label: Mapped[str]  # of the image
    frame_id: Mapped[int | None] = mapped_column(ForeignKey("frames.id", ondelete="SET NULL"))  # null: removed
    task_id: Mapped[int | None] = mapped_column(ForeignKey("tasks.id", ondelete="SET NULL"))  # of its batch
    is_batch: Mapped[bool]
    batch_id: Mapped[str | None]  # Anthropic's; null: not known yet, or no batch
    describer: Mapped[str]
    model: Mapped[str]
    prompt_version: Mapped[str]
    usd: Mapped[float]  # the image's share of the most that the request may cost; 0: it is not sent yet
    sender: Mapped[str]  # the process that sends it: its identity as text


@dataclass(frozen=True, slots=True)
class Describing:
    """What an image is sent to. With its frame, the identity of what is paid for."""

    describer: str
    model: str
    prompt_version: str


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request whose cost is not recorded yet. `frame_ids`: by label, None for a removed frame."""

    request: str
    created_at: datetime
    sender: ProcessIdentity | None
    usd: float
    frame_ids: dict[str, int | None]


@dataclass(frozen=True, slots=True)
class OrphanBatch:
    """A batch under way whose video was removed. `requests`: their labels by custom id."""

    batch_id: str | None
    model: str
    prompt_version: str
    created_at: datetime
    sender: ProcessIdentity | None
    requests: dict[str, list[str]]


def label_of(frame_id: int) -> str:
    """The label of a frame's image in a request."""
    return f"F{frame_id}"


def frame_of(label: str) -> int:
    """The frame id of a label."""
    return int(label.removeprefix("F"))


def last_call_id(connection: Connection) -> int:
    """The id of the last call that is recorded; 0 without calls."""
    return connection.scalar(select(func.max(Analysis.id))) or 0


def taken_labels(connection: Connection, labels: Collection[str], what: Describing, *, after_call: int) -> set[str]:
    """The images that must not be sent: they are reserved, or were paid for or described after this call.

    What was paid for before is the caller's decision: it may have been agreed to send it again.
    """
    frame_ids = [frame_of(label) for label in labels]
    reserved = select(Reservation.frame_id).where(Reservation.frame_id.in_(frame_ids), *_is(Reservation, what))
    paid = (
        select(Analysis.frame_id)
        .where(Analysis.frame_id.in_(frame_ids), Analysis.id > after_call, *_is(Analysis, what))
        .where(Analysis.pass_ == QUICK, or_(Analysis.cost_usd > 0, Analysis.is_kept))
    )
    existing = select(Frame.id).where(Frame.id.in_(frame_ids))
    removed = set(frame_ids) - set(connection.scalars(existing))
    found = {*connection.scalars(reserved), *connection.scalars(paid), *removed}
    return {label_of(frame_id) for frame_id in found if frame_id is not None}


def pending_frames(connection: Connection, frame_ids: Collection[int], what: Describing) -> dict[int, bool]:
    """The frames that are reserved, and whether they are in a batch."""
    statement = select(Reservation.frame_id, Reservation.is_batch).where(Reservation.frame_id.in_(frame_ids))
    rows = connection.execute(statement.where(*_is(Reservation, what)))
    return {row.frame_id: row.is_batch for row in rows if row.frame_id is not None}


def reserve(
    connection: Connection,
    request: str,
    usd_by_label: Mapping[str, float],
    what: Describing,
    *,
    sender: ProcessIdentity,
    now: datetime,
    task_id: int | None = None,
) -> None:
    """Set money aside for the images of a request. With `task_id`, of a batch.

    The caller has checked the budget and `taken_labels` in this transaction.
    """
    common = {"created_at": now, "request": request, "sender": str(sender), **asdict(what)}
    common |= {"task_id": task_id, "is_batch": task_id is not None}
    rows = [{**common, "label": label, "frame_id": frame_of(label), "usd": usd} for label, usd in usd_by_label.items()]
    if rows:
        connection.execute(insert(Reservation), rows)


def reserve_again(
    connection: Connection, request: str, label: str, usd: float, *, new_request: str, now: datetime
) -> bool:
    """Set money aside for an image that is held, as a request of its own. False if it is not held, or was removed."""
    held = update(Reservation).where(Reservation.request == request, Reservation.label == label)
    held = held.where(Reservation.frame_id.is_not(None))
    return bool(connection.execute(held.values(request=new_request, usd=usd, created_at=now)).rowcount)


def hold(connection: Connection, request: str, labels: Collection[str]) -> None:
    """Keep the claim on these images of a request without money, and delete its other rows: they are recorded."""
    of_request = Reservation.request == request
    connection.execute(delete(Reservation).where(of_request, Reservation.label.not_in(labels)))
    connection.execute(update(Reservation).where(of_request).values(usd=0.0))


def release(connection: Connection, requests: Iterable[str]) -> None:
    """Delete the reservations of requests: they were not charged, or this transaction records their cost."""
    connection.execute(delete(Reservation).where(Reservation.request.in_(list(requests))))


def set_batch_id(connection: Connection, requests: Iterable[str], batch_id: str) -> None:
    """Record Anthropic's id of the batch with these requests."""
    statement = update(Reservation).where(Reservation.request.in_(list(requests)))
    connection.execute(statement.values(batch_id=batch_id))


def open_usd(connection: Connection, since: datetime) -> float:
    """The money set aside for requests sent at `since` or later, in US dollars."""
    total = select(func.coalesce(func.sum(Reservation.usd), 0.0)).where(Reservation.created_at >= since)
    return float(connection.execute(total).scalar_one())


def open_usd_of_video(connection: Connection, video_id: int) -> float:
    """The money set aside for images of a video, in US dollars."""
    total = select(func.coalesce(func.sum(Reservation.usd), 0.0)).join(Frame, Frame.id == Reservation.frame_id)
    return float(connection.execute(total.where(Frame.video_id == video_id)).scalar_one())


def open_request(connection: Connection, request: str) -> OpenRequest | None:
    """A request; None if its cost is recorded."""
    found = _requests(connection, Reservation.request == request)
    return found[0] if found else None


def record_uncertain(connection: Connection, request: str, reason: str) -> int:
    """Record a request that may have been charged at its highest price. Returns how many images that are.

    Its images count as paid for without an answer, so none is sent again unless a person agrees. Images that were held
    are released: they were not sent.
    """
    rows = connection.execute(select(Reservation.__table__).where(Reservation.request == request)).all()
    sent = [row for row in rows if row.usd > 0]
    for row in sent:
        call = store.NewAnalysis(
            describer=row.describer,
            model=row.model,
            model_digest="",
            host="",
            prompt_version=row.prompt_version,
            latency_seconds=0.0,
            load_seconds=0.0,
            prompt_tokens=None,
            output_tokens=None,
            cost_usd=row.usd,
            raw_reply="",
            warnings=[{"problem": UNCERTAIN, "detail": reason}],
            is_kept=False,
        )
        store.record_calls(connection, row.frame_id, [call], pass_=QUICK, now=row.created_at)
    release(connection, [request])
    return len(sent)


def has_requests(connection: Connection) -> bool:
    """Whether a request that is no batch is under way, or was when its process was killed."""
    return connection.scalar(select(Reservation.id).where(Reservation.is_batch.is_(False)).limit(1)) is not None


def record_abandoned(connection: Connection, is_abandoned: Callable[[OpenRequest], bool], reason: str) -> int:
    """Record the requests whose senders are gone as uncertain. Returns how many images may have been paid for.

    Batches are left to their collector, which asks Claude what became of them.
    """
    count = 0
    for one in _requests(connection, Reservation.is_batch.is_(False)):
        if is_abandoned(one):
            count += record_uncertain(connection, one.request, reason)
    return count


def orphan_batches(connection: Connection) -> list[OrphanBatch]:
    """The batches under way whose videos were removed, oldest first."""
    statement = select(Reservation.__table__).where(Reservation.is_batch, Reservation.task_id.is_(None))
    groups: dict[tuple[str, str, datetime], list[Any]] = defaultdict(list)
    for row in connection.execute(statement.order_by(Reservation.id)):
        groups[row.batch_id or "", row.model, row.created_at].append(row)
    return [
        OrphanBatch(
            batch_id=rows[0].batch_id,
            model=rows[0].model,
            prompt_version=rows[0].prompt_version,
            created_at=rows[0].created_at,
            sender=ProcessIdentity.parse(rows[0].sender),
            requests=_labels_by_request(rows),
        )
        for rows in groups.values()
    ]


def _labels_by_request(rows: Sequence[Any]) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        labels[row.request].append(row.label)
    return dict(labels)


def _requests(connection: Connection, where: ColumnElement[bool]) -> list[OpenRequest]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(select(Reservation.__table__).where(where).order_by(Reservation.id)):
        groups[row.request].append(row)
    return [
        OpenRequest(
            request=request,
            created_at=rows[0].created_at,
            sender=ProcessIdentity.parse(rows[0].sender),
            usd=sum(row.usd for row in rows),
            frame_ids={row.label: row.frame_id for row in rows},
        )
        for request, rows in groups.items()
    ]


def _is(table: type[Reservation] | type[Analysis], what: Describing) -> tuple[ColumnElement[bool], ...]:
    return (
        table.describer == what.describer,
        table.model == what.model,
        table.prompt_version == what.prompt_version,
    )
