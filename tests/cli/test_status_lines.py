"""The lines of `everyframe status`, built from made statuses."""

from datetime import UTC, datetime
from typing import Any

import pytest

from db.models import RunState
from db.runs import RunRow
from enrich.cli.status_lines import lines
from enrich.control.status import Stall, Status, WorkerHealth
from enrich.process import this_process

NOW = datetime.now(UTC)


def run(state: RunState) -> RunRow:
    return RunRow(
        id=1,
        process=this_process(),
        supervisor=None,
        started_at=NOW,
        heartbeat_at=NOW,
        progress_at=NOW,
        state=state,
        reason=None,
        requested=None,
        options={},
        counts={},
        activity={},
        error=None,
        log_path=None,
    )


def status(health: WorkerHealth = WorkerHealth.NONE, state: RunState | None = None, **changes: Any) -> Status:
    """A status with one extracted and completely described video."""
    values: dict[str, Any] = {
        "health": health,
        "run": None if state is None else run(state),
        "stalls": [],
        "worker": None,
        "is_supervised": True,
        "hosts": [],
        "video": None,
        "videos": 1,
        "videos_decoded": 1,
        "videos_enriched": 0,
        "frames": 10,
        "described": 10,
        "failed": 0,
        "covered": 10,
        "source_frames": 10,
        "left": 0,
        "rate": 0.0,
        "rate_seconds": None,
        "seconds_left": None,
    }
    return Status(**(values | changes))


def line(found: Status, label: str) -> str:
    """The text of the line with a label."""
    [text] = [text for text in lines(found) if text.startswith(f"{label} ")]
    return text.removeprefix(label).strip()


WORKING: dict[str, Any] = {"health": WorkerHealth.WELL, "state": RunState.RUNNING, "rate_seconds": 300.0}


@pytest.mark.parametrize(
    ("found", "speed"),
    [
        pytest.param(status(videos=0, videos_decoded=0), "idle; no frames left to describe", id="empty"),
        pytest.param(status(failed=10, described=0), "idle; no frames left to describe", id="all failed"),
        pytest.param(status(left=4), "idle; 4 frames left", id="no worker"),
        pytest.param(status(videos_decoded=0), "idle", id="no worker, not extracted"),
        pytest.param(status(WorkerHealth.CRASHED, RunState.RUNNING, left=1), "idle; 1 frame left", id="crashed"),
        pytest.param(status(WorkerHealth.WELL, RunState.PAUSED, left=4), "not measured; 4 frames left", id="paused"),
        pytest.param(
            status(WorkerHealth.SILENT, RunState.RUNNING, videos_decoded=0), "not measured", id="silent, not extracted"
        ),
        pytest.param(
            status(**WORKING, left=4), "nothing described in the last 5 min; 4 frames left", id="loading the model"
        ),
        pytest.param(
            status(**(WORKING | {"rate_seconds": 12.3}), videos_decoded=0),
            "nothing described in the last 12 s",
            id="extracting",
        ),
        pytest.param(
            status(**WORKING),
            "nothing described in the last 5 min; no frames left to describe",
            id="waiting for videos",
        ),
        pytest.param(
            status(**WORKING, rate=0.5, left=60, seconds_left=120.0), "0.50 frames/s; 2 min left", id="describing"
        ),
        pytest.param(status(**WORKING, rate=0.5, videos_decoded=0), "0.50 frames/s", id="describing ahead"),
        pytest.param(status(**WORKING, rate=0.5), "0.50 frames/s; no frames left to describe", id="just finished"),
    ],
)
def test_speed_line_states_what_was_measured(found: Status, speed: str) -> None:
    assert line(found, "Speed") == speed


def test_stalled_line_is_a_statement() -> None:
    found = status(**(WORKING | {"health": WorkerHealth.STALLED}), stalls=[Stall("no frame finished", NOW)])
    assert line(found, "Stalled") == f"no frame finished since {NOW.astimezone():%H:%M:%S}"
