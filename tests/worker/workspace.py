"""A library for a test: shortcuts to change it, to run a worker on it, and to inspect it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy import text

from db import queries, store
from db.engine import reading, writing
from enrich.describe.describer import Describer
from enrich.describe.registry import make_describer
from enrich.library.adding import Addition, add_paths
from enrich.library.library import Library
from enrich.settings import Settings, load_settings
from enrich.video.sampling import parse_sampling
from enrich.worker.run_options import RunOptions, RunSummary
from enrich.worker.worker import Worker
from tests.clips import colour_name
from tests.waiting import PATIENCE_SECONDS


def hours(begin: timedelta, end: timedelta) -> str:
    """Working hours relative to now."""
    now = datetime.now().astimezone()
    return f"{now + begin:%H:%M}-{now + end:%H:%M}"


OPEN_NOW = hours(timedelta(hours=-2), timedelta(hours=2))
OPEN_LATER = hours(timedelta(hours=2), timedelta(hours=4))


@dataclass
class Workspace:
    """A library in a temporary folder."""

    library: Library

    @property
    def settings(self) -> Settings:
        return self.library.settings

    @property
    def frames_folder(self) -> Path:
        return self.library.frames_folder

    def with_settings(self, **changes: Any) -> "Workspace":
        """The same library with other settings."""
        return Workspace(Library(self.settings.model_copy(update=changes), self.library.engine))

    def add(self, *paths: Path, sampling: str = "exact", context: str = "") -> list[int]:
        """Add files and return their ids."""
        found = [addition.video_id for addition in self.added(paths, sampling=sampling, context=context)]
        assert None not in found
        return [number for number in found if number is not None]

    def added(self, paths: Iterable[Path], *, sampling: str = "exact", context: str = "") -> list[Addition]:
        """Add files or folders and return the outcome of each."""
        return list(add_paths(self.library, paths, sampling=parse_sampling(sampling), context=context))

    def describer(self) -> Describer:
        return make_describer(self.settings)

    def worker(self, options: RunOptions | None = None, describer: Describer | None = None) -> Worker:
        return Worker(self.library, describer or self.describer(), options or RunOptions())

    async def enrich(self, options: RunOptions | None = None) -> RunSummary:
        """Run a worker until it ends."""
        describer = self.describer()
        try:
            return await self.worker(options, describer).run()
        finally:
            await describer.close()

    def ask(self, sql: str, **values: Any) -> list[Any]:
        """Rows of an SQL query."""
        with reading(self.library.engine) as connection:
            return list(connection.execute(text(sql), values).all())

    def value(self, sql: str, **values: Any) -> Any:
        """The single value of an SQL query."""
        [[value]] = self.ask(sql, **values)
        return value

    def change(self, sql: str, **values: Any) -> None:
        with writing(self.library.engine) as connection:
            connection.execute(text(sql), values)

    def frames(self, video_id: int = 1) -> list[queries.FrameRow]:
        with reading(self.library.engine) as connection:
            return queries.frames(connection, video_id)

    def video(self, video_id: int = 1) -> queries.VideoRow:
        with reading(self.library.engine) as connection:
            return queries.video(connection, video_id)

    def tasks(self, kind: str = "describe", pass_: str | None = None) -> dict[str, int]:
        """The number of tasks of a kind by state."""
        where = "kind = :kind" + (" AND pass = :pass" if pass_ is not None else "")
        values = {"kind": kind} | ({"pass": pass_} if pass_ is not None else {})
        return dict(self.ask(f"SELECT status, count(*) FROM tasks WHERE {where} GROUP BY status", **values))  # noqa: S608

    def described(self) -> int:
        return int(self.value("SELECT count(*) FROM frames WHERE local_description IS NOT NULL"))

    def image(self, frame: queries.FrameRow) -> Path:
        return self.frames_folder / frame.image_path

    def retry(self, **filters: Any) -> int:
        with writing(self.library.engine) as connection:
            return store.retry(connection, **filters)

    def remove(self, video_id: int) -> None:
        with writing(self.library.engine) as connection:
            store.remove_video(connection, video_id)

    def attempts(self) -> int:
        """The sum of all counted attempts."""
        return int(self.value("SELECT coalesce(sum(attempts), 0) FROM tasks"))

    def states_of_runs(self) -> list[str]:
        return [state for (state,) in self.ask("SELECT state FROM runs ORDER BY id")]


def open_workspace(home: Path, **given: Any) -> Workspace:
    """Open a library in `home` with short timeouts and small images."""
    values = {
        "home": home,
        "connect_seconds": 2,
        "call_seconds": 10,
        "load_seconds": 10,
        "disk_reserve_mb": 0,
        "stored_edge": 320,
    }
    return Workspace(Library.open(load_settings(**(values | given))))


def truthful(number: int) -> str:
    """The stand-in's description of a frame of a numbered clip."""
    return f"Frame number {number}: black and white squares above a {colour_name(number)} band."


def assert_truthful(workspace: Workspace, video_id: int = 1, first: int = 0) -> None:
    """Every kept frame has the description of its own image."""
    frames = workspace.frames(video_id)
    assert frames
    for frame in frames:
        assert frame.index is not None
        assert frame.local_description == truthful(first + frame.index), f"frame {frame.index}"
        assert f"number {first + frame.index}" in (frame.local_tags or [])


def assert_settled(workspace: Workspace) -> None:
    """No task is claimed, no image is partly written, and no run appears to be alive."""
    assert workspace.value("SELECT count(*) FROM tasks WHERE status = 'doing' OR lease_token IS NOT NULL") == 0
    assert not list(workspace.frames_folder.rglob("*.part"))
    assert set(workspace.states_of_runs()) <= {"stopped", "finished", "crashed"}
    assert workspace.ask("PRAGMA foreign_key_check") == []


def assert_complete_without_attempts(workspace: Workspace) -> None:
    """Every frame has its own description, and no failed attempt was counted."""
    assert_truthful(workspace)
    assert workspace.attempts() == 0
    assert workspace.tasks() == {"done": len(workspace.frames())}
    assert_settled(workspace)


class Running:
    """A worker that runs in the background of a test. Leaving the block stops it and raises its errors."""

    def __init__(self, workspace: Workspace, options: RunOptions | None = None) -> None:
        self._describer = workspace.describer()
        self.worker = workspace.worker(options or RunOptions(until_idle=False), self._describer)
        self._task: asyncio.Task[RunSummary] | None = None
        self._has_failed = False  # and the test knows

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.worker.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.worker.stop()
        try:
            if not self._has_failed:
                await self.end()
        finally:
            await self._describer.close()

    async def failure(self) -> Exception | None:
        """Wait until the worker ends by itself. Its error, which is not raised at the end of the block then."""
        try:
            await self.end()
        except Exception as error:  # noqa: BLE001  # the test inspects it
            self._has_failed = True
            return error
        return None

    async def end(self) -> RunSummary:
        """Wait until the worker ends by itself."""
        assert self._task is not None
        return await asyncio.wait_for(asyncio.shield(self._task), PATIENCE_SECONDS)
