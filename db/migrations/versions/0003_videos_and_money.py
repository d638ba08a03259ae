"""Epochs and locations of videos, and money reserved for requests to paid models.

An epoch is a stretch of a video between two restarts of its file's clock. A location is a path of a video. A video's
folder of images no longer follows from its fingerprint. A reservation has a row for each image of a request, which also
is the claim on the image.
"""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Until now a batch stored its expected cost only: 150 of at most 400 output tokens for an image, 800 of at most 2,000
# for thinking. So the most it may cost is at most 400 / 150 of what was expected.
MOST_OF_EXPECTED = 400 / 150
FOLDER_NAME_CHARACTERS = 16  # of the fingerprint: the name of an image folder, until now


def upgrade() -> None:
    _add_epochs()
    _add_locations()
    _add_reservations()


def _add_epochs() -> None:
    op.create_table(
        "epochs",
        sa.Column("video_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_index", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("clock_at", sa.Double(), nullable=False),
        sa.Column("is_steady", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("video_id", "number", name="pk_epochs"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_epochs_video_id_videos", ondelete="CASCADE"),
    )


def _add_locations() -> None:
    op.add_column("videos", sa.Column("image_folder", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "locations",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("video_id", BIG_ID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_locations"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_locations_video_id_videos", ondelete="CASCADE"),
        sa.UniqueConstraint("path", name="uq_locations_path"),
    )
    op.create_index("ix_locations_video_id", "locations", ["video_id"])
    video = sa.table("videos", *(sa.column(name) for name in ("id", "path", "fingerprint", "image_folder", "added_at")))
    folder = sa.func.substr(video.c.fingerprint, 1, FOLDER_NAME_CHARACTERS)
    op.execute(video.update().values(image_folder=folder))
    other = video.alias("other")
    newest = sa.select(sa.func.max(other.c.id)).where(other.c.path == video.c.path).scalar_subquery()
    known = sa.select(video.c.id, video.c.path, video.c.added_at).where(video.c.id == newest).order_by(video.c.id)
    location = sa.table("locations", *(sa.column(name) for name in ("video_id", "path", "added_at")))
    op.execute(location.insert().from_select(["video_id", "path", "added_at"], known))


def _add_reservations() -> None:
    table = op.create_table(
        "reservations",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("frame_id", BIG_ID, nullable=True),
        sa.Column("task_id", BIG_ID, nullable=True),
        sa.Column("is_batch", sa.Boolean(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=True),
        sa.Column("describer", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("usd", sa.Double(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["frame_id"], ["frames.id"], name="fk_reservations_frame_id_frames", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_reservations_task_id_tasks", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_reservations"),
        sa.UniqueConstraint(
            "frame_id",
            "describer",
            "model",
            "prompt_version",
            name="uq_reservations_frame_id_describer_model_prompt_version",
        ),
    )
    op.create_index("ix_reservations_request", "reservations", ["request"], unique=False)
    op.create_index("ix_reservations_task_id", "reservations", ["task_id"], unique=False)
    rows = _rows_of_open_batches()
    if rows:
        op.bulk_insert(table, rows)


def _rows_of_open_batches() -> list[dict[str, Any]]:
    """A row for each image of the batches under way, with a share of the most that its batch may cost."""
    connection = op.get_bind()
    tasks = sa.table("tasks", *(sa.column(name) for name in ("id", "kind", "status", "payload")))
    frames = sa.table("frames", sa.column("id"))
    is_open = (tasks.c.kind == "batch", tasks.c.status.in_(("todo", "doing")))
    rows = []
    claimed = set()
    for task in connection.execute(sa.select(tasks).where(*is_open).order_by(tasks.c.id)).all():
        batch = json.loads(task.payload) if isinstance(task.payload, str) else task.payload
        count = sum(len(labels) for labels in batch["parts"].values())
        for request, labels in batch["parts"].items():
            for label in labels if request not in batch.get("saved", []) else ():
                frame_id = int(label.removeprefix("F"))
                is_known = connection.scalar(sa.select(frames.c.id).where(frames.c.id == frame_id)) is not None
                claim = (frame_id, batch["model"], batch["prompt_version"])
                rows.append(
                    {
                        "created_at": _moment(batch["created_at"]),
                        "request": request,
                        "label": label,
                        "frame_id": frame_id if is_known and claim not in claimed else None,
                        "task_id": task.id,
                        "is_batch": True,
                        "batch_id": batch.get("batch_id"),
                        "describer": "claude",
                        "model": batch["model"],
                        "prompt_version": batch["prompt_version"],
                        "usd": batch["usd"] * MOST_OF_EXPECTED / count,
                        "sender": _identity(batch["sender"]),
                    }
                )
                claimed.add(claim)
    return rows


def _identity(sender: dict[str, Any]) -> str:
    """A process identity as text."""
    return f"{sender['hostname']} {sender['pid']} {sender['created_at']!r} {sender.get('machine_id') or '-'}"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
