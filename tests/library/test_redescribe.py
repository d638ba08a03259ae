"""Re-describing a frame while a worker runs: both succeed and nothing is lost."""

from collections.abc import Callable
from pathlib import Path

from db import queries
from db.engine import reading
from enrich.library.redescribe import Redescription, redescribe
from enrich.worker.run_options import RunOptions
from tests.standin import StandIn
from tests.worker.house import House, Running, assert_settled, assert_truthful, until

Clip = Callable[..., Path]


async def again(house: House, number: int, request: str = "") -> Redescription:
    with reading(house.library.engine) as connection:
        video, frame = queries.video(connection, 1), queries.frame_of_index(connection, 1, number)
    assert frame is not None
    return await redescribe(house.library, house.describer(), video, frame, request=request)


async def test_redescribe_wins_over_a_worker_on_the_same_frame(house: House, standin: StandIn, clip: Clip) -> None:
    house.add(clip(frames=20))
    standin.play("hang", frames={7}, times=1)
    async with Running(house, RunOptions(until_idle=False)):
        await until(lambda: house.described() == 19, "all but one are described")
        await until(lambda: any(7 in chat.numbers for chat in standin.chats), "a worker asks about frame 7")
        said = await again(house, 7)
        assert said.text.startswith("Frame number 7:")
        standin.calm()
        await until(lambda: house.tasks() == {"done": 20}, "all are done")
    assert_truthful(house)
    assert_settled(house)
    assert house.value("SELECT enrichment_status FROM videos") == "enriched"


async def test_redescribing_a_failed_frame_completes_it(house: House, standin: StandIn, clip: Clip) -> None:
    standin.play("error", frames={3})
    house.add(clip(frames=6))
    await house.enrich()
    assert house.tasks() == {"done": 5, "failed": 1}
    standin.calm()
    await again(house, 3)
    assert house.tasks() == {"done": 6}
    assert_truthful(house)


async def test_name_from_the_request_is_not_searchable(house: House, standin: StandIn, clip: Clip) -> None:
    house.add(clip(frames=3), context="Grandma Erna in the garden")
    await house.enrich()
    standin.play("context name", word="Erna", stubborn=True)
    said = await again(house, 1, request="Is Erna happy?")
    assert "Erna" in said.text
    assert [warning["problem"] for warning in said.warnings] == ["context_name"]
    assert house.value("SELECT count(*) FROM search_documents WHERE text LIKE '%Erna%'") == 0
