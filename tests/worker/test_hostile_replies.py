"""A run survives whatever a model says: nothing crashes, other frames are not blamed, what is stored can be read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from enrich.describe.prompt import reply_schema
from enrich.worker.run_options import RunEnd
from tests.describe.hostile import BROKEN, NESTED, NUMBERS
from tests.standin import StandIn, Trick
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]
NASTY = [*(f'{{"text": {value}, "tags": {value}}}' for value in NESTED + NUMBERS), *BROKEN, "," * 200_000]


def reason(workspace: Workspace) -> str:
    """Why the run waits."""
    return str(workspace.value("SELECT coalesce((SELECT reason FROM runs ORDER BY id DESC LIMIT 1), '')"))


async def test_nasty_replies_cost_only_their_frames_a_retry(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    """Every second frame gets a nasty reply first, and a good one when it is asked for again."""
    for number, content in enumerate(NASTY):
        standin.play(Trick.SAYS, content=content, frames=[2 * number], times=1)
    workspace.add(clip(2 * len(NASTY)))
    summary = await workspace.enrich()
    assert summary.ending is RunEnd.FINISHED
    assert summary.is_good
    assert workspace.value("SELECT max(crashes) FROM tasks") == 0
    assert workspace.value("SELECT max(length(raw_reply)) FROM analyses") <= 64_000
    assert_truthful(workspace)
    assert_settled(workspace)


@pytest.mark.parametrize(
    "content",
    ["<unused50>" * 90, "null", json.dumps(reply_schema()), '{"text": NaN}'],
    ids=["tokens", "null", "schema", "nan"],
)
async def test_host_whose_replies_say_nothing_is_checked(
    workspace: Workspace, standin: StandIn, clip: Clip, content: str
) -> None:
    standin.play(Trick.SAYS, content=content, stubborn=True)
    workspace.add(clip(8))
    async with Running(workspace):
        await until(
            lambda: "empty replies for every image" in reason(workspace),
            "the host is at fault",
        )
        assert workspace.described() == 0
        assert workspace.attempts() == 0
        standin.calm()
        await until(lambda: workspace.described() == 8, "all frames are described")


async def test_answer_in_the_thinking_describes_the_frame(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.THINKS_ANSWER)
    workspace.add(clip(6))
    summary = await workspace.enrich()
    assert summary.is_good
    assert summary.counts.calls == 6
    assert_truthful(workspace)


@pytest.mark.parametrize("fields", [("format",), ("think",), ("format", "think")])
async def test_run_finishes_at_a_host_that_refuses_fields(
    workspace: Workspace, standin: StandIn, clip: Clip, fields: tuple[str, ...]
) -> None:
    standin.behave(refused_fields=fields)
    workspace.add(clip(6))
    summary = await workspace.enrich()
    assert summary.is_good
    assert workspace.attempts() == 0
    assert_truthful(workspace)
