"""Failing frames: bad images, and replies that are empty, cut off, repetitive or name people from the context."""

from collections.abc import Callable
from pathlib import Path

import pytest

from db.engine import reading
from db.search import search
from enrich.worker.run_options import RunEnd, RunOptions
from tests.standin import StandIn, Trick
from tests.worker.workspace import Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]


def warnings(workspace: Workspace) -> set[str]:
    return {warning["problem"] for frame in workspace.frames() for warning in frame.warnings}


async def test_frame_fails_after_three_attempts_and_can_be_retried(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.ERROR, frames=[7])
    workspace.add(clip(15))
    summary = await workspace.enrich()

    assert summary.ending is RunEnd.FINISHED
    assert not summary.is_good
    [(why, count)] = summary.failures
    assert (count, "llama runner" in why) == (1, True)
    assert workspace.described() == 14
    assert workspace.tasks() == {"done": 14, "failed": 1}
    assert workspace.value("SELECT attempts FROM tasks WHERE status = 'failed'") == 3
    assert workspace.video().enrichment_status == "enriched"
    assert workspace.video().failed == 1

    standin.calm()
    assert workspace.retry(reason="llama runner") == 1
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace)
    assert_settled(workspace)


@pytest.mark.parametrize("trick", [Trick.MISSING, Trick.GATEWAY_TIMEOUT])
async def test_single_frame_with_an_error_of_its_host_fails(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: Trick
) -> None:
    """The host refuses this frame as if it could describe none, and describes all others."""
    standin.play(trick, frames=[7])
    workspace.add(clip(15))
    summary = await workspace.enrich()
    assert summary.ending is RunEnd.FINISHED
    assert workspace.tasks() == {"done": 14, "failed": 1}
    assert workspace.attempts() == 3
    assert_settled(workspace)


async def test_consecutive_bad_frames_fail_while_their_host_is_healthy(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.ERROR, frames=[3, 4, 5, 6, 7])
    workspace.add(clip(15))
    summary = await workspace.enrich()
    assert summary.failures[0][1] == 5
    assert workspace.described() == 10
    assert_settled(workspace)


async def test_video_without_a_description_has_failed(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.ERROR, frames=range(5))
    workspace.add(clip(5))
    await workspace.enrich()
    assert workspace.video().enrichment_status == "failed"


async def test_frame_that_crashes_the_server_does_not_block_the_run(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.DIE, frames=[3])
    workspace.add(clip(9))
    summary = await workspace.enrich()
    assert summary.ending is RunEnd.FINISHED
    assert workspace.described() == 8
    assert workspace.tasks() == {"done": 8, "failed": 1}


@pytest.mark.parametrize(
    ("trick", "problem"),
    [
        (Trick.CUT_OFF, "cut_off"),
        (Trick.NOT_JSON, "not_json"),
        (Trick.REPEATS, "repeats"),
        (Trick.LEAKS, "leaks_prompt"),
        (Trick.EMPTY, "empty"),
        (Trick.SPACES, "empty"),
    ],
)
async def test_bad_reply_is_detected_and_asked_for_differently(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: Trick, problem: str
) -> None:
    standin.play(trick, times=1, frames=[2])
    workspace.add(clip(6))
    assert (await workspace.enrich()).is_good
    calls = workspace.ask(
        "SELECT a.is_kept, a.warnings FROM analyses a JOIN frames f ON f.id = a.frame_id"
        ' WHERE f."index" = 2 ORDER BY a.id'
    )
    assert [bool(kept) for kept, _ in calls] == [False, True]
    assert problem in calls[0][1]
    assert "number 2:" in (workspace.frames()[2].local_description or "")
    assert workspace.attempts() == 0


async def test_repeatedly_flagged_text_is_kept_with_its_warning(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.SAME_TEXT, stubborn=True)
    workspace.add(clip(40))
    assert (await workspace.enrich()).is_good
    assert workspace.described() == 40
    assert warnings(workspace) == {"same_text"}


async def test_only_empty_replies_make_a_frame_fail(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.EMPTY, stubborn=True, frames=[1])
    workspace.add(clip(6))
    summary = await workspace.enrich()
    assert summary.failures == [("the model's reply was empty", 1)]
    assert workspace.described() == 5
    # Three attempts of two requests each. If no other frame succeeded between them, the host was checked, and the frame
    # had three attempts alone.
    assert workspace.value("SELECT count(*) FROM analyses WHERE NOT is_kept") in {6, 12}


async def test_second_requests_stop_when_they_never_help(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.NOT_JSON, stubborn=True)
    workspace.add(clip(20))
    await workspace.enrich(RunOptions())
    assert workspace.value("SELECT count(*) FROM analyses") < 30


@pytest.mark.parametrize(
    ("trick", "problem"), [(Trick.CUT_OFF, "cut_off"), (Trick.REPEATS, "repeats"), (Trick.LEAKS, "leaks_prompt")]
)
async def test_partial_text_is_kept_with_its_warning(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: Trick, problem: str
) -> None:
    standin.play(trick, frames=[2], stubborn=True)
    workspace.add(clip(frames=5))
    summary = await workspace.enrich()
    assert summary.is_good
    assert summary.counts.warnings == 1
    frame = workspace.frames()[2]
    assert frame.local_description
    assert problem in {warning["problem"] for warning in frame.warnings}
    assert workspace.attempts() == 0


@pytest.mark.parametrize("trick", [Trick.THINKS, Trick.SPACES])
async def test_empty_reply_counts_as_an_attempt(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: Trick
) -> None:
    standin.play(trick, frames=[2], stubborn=True)
    workspace.add(clip(frames=6))
    summary = await workspace.enrich()
    assert summary.failures == [("the model's reply was empty", 1)]
    assert summary.counts.frames_described == 5


async def test_names_from_the_context_are_flagged_and_not_searchable(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    """The model repeats a name from the prompt, and replies with nothing without it."""
    workspace.add(clip(frames=6), context="The 80th birthday of Erna Huber.")
    standin.play(Trick.CONTEXT_NAME)
    standin.play(Trick.EMPTY)
    await workspace.enrich()
    for frame in workspace.frames():
        assert frame.local_description is not None
        assert "Erna" in frame.local_description
        assert {"problem": "context_name", "detail": "Erna"} in frame.warnings
    with reading(workspace.library.engine) as connection:
        assert search(connection, "Erna").hits == []
        assert len(search(connection, "squares").hits) == 6
    assert workspace.video().enrichment_status == "enriched"


async def test_truthful_reply_without_the_context_replaces_the_named_one(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=3), context="The 80th birthday of Erna Huber.")
    standin.play(Trick.CONTEXT_NAME)
    summary = await workspace.enrich()
    assert_truthful(workspace)
    assert summary.counts.calls == len(standin.chats) == 6
    kept = workspace.ask("SELECT frame_id, is_kept FROM analyses ORDER BY id")
    assert [row.is_kept for row in kept].count(1) == 3
    assert all(frame.warnings == [] for frame in workspace.frames())
