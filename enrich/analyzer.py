"""`LocalVisionAnalyzer`: EveryFrame from Python.

    from enrich import LocalVisionAnalyzer

    analyzer = LocalVisionAnalyzer(model="llava:13b")
    description = asyncio.run(analyzer.analyze_frame_deep("frame.jpg"))
    summary = asyncio.run(analyzer.enrich_video(1))

It is built on the same pieces as the worker process: what it leaves unfinished, `everyframe enrich` finishes.
"""

import asyncio
from pathlib import Path

from db import queries
from db.engine import reading
from enrich.describe.asking import ask_hosts_in_turn
from enrich.describe.describer import Describer, Description, Image, Question
from enrich.describe.registry import make_describer
from enrich.errors import DescribeError, ModelError, NotAVideoError, VideoError
from enrich.library.library import Library
from enrich.quick.batches import watch_batches
from enrich.settings import Settings, load_settings
from enrich.worker.run_options import RunOptions, RunSummary
from enrich.worker.worker import Worker


class LocalVisionAnalyzer:
    """Describes pictures and videos with a vision model on this machine.

    Settings that are not given come from the environment and the settings file, as for the command line.
    """

    def __init__(
        self, model: str | None = None, *, describer: str | None = None, settings: Settings | None = None
    ) -> None:
        given = {"model": model, "describer": describer}
        base = settings or load_settings()
        self.settings = base.model_copy(update={name: value for name, value in given.items() if value is not None})

    async def analyze_frame_deep(
        self, frame_path: str | Path, *, context: str = "", timestamp: float = 0.0
    ) -> Description:
        """Describe one picture (a JPEG file); no database is touched.

        A doubtful reply is asked for once more in another way. Hosts are tried in turn. Raises DescribeError if no
        host gives a description, NotAVideoError if the file cannot be read.
        """
        try:
            jpeg = await asyncio.to_thread(Path(frame_path).read_bytes)
        except OSError as error:
            raise NotAVideoError(f"{frame_path} cannot be read: {error.strerror}") from error
        question = Question(
            pictures=(Image(jpeg=jpeg, timestamp=timestamp),), context=context, language=self.settings.language
        )
        describer = make_describer(self.settings)
        try:
            _, description = await ask_hosts_in_turn(describer, question)
        finally:
            await describer.close()
        return description

    async def enrich_video(self, video_id: int) -> RunSummary:
        """Decode and describe all frames of one video of the library; what came of it.

        Raises VideoError if there is no such video, ModelError if the model is missing or cannot see, RunningError if
        another worker has the library, LibraryError if it cannot be opened.
        """
        return await self._run(RunOptions(video_ids=frozenset({video_id})))

    async def worker(self) -> RunSummary:
        """Work off the library's queue and wait for more, until the coroutine is cancelled. Raises as above."""
        return await self._run(RunOptions(until_idle=False))

    async def _run(self, order: RunOptions) -> RunSummary:
        library = await asyncio.to_thread(Library.open, self.settings)
        await asyncio.to_thread(_require_videos, library, order)
        describer = make_describer(self.settings)
        try:
            await host_problems(describer)
            return await Worker(library, describer, order, side_tasks=[watch_batches]).run()
        finally:
            await describer.close()


async def host_problems(describer: Describer) -> list[DescribeError]:
    """What is wrong with hosts before the work begins. Raises ModelError if none could ever describe."""
    wrong: list[DescribeError] = []
    for host in describer.hosts:
        try:
            await describer.check(host)
        except DescribeError as error:
            wrong.append(error)
    if wrong and len(wrong) == len(describer.hosts) and all(isinstance(error, ModelError) for error in wrong):
        raise wrong[0]
    return wrong


def _require_videos(library: Library, order: RunOptions) -> None:
    with reading(library.engine) as connection:
        for video_id in order.video_ids or ():
            try:
                queries.video(connection, video_id)
            except queries.NoSuchVideoError as error:
                raise VideoError(str(error)) from error
