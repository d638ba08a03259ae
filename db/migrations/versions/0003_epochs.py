"""Epochs: the stretches of a video between two restarts of its file's clock."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
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
