"""The first schema: all tables, and on SQLite the full-text index and the triggers for counts and costs.

Frozen: it imports nothing of this project, so that it makes the same schema whatever the code of a later version says.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# The full-text index over search_documents, and the triggers that keep it in step.
SEARCH_INDEX = (
    """CREATE VIRTUAL TABLE search_index USING fts5(
        text, tags, content='search_documents', content_rowid='frame_id',
        tokenize='porter unicode61 remove_diacritics 2'
    )""",
    """CREATE TRIGGER search_documents_inserted AFTER INSERT ON search_documents BEGIN
        INSERT INTO search_index(rowid, text, tags) VALUES (new.frame_id, new.text, new.tags);
    END""",
    """CREATE TRIGGER search_documents_deleted AFTER DELETE ON search_documents BEGIN
        INSERT INTO search_index(search_index, rowid, text, tags)
        VALUES ('delete', old.frame_id, old.text, old.tags);
    END""",
    """CREATE TRIGGER search_documents_updated AFTER UPDATE ON search_documents BEGIN
        INSERT INTO search_index(search_index, rowid, text, tags)
        VALUES ('delete', old.frame_id, old.text, old.tags);
        INSERT INTO search_index(rowid, text, tags) VALUES (new.frame_id, new.text, new.tags);
    END""",
)
# The triggers that keep the counts in `tallies` in step with frames and deep describe tasks.
COUNTS = (
    """CREATE TRIGGER videos_tallied AFTER INSERT ON videos BEGIN
        INSERT INTO tallies(video_id, kept, described, covered, planned, done) VALUES (new.id, 0, 0, 0, 0, 0)
        ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER frames_tallied AFTER INSERT ON frames BEGIN
        UPDATE tallies SET
            kept = kept + 1,
            described = described + (new.local_description IS NOT NULL),
            covered = covered + coalesce((new.local_description IS NOT NULL) * new.stands_for, 0)
        WHERE video_id = new.video_id;
    END""",
    """CREATE TRIGGER frames_untallied AFTER DELETE ON frames BEGIN
        UPDATE tallies SET
            kept = kept - 1,
            described = described - (old.local_description IS NOT NULL),
            covered = covered - coalesce((old.local_description IS NOT NULL) * old.stands_for, 0)
        WHERE video_id = old.video_id;
    END""",
    """CREATE TRIGGER frames_retallied AFTER UPDATE OF video_id, stands_for, local_description ON frames BEGIN
        UPDATE tallies SET
            kept = kept - 1,
            described = described - (old.local_description IS NOT NULL),
            covered = covered - coalesce((old.local_description IS NOT NULL) * old.stands_for, 0)
        WHERE video_id = old.video_id;
        UPDATE tallies SET
            kept = kept + 1,
            described = described + (new.local_description IS NOT NULL),
            covered = covered + coalesce((new.local_description IS NOT NULL) * new.stands_for, 0)
        WHERE video_id = new.video_id;
    END""",
    """CREATE TRIGGER tasks_tallied AFTER INSERT ON tasks WHEN new.kind = 'describe' AND new."pass" = 'deep' BEGIN
        UPDATE tallies SET planned = planned + 1, done = done + (new.status = 'done')
        WHERE video_id = new.video_id;
    END""",
    """CREATE TRIGGER tasks_untallied AFTER DELETE ON tasks WHEN old.kind = 'describe' AND old."pass" = 'deep' BEGIN
        UPDATE tallies SET planned = planned - 1, done = done - (old.status = 'done')
        WHERE video_id = old.video_id;
    END""",
    (
        """CREATE TRIGGER tasks_retallied AFTER UPDATE OF video_id, status ON tasks
    WHEN new.kind = 'describe' AND new."pass" = 'deep' """
        """AND (old.status = 'done' OR new.status = 'done' OR old.video_id != new.video_id) BEGIN
        UPDATE tallies SET planned = planned - 1, done = done - (old.status = 'done')
        WHERE video_id = old.video_id;
        UPDATE tallies SET planned = planned + 1, done = done + (new.status = 'done')
        WHERE video_id = new.video_id;
    END"""
    ),
)
# The trigger that adds each call to `expenses`. `room` is the wall-clock time this call may have used while no other
# call of its pass ran: the time since the last recorded call, or what that call left of it if both have the same
# timestamp (a call and its retry).
COSTS = (
    """CREATE TRIGGER analyses_booked AFTER INSERT ON analyses BEGIN
        INSERT INTO expenses(video_id, "pass", describer, model, calls, kept, busy_seconds, slack_seconds,
            prompt_tokens, output_tokens, cost_usd, last_at)
        SELECT (SELECT video_id FROM frames WHERE id = new.frame_id), new."pass", new.describer, new.model, 1,
            new.is_kept, min(new.latency_seconds, room), max(0.0, room - new.latency_seconds),
            coalesce(new.prompt_tokens, 0), coalesce(new.output_tokens, 0), new.cost_usd, new.created_at
        FROM (SELECT coalesce((
            SELECT CASE
                WHEN new.created_at > last_at THEN (julianday(new.created_at) - julianday(last_at)) * 86400.0
                WHEN new.created_at = last_at THEN slack_seconds ELSE 0.0 END
            FROM expenses WHERE "pass" = new."pass" ORDER BY last_at DESC, slack_seconds LIMIT 1
        ), new.latency_seconds) AS room) WHERE true
        ON CONFLICT (video_id, "pass", describer, model) DO UPDATE SET
            calls = calls + 1,
            kept = kept + excluded.kept,
            busy_seconds = busy_seconds + excluded.busy_seconds,
            slack_seconds = excluded.slack_seconds,
            prompt_tokens = prompt_tokens + excluded.prompt_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cost_usd = cost_usd + excluded.cost_usd,
            last_at = max(last_at, excluded.last_at);
    END""",
)


def create_partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=False,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where.replace("is_kept = 1", "is_kept")),
    )


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("progress_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("requested", sa.Text(), nullable=True),
        sa.Column("options", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("counts", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("log_path", sa.Text(), nullable=True),
        sa.Column("supervisor", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("activity", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_state"), "runs", ["state"], unique=False)
    op.create_table(
        "videos",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("duration", sa.Double(), nullable=True),
        sa.Column("fps", sa.Double(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("start_timecode", sa.Text(), nullable=True),
        sa.Column("camera", sa.Text(), nullable=True),
        sa.Column("recording", sa.Text(), nullable=True),
        sa.Column("chapter", sa.Integer(), nullable=True),
        sa.Column("warnings", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("frame_count", sa.Integer(), nullable=True),
        sa.Column("decode_failures", sa.Integer(), nullable=False),
        sa.Column("extraction_status", sa.Text(), nullable=False),
        sa.Column("enrichment_status", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("sampling", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_videos")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_videos_fingerprint")),
    )
    op.create_table(
        "tallies",
        sa.Column("video_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("described", sa.Integer(), nullable=False),
        sa.Column("covered", sa.Integer(), nullable=False),
        sa.Column("planned", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["video_id"], ["videos.id"], name=op.f("fk_tallies_video_id_videos"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("video_id", name=op.f("pk_tallies")),
    )
    op.create_table(
        "frames",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("video_id", BIG_ID, nullable=False),
        sa.Column("index", sa.Integer(), nullable=True),
        sa.Column("timestamp", sa.Double(), nullable=False),
        sa.Column("stands_for", sa.Integer(), nullable=True),
        sa.Column("scene", sa.Integer(), nullable=True),
        sa.Column("image_path", sa.Text(), nullable=False),
        sa.Column("dhash", sa.Text(), nullable=True),
        sa.Column("sharpness", sa.Double(), nullable=True),
        sa.Column("brightness", sa.Double(), nullable=True),
        sa.Column("motion", sa.Double(), nullable=True),
        sa.Column("is_keyframe", sa.Boolean(), nullable=False),
        sa.Column("quick_description", sa.Text(), nullable=True),
        sa.Column("quick_tags", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("event_type", sa.Text(), nullable=True),
        sa.Column("excitement", sa.Double(), nullable=True),
        sa.Column("local_description", sa.Text(), nullable=True),
        sa.Column("local_tags", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("enriched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("edited_description", sa.Text(), nullable=True),
        sa.Column("edited_tags", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["video_id"], ["videos.id"], name=op.f("fk_frames_video_id_videos"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_frames")),
        sa.UniqueConstraint("video_id", "timestamp", name=op.f("uq_frames_video_id_timestamp")),
    )
    op.create_index(op.f("ix_frames_video_id_index"), "frames", ["video_id", "index"], unique=False)
    create_partial("ix_frames_enriched_at", "frames", ["enriched_at"], "enriched_at IS NOT NULL")
    create_partial(
        "ix_frames_waiting", "frames", ["video_id", "timestamp", "local_description"], "local_description IS NULL"
    )
    create_partial("ix_frames_corrected", "frames", ["video_id", "timestamp", "edited_at"], "edited_at IS NOT NULL")
    create_partial("ix_frames_reviewed", "frames", ["video_id", "timestamp", "reviewed_at"], "reviewed_at IS NOT NULL")
    create_partial("ix_frames_excitement", "frames", ["video_id", "timestamp", "excitement"], "excitement IS NOT NULL")
    op.create_table(
        "analyses",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=True),
        sa.Column("frame_id", BIG_ID, nullable=True),
        sa.Column("segment_id", sa.BigInteger(), nullable=True),
        sa.Column("pass", sa.Text(), nullable=False),
        sa.Column("describer", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_digest", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("latency_seconds", sa.Double(), nullable=False),
        sa.Column("load_seconds", sa.Double(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("cost_usd", sa.Double(), nullable=False),
        sa.Column("raw_reply", sa.Text(), nullable=True),
        sa.Column("warnings", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("is_kept", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["frame_id"], ["frames.id"], name=op.f("fk_analyses_frame_id_frames"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_analyses_run_id_runs"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analyses")),
    )
    op.create_index(op.f("ix_analyses_frame_id"), "analyses", ["frame_id"], unique=False)
    op.create_index("ix_analyses_model_id", "analyses", ["describer", "model", "id"], unique=False)
    create_partial("ix_analyses_pace", "analyses", ["created_at", "run_id", "pass", "is_kept"], "is_kept = 1")
    create_partial("ix_analyses_doubtful", "analyses", ["frame_id"], "is_kept = 1 AND CAST(warnings AS TEXT) != '[]'")
    create_partial("ix_analyses_paid", "analyses", ["created_at", "cost_usd"], "cost_usd > 0")
    op.create_table(
        "expenses",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("video_id", BIG_ID, nullable=True),
        sa.Column("pass", sa.Text(), nullable=False),
        sa.Column("describer", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("busy_seconds", sa.Double(), nullable=False),
        sa.Column("slack_seconds", sa.Double(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["video_id"], ["videos.id"], name=op.f("fk_expenses_video_id_videos"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_expenses")),
        sa.UniqueConstraint(
            "video_id", "pass", "describer", "model", name=op.f("uq_expenses_video_id_pass_describer_model")
        ),
    )
    op.create_index(op.f("ix_expenses_pass_last_at"), "expenses", ["pass", "last_at"], unique=False)
    op.create_table(
        "search_documents",
        sa.Column("frame_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("source", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("model_source", sa.Integer(), nullable=True),
        sa.Column("model_text", sa.Text(), nullable=True),
        sa.Column("model_tags", sa.Text(), nullable=True),
        sa.Column("quick_text", sa.Text(), nullable=True),
        sa.Column("quick_tags", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["frame_id"], ["frames.id"], name=op.f("fk_search_documents_frame_id_frames"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("frame_id", name=op.f("pk_search_documents")),
    )
    op.create_table(
        "tasks",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("pass", sa.Text(), nullable=False),
        sa.Column("video_id", BIG_ID, nullable=False),
        sa.Column("frame_id", BIG_ID, nullable=True),
        sa.Column("segment_id", sa.BigInteger(), nullable=True),
        sa.Column("payload", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["frame_id"], ["frames.id"], name=op.f("fk_tasks_frame_id_frames"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_tasks_run_id_runs"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name=op.f("fk_tasks_video_id_videos"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("frame_id", "kind", "pass", name=op.f("uq_tasks_frame_id_kind_pass")),
    )
    op.create_index("ix_tasks_claim", "tasks", ["status", "kind", "pass", sa.text("priority DESC"), "id"], unique=False)
    op.create_index("ix_tasks_lease", "tasks", ["status", "lease_until"], unique=False)
    op.create_index("ix_tasks_video", "tasks", ["video_id", "status", "kind", "pass"], unique=False)
    if op.get_context().dialect.name == "sqlite":
        for statement in (*SEARCH_INDEX, *COUNTS, *COSTS):
            op.get_bind().exec_driver_sql(statement)
