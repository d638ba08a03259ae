"""The lines of `everyframe status`, built from made statuses."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from db.models import RunState
from db.runs import RunRow
from enrich.cli.status_lines import lines
from enrich.control.status import HostStatus, Stall, Status, WorkerHealth
from enrich.control.status_wording import DAMAGED_STEP
from enrich.library.completion import Completion
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
        "videos_failed": 0,
        "videos_enriched": 0,
        "frames": 10,
        "described": 10,
        "failed": 0,
        "completion": Completion(1.0, 10, 10, 10, is_counted=True),
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


NOTHING_LEFT = "nothing left to describe"


@pytest.mark.parametrize(
    ("found", "speed"),
    [
        pytest.param(status(videos=0, videos_decoded=0), f"idle; {NOTHING_LEFT}", id="empty"),
        pytest.param(status(failed=10, described=0), f"idle; {NOTHING_LEFT}", id="all failed"),
        pytest.param(status(videos_decoded=0, videos_failed=1), f"idle; {NOTHING_LEFT}", id="not decodable"),
        pytest.param(status(left=4), "idle; 4 frames left", id="no worker"),
        pytest.param(status(videos_decoded=0), "idle; 1 video to extract", id="no worker, not extracted"),
        pytest.param(status(WorkerHealth.CRASHED, RunState.RUNNING, left=1), "idle; 1 frame left", id="crashed"),
        pytest.param(status(WorkerHealth.WELL, RunState.PAUSED, left=4), "not measured; 4 frames left", id="paused"),
        pytest.param(
            status(WorkerHealth.SILENT, RunState.RUNNING, videos_decoded=0, left=4),
            "not measured; 4 frames left and 1 video to extract",
            id="silent, not extracted",
        ),
        pytest.param(
            status(**WORKING, left=4),
            "nothing described in the last 5 min; 4 frames left, estimating the time",
            id="first frames",
        ),
        pytest.param(
            status(**(WORKING | {"rate_seconds": 12.3}), videos_decoded=0),
            "nothing described in the last 12 s; 1 video to extract, estimating the time",
            id="extracting",
        ),
        pytest.param(status(**WORKING), f"idle; {NOTHING_LEFT}", id="waiting for videos"),
        pytest.param(
            status(**WORKING, rate=0.5, videos_decoded=0),
            "0.50 frames/s; 1 video to extract, estimating the time",
            id="describing ahead",
        ),
        pytest.param(status(**WORKING, rate=0.5), f"0.50 frames/s; {NOTHING_LEFT}", id="just finished"),
        pytest.param(
            status(**WORKING, rate=1e-6, left=60, seconds_left=6e7),
            "0.00 frames/s; 60 frames left, more than 100 d",
            id="absurdly long",
        ),
    ],
)
def test_speed_line_states_what_was_measured(found: Status, speed: str) -> None:
    assert line(found, "Speed") == speed


def test_speed_line_has_the_time_left_and_the_finish_time() -> None:
    text = line(status(**WORKING, rate=0.5, left=60, seconds_left=120.0), "Speed")
    assert re.fullmatch(r"0\.50 frames/s; about 2 min left, by \d\d:\d\d", text)


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        (Completion(1.0, 10, 10, 10, is_counted=True), "10/10 frames; representing 10 of 10 source frames (100 %)"),
        (
            Completion(0.104, 104, 1000, 1183, is_counted=False),
            "10/about 1,200 frames; representing 104 of about 1,000 source frames (10 %)",
        ),
        (
            Completion(0.01, 10, 1000, None, is_counted=False),
            "10 frames, estimating the total; representing 10 of about 1,000 source frames (1 %)",
        ),
        (
            Completion(None, 10, None, None, is_counted=False),
            "10 frames, estimating the total; representing 10 source frames",
        ),
    ],
)
def test_described_line_never_reads_as_complete_too_early(completion: Completion, text: str) -> None:
    assert line(status(completion=completion), "Described") == f"{text}; 1 of 1 video extracted"


def test_worker_line_says_which_model_is_checked_and_where() -> None:
    def probed(*states: str) -> str:
        hosts = [
            HostStatus(f"http://{name}", state, None, NOW.isoformat(), 2, [], None)
            for name, state in zip("ab", states, strict=True)
        ]
        found = status(WorkerHealth.WELL, RunState.RUNNING, hosts=hosts)
        assert found.run is not None
        found.run.options.update(describer="ollama", model="llava:13b")
        return line(found, "Worker")

    assert probed("probing", "probing") == "running, checking llava:13b on http://a, http://b"
    assert probed("probing", "backing off") == "running, checking llava:13b on http://a"
    assert probed("probing", "serving") == "running"


def test_damaged_videos_are_listed_with_what_is_readable() -> None:
    found = status(damaged=[("torn", "damaged: 77 of 1,394 frames readable")])
    assert line(found, "Damaged") == "torn: damaged: 77 of 1,394 frames readable"
    described = line(found, "Described")
    assert described == "10/10 frames; representing 10 of 10 readable frames (100 %); 1 of 1 video extracted, 1 damaged"
    assert DAMAGED_STEP in lines(found)[-1]


@pytest.mark.parametrize("health", [WorkerHealth.SILENT, WorkerHealth.STALLED])
def test_worker_without_progress_is_shown_with_the_next_step(health: WorkerHealth) -> None:
    assert line(status(health, RunState.RUNNING), "Worker").endswith(". End it with: everyframe stop")


def test_stalled_line_is_a_statement() -> None:
    found = status(**(WORKING | {"health": WorkerHealth.STALLED}), stalls=[Stall("no frame finished", NOW)])
    assert line(found, "Stalled") == f"no frame finished since {NOW.astimezone():%H:%M:%S}"
