"""What each film's calls have taken in all, kept true by a trigger: whoever asks for costs adds up no million calls.

The trigger belongs to the statement that books a call, so that the sums are as true as `analyses`, whoever writes them
and wherever a kill or a power cut ends the transaction. What a removed film has cost stays, without the film.
`busy_seconds` is time on the clock: calls at the same time count once, never more than it was, so that electricity is
not counted twice. PostgreSQL will have the same trigger in its own words.
"""

from sqlalchemy import Connection

# `room` is the time on the clock in which this call may have run while none of its pass did: since the last one was
# booked, or what that one left of it where both were booked at the same moment, as a call and its second try are.
_BOOK = """CREATE TRIGGER analyses_booked AFTER INSERT ON analyses BEGIN
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
    END"""


def create_expenses(connection: Connection) -> None:
    """Create the trigger, where the database is SQLite."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_BOOK)
