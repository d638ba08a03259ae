"""Locations of videos, and the folder of a video's images, which no longer follows from its fingerprint."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FOLDER_NAME_CHARACTERS = 16  # of the fingerprint, until now


def upgrade() -> None:
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
