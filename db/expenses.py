"""What each film's calls have taken in all, kept true by a trigger: whoever asks for costs adds up no million calls.

The trigger belongs to the statement that books a call, so that the sums are as true as `analyses`, whoever writes them
and wherever a kill or a power cut ends the transaction. What a removed film has cost stays, without the film.
`busy_seconds` is time on the clock: calls at the same time count once, never more than it was, so that electricity is
not counted twice. PostgreSQL will have the same trigger in its own words.
"""

from sqlalchemy import Connection

# Busy is the time on the clock since the last call of the pass ended, or the call's own length, whichever is less.
_BOOK = """CREATE TRIGGER analyses_booked AFTER INSERT ON analyses BEGIN
        INSERT INTO expenses(video_id, "pass", describer, model, calls, kept, busy_seconds, prompt_tokens,
            output_tokens, cost_usd, last_at)
        VALUES ((SELECT video_id FROM frames WHERE id = new.frame_id), new."pass", new.describer, new.model, 1,
            new.is_kept, min(new.latency_seconds, max(0.0, coalesce((julianday(new.created_at) - julianday(
                (SELECT max(last_at) FROM expenses WHERE "pass" = new."pass"))) * 86400.0, new.latency_seconds))),
            coalesce(new.prompt_tokens, 0), coalesce(new.output_tokens, 0), new.cost_usd, new.created_at)
        ON CONFLICT (video_id, "pass", describer, model) DO UPDATE SET
            calls = calls + 1,
            kept = kept + excluded.kept,
            busy_seconds = busy_seconds + excluded.busy_seconds,
            prompt_tokens = prompt_tokens + excluded.prompt_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cost_usd = cost_usd + excluded.cost_usd,
            last_at = max(last_at, excluded.last_at);
    END"""


def create_expenses(connection: Connection) -> None:
    """Create the trigger, where the database is SQLite."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_BOOK)
