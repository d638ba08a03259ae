"""Re-describing a frame while a worker runs: both succeed and nothing is lost."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from db import queries
from db.engine import reading
from enrich.errors import CallFailedError
from enrich.library.redescribe import Redescription, redescribe
from enrich.worker.run_options import RunOptions
from tests.standin import StandIn
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]


async def again(workspace: Workspace, number: int, request: str = "") -> Redescription:
    with reading(workspace.library.engine) as connection:
        video, frame = queries.video(connection, 1), queries.frame_of_index(connection, 1, number)
    assert frame is not None
    return await redescribe(workspace.library, workspace.describer(), video, frame, request=request)


async def test_redescribe_wins_over_a_worker_on_the_same_frame(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip(frames=20))
    standin.play("hang", frames={7}, times=1)
    async with Running(workspace, RunOptions(until_idle=False)):
        await until(lambda: workspace.described() == 19, "all but one are described")
        await until(lambda: any(7 in chat.numbers for chat in standin.chats), "a worker asks about frame 7")
        said = await again(workspace, 7)
        assert said.text.startswith("Frame number 7:")
        standin.calm()
        await until(lambda: workspace.tasks() == {"done": 20}, "all are done")
    assert_truthful(workspace)
    assert_settled(workspace)
    assert workspace.value("SELECT enrichment_status FROM videos") == "enriched"


async def test_redescribing_a_failed_frame_completes_it(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.play("error", frames={3})
    workspace.add(clip(frames=6))
    await workspace.enrich()
    assert workspace.tasks() == {"done": 5, "failed": 1}
    standin.calm()
    await again(workspace, 3)
    assert workspace.tasks() == {"done": 6}
    assert_truthful(workspace)


async def test_name_from_the_request_is_not_searchable(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    workspace.add(clip(frames=3), context="Grandma Erna in the garden")
    await workspace.enrich()
    standin.play("context name", word="Erna", stubborn=True)
    said = await again(workspace, 1, request="Is Erna happy?")
    assert "Erna" in said.text
    assert [warning["problem"] for warning in said.warnings] == ["context_name"]
    assert workspace.value("SELECT count(*) FROM search_documents WHERE text LIKE '%Erna%'") == 0


@pytest.mark.parametrize("trick", [None, "empty"])
async def test_video_removed_during_a_redescription_keeps_only_its_calls(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: str | None
) -> None:
    workspace.add(clip(frames=3))
    await workspace.enrich()
    before = workspace.value("SELECT count(*) FROM analyses")
    standin.forget()
    if trick is not None:
        standin.play(trick, stubborn=True)
    standin.behave(parallel=0)
    asked = asyncio.create_task(again(workspace, 1))
    await until(lambda: bool(standin.chats), "the model is asked")
    workspace.remove(1)
    standin.behave(parallel=1)
    with pytest.raises(CallFailedError, match="empty reply" if trick else "removed in the meantime"):
        await asked
    recorded = workspace.ask("SELECT frame_id, raw_reply, is_kept FROM analyses WHERE id > :before", before=before)
    assert recorded == [(None, None, 0)] * len(standin.chats)
