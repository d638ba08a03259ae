"""`LocalVisionAnalyzer`: EveryFrame's Python API.

    import asyncio
    from everyframe import LocalVisionAnalyzer

    analyzer = LocalVisionAnalyzer(model="llava:13b")
    description = asyncio.run(analyzer.analyze_frame_deep("frame.jpg"))
    summary = asyncio.run(analyzer.enrich_video(1))

It uses the worker's own code. Work that it leaves unfinished is finished by `everyframe enrich`.
"""

import asyncio
from pathlib import Path

from db import queries
from db.engine import reading
from enrich.describe.asking import ask_hosts_in_turn, host_problems
from enrich.describe.describer import Description, Image, Question
from enrich.describe.registry import make_describer
from enrich.errors import NotAVideoError, VideoError
from enrich.library.library import Library
from enrich.quick.batches import watch_batches
from enrich.settings import Settings, load_settings
from enrich.worker.run_options import RunOptions, RunSummary
from enrich.worker.worker import Worker


class LocalVisionAnalyzer:
    """Describes images and videos with a vision model on this machine.

    Other settings come from the environment and the settings file, as for the command line.
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
        """Describe one image (a JPEG file) without a database.

        A flagged reply is retried once with another prompt. Hosts are tried in turn. Raises DescribeError if no host
        gives a description, NotAVideoError if the file cannot be read.
        """
        try:
            jpeg = await asyncio.to_thread(Path(frame_path).read_bytes)
        except OSError as error:
            raise NotAVideoError(f"{frame_path} cannot be read: {error.strerror}") from error
        question = Question(
            images=(Image(jpeg=jpeg, timestamp=timestamp),), context=context, language=self.settings.language
        )
        describer = make_describer(self.settings)
        try:
            _, description = await ask_hosts_in_turn(describer, question)
        finally:
            await describer.close()
        return description

    async def enrich_video(self, video_id: int) -> RunSummary:
        """Extract and describe all frames of one video in the library, and return what was done.

        Raises VideoError if there is no such video, ModelError if the model is missing or not a vision model,
        RunningError if another worker uses the library, LibraryError if the library cannot be opened.
        """
        return await self._run(RunOptions(video_ids=frozenset({video_id})))

    async def worker(self) -> RunSummary:
        """Process the library's queue and wait for new videos until cancelled. Raises the errors of `enrich_video`."""
        return await self._run(RunOptions(until_idle=False))

    async def _run(self, options: RunOptions) -> RunSummary:
        library = await asyncio.to_thread(Library.open, self.settings)
        await asyncio.to_thread(_require_videos, library, options)
        describer = make_describer(self.settings)
        try:
            await host_problems(describer)
            return await Worker(library, describer, options, side_tasks=[watch_batches]).run()
        finally:
            await describer.close()


def _require_videos(library: Library, options: RunOptions) -> None:
    with reading(library.engine) as connection:
        for video_id in options.video_ids or ():
            try:
                queries.video(connection, video_id)
            except queries.NoSuchVideoError as error:
                raise VideoError(str(error)) from error
