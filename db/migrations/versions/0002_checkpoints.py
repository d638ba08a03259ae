"""Checkpoints of extractions, and the id of the machine on which a run works."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("video_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("wanted", sa.JSON(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=True),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("video_id", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name="fk_checkpoints_video_id_videos", ondelete="CASCADE"),
    )
    op.add_column("runs", sa.Column("machine_id", sa.Text(), nullable=True))
