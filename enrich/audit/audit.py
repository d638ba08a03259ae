"""An audit: a model describes frames that were skipped, to show whether anything was lost with them.

Runs on one asyncio loop; one thread decodes. The frames of a pair are described by the same host, one after the other,
so that model, prompt and settings are the same. Calls are recorded under a pass of their own: no description, state or
speed in the library changes, and a worker may run at the same time.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from db import checks, store
from db.checks import StoredFrame
from db.engine import reading, writing
from db.models import AUDIT
from db.queries import VideoRow
from enrich.audit.pairs import AuditPlan, ComparedFrame, SkippedFrame, altered_copy, compared_frames, is_reusable
from enrich.audit.report import DescribedPair, DescriptionPair, KnownFrame, Report, build_report
from enrich.describe.asking import CrashIsolation, ask, run_on_hosts
from enrich.describe.describer import Answer, Describer, Description, HostReport, Image, Question
from enrich.describe.reply_checks import ReplyHistory
from enrich.errors import DescribeError, HostError, SettingsError
from enrich.library.library import Library
from enrich.library.records import call_records
from enrich.private_files import write_durably
from enrich.settings import Settings
from enrich.verify.rows import parse_stored_reply

MAX_NAME_CHARACTERS = 40
MAX_KNOWN_FRAMES = 100  # described kept frames held in memory, to find images that look different
HOST_BACKOFF_SECONDS = (1.0, 2.0, 4.0)  # between retries when a host is down or busy
MAX_CONSECUTIVE_FAILURES = 3  # failed calls, after which the host is blamed


class PairFolder:
    """A folder with the images of each pair, the kept frame beside the skipped one, for the user to open.

    It is created with the first pair. Pairs that agree are removed at the end.
    """

    def __init__(self, settings: Settings, video: VideoRow, now: datetime) -> None:
        title = re.sub(r"[^\w-]+", "-", video.title).strip("-")[:MAX_NAME_CHARACTERS] or str(video.id)
        name = f"{title}-{now.astimezone():%Y%m%d-%H%M%S}"
        candidates = (
            settings.home / "audits" / f"{name}{suffix}"
            for suffix in chain(("",), (f"-{number}" for number in count(2)))
        )
        self.folder = next(folder for folder in candidates if not folder.exists())

    def add(self, compared: ComparedFrame, other: SkippedFrame) -> tuple[Path, Path]:
        """Write a pair; returns the paths of the kept and the skipped image. Raises SettingsError."""
        name = f"{other.timestamp:010.3f}-frame-{other.index}"
        kept = self.folder / f"{name}-a-kept-as-frame-{compared.kept.index}.jpg"
        skipped = self.folder / f"{name}-b-left-out.jpg"
        try:
            write_durably(kept, compared.jpeg)
            write_durably(skipped, other.jpeg)
        except OSError as error:
            raise SettingsError(
                f"{self.folder} cannot be written to ({error.strerror}): check its disk and permissions"
            ) from error
        return kept, skipped

    def remove(self, *pair: Path) -> None:
        """Delete a pair, and the folder if it is empty then."""
        for path in pair:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


@dataclass(slots=True)
class _HostState:
    """The state of one host in an audit."""

    host: str
    digest: str
    prompt_version: str = ""
    failures: int = 0  # consecutive
    is_stopped: bool = False
    kept_descriptions: dict[int, Description] = field(default_factory=dict)  # by the kept frame's id
    locks: defaultdict[int, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The result of an audit."""

    report: Report
    calls: int
    folder: Path | None  # with the images of the pairs that disagree
    is_stopped: bool
    trouble: DescribeError | None  # why not all pairs were compared


class Audit:
    """Runs one audit. Use once. `stop` may be called from any thread or signal handler."""

    def __init__(self, library: Library, describer: Describer, plan: AuditPlan) -> None:
        self._library = library
        self._describer = describer
        self._plan = plan
        self._pair_folder = PairFolder(library.settings, plan.video, datetime.now(UTC))
        self._history = ReplyHistory()
        self._isolation = CrashIsolation()
        self._compared: Generator[ComparedFrame, None, None] = compared_frames(
            library.settings, plan.video, plan.samples
        )
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="everyframe-audit")
        self._returned: list[ComparedFrame] = []  # by a host that stopped
        self._described: list[DescribedPair] = []
        self._known: list[KnownFrame] = []
        self._repeated: list[DescriptionPair] = []
        self._hosts: dict[str, _HostState] = {}
        self._trouble: DescribeError | None = None
        self._work: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_stopped = False
        self.calls = 0

    @property
    def done(self) -> int:
        """Pairs compared so far."""
        return len(self._described)

    def stop(self) -> None:
        """Stop early and keep the pairs compared so far."""
        self.is_stopped = True
        if self._loop is not None and self._work is not None:
            self._loop.call_soon_threadsafe(self._work.cancel)

    async def run(self) -> AuditResult:
        """Compare all pairs. Raises VideoError, or DescribeError if no pair could be compared."""
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.ensure_future(self._run_hosts())
        if self.is_stopped:
            self._work.cancel()
        try:
            await self._work
        except asyncio.CancelledError:
            if not self.is_stopped:
                raise
        finally:
            await self._loop.run_in_executor(self._decoder, self._compared.close)
            self._decoder.shutdown()
        if not self._described and self._trouble is not None and not self.is_stopped:
            raise self._trouble
        return await asyncio.to_thread(self._result)

    async def _run_hosts(self) -> None:
        concurrency = self._library.settings.concurrency
        problem = await run_on_hosts(self._describer, concurrency, self._describe_all)
        self._trouble = self._trouble or problem

    async def _describe_all(self, report: HostReport) -> None:
        """Describe until nothing is left or the host fails. Concurrent calls to one host share its state."""
        state = self._hosts.setdefault(report.host, _HostState(report.host, report.model_digest))
        loop = asyncio.get_running_loop()
        while not state.is_stopped:
            batch = (
                self._returned.pop()
                if self._returned
                else await loop.run_in_executor(self._decoder, next, self._compared, None)
            )
            if batch is None:
                return
            try:
                await self._describe_batch(state, batch)
            except DescribeError as error:
                state.is_stopped = True
                self._trouble = error
                self._returned.append(batch)

    async def _describe_batch(self, state: _HostState, batch: ComparedFrame) -> None:
        """Describe a kept frame and the sampled frames it stands for. Raises DescribeError if the host is to blame."""
        descriptions = [await self._describe(state, batch.kept, other.jpeg, other.timestamp) for other in batch.others]
        async with state.locks[batch.kept.id]:  # a concurrent call may describe the same kept frame
            kept = state.kept_descriptions.get(batch.kept.id) or await asyncio.to_thread(
                self._stored_description, state, batch.kept
            )
            if kept is None:
                kept = await self._describe(state, batch.kept, batch.jpeg, batch.kept.timestamp)
            if kept is not None:
                state.kept_descriptions[batch.kept.id] = kept
        if kept is not None and batch.is_first:
            await self._calibrate_words(state, batch, kept)
        for other, words in zip(batch.others, descriptions, strict=True):
            paths = await asyncio.to_thread(self._pair_folder.add, batch, other)
            self._described.append(DescribedPair(batch.kept, other, kept, words, paths))

    async def _calibrate_words(self, state: _HostState, batch: ComparedFrame, words: Description) -> None:
        """Collect descriptions for the calibration of words. Raises DescribeError if the host is to blame."""
        if len(self._known) < MAX_KNOWN_FRAMES:
            self._known.append(KnownFrame(batch.kept.timestamp, batch.luma, words))
        if batch.kept.id in self._plan.repeated_ids:
            jpeg = await asyncio.to_thread(altered_copy, batch.jpeg)
            again = await self._describe(state, batch.kept, jpeg, batch.kept.timestamp)
            if again is not None:
                self._repeated.append((words, again))

    async def _describe(
        self, state: _HostState, kept: StoredFrame, jpeg: bytes, timestamp: float
    ) -> Description | None:
        """Describe an image; None if the call failed. Raises DescribeError if the host is to blame."""
        question = Question(
            (Image(jpeg, timestamp),),
            context=self._plan.video.context,
            language=self._library.settings.language,
        )
        for pause in (*HOST_BACKOFF_SECONDS, None):
            try:
                answer = await ask(
                    self._describer,
                    question,
                    host=state.host,
                    isolation=self._isolation,
                    worth_retrying=self._history.is_worth_retrying,
                )
            except HostError:
                if pause is None or state.is_stopped:
                    raise
                await asyncio.sleep(pause)
            except DescribeError as error:
                state.failures += 1
                if state.failures >= MAX_CONSECUTIVE_FAILURES:
                    raise
                self._trouble = error
                return None
            else:
                break
        state.failures = 0
        state.prompt_version = answer.calls[0].prompt_version
        self._history.learn(answer, 0)
        self.calls += len(answer.calls)
        await asyncio.to_thread(self._record, kept, answer)
        return answer.description

    def _stored_description(self, state: _HostState, kept: StoredFrame) -> Description | None:
        """The library's description of a kept frame, if the same model gave it for the same prompt; else None."""
        with reading(self._library.engine) as connection:
            call = checks.source_calls(connection, [kept.id]).get((kept.id, self._describer.target_pass))
        if call is None or not is_reusable(call, self._describer):
            return None
        if (call.model_digest, call.prompt_version) != (state.digest, state.prompt_version):
            return None
        return parse_stored_reply(call)

    def _record(self, kept: StoredFrame, answer: Answer) -> None:
        rows = call_records(answer, is_description=False)
        with writing(self._library.engine) as connection:
            store.record_calls(connection, kept.id, rows, pass_=AUDIT, now=datetime.now(UTC))

    def _result(self) -> AuditResult:
        report = build_report(
            self._described, self._known, self._repeated, sampling=self._plan.video.sampling, seed=self._plan.seed
        )
        for pair in report.pairs:
            if pair.agreement.agrees:
                self._pair_folder.remove(pair.kept_image, pair.image)
        is_complete = len(report.pairs) == self._plan.sampled and all(
            pair.words and pair.kept_words for pair in self._described
        )
        return AuditResult(
            report=report,
            calls=self.calls,
            folder=self._pair_folder.folder if report.disagreeing else None,
            is_stopped=self.is_stopped,
            trouble=None if is_complete or self.is_stopped else self._trouble,
        )
