"""The audit: a model describes frames that were left out, and it is said whether anything was lost with them.

One asyncio loop; one thread decodes. The frames of a pair are described by the same host, one after the other, so
that model, prompt and settings are the same. Its calls are booked under a pass of their own: nothing of the library's
descriptions, states or speeds changes, and a worker may run beside it.

The album: pairs of pictures in a folder the user can open, the kept one beside the one left out.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from db import checks, store
from db.checks import PlacedFrame
from db.engine import reading, writing
from db.models import AUDIT
from db.queries import VideoRow
from enrich.audit.pairs import AuditPlan, ComparedFrame, SkippedFrame, another, compared_frames, is_of
from enrich.audit.report import DescribedPair, KnownFrame, Report, Twice, report_on
from enrich.describe.asking import ask, run_on_hosts
from enrich.describe.describer import Answer, Describer, Description, HostReport, Image, Question
from enrich.describe.reply_checks import ReplyHistory
from enrich.errors import DescribeError, HostError, SettingsError
from enrich.library.library import Library
from enrich.settings import Settings
from enrich.verify.rows import source_of

LONGEST_NAME = 40
MOST_KNOWN = 100  # kept frames whose small pictures are held, to find different ones among them
HOST_PAUSES_SECONDS = (1.0, 2.0, 4.0)  # a host that is down or busy is asked again so often
FAILURES_IN_A_ROW = 3  # calls: then it is the host


class PairFolder:
    """One folder of pairs, made with the first picture; those that agree are taken out again."""

    def __init__(self, settings: Settings, video: VideoRow, now: datetime) -> None:
        title = re.sub(r"[^\w-]+", "-", video.title).strip("-")[:LONGEST_NAME] or str(video.id)
        name = f"{title}-{now.astimezone():%Y%m%d-%H%M%S}"
        every = (
            settings.home / "audits" / f"{name}{suffix}"
            for suffix in chain(("",), (f"-{number}" for number in count(2)))
        )
        self.folder = next(folder for folder in every if not folder.exists())

    def put(self, seen: ComparedFrame, other: SkippedFrame) -> tuple[Path, Path]:
        """Write a pair; the paths of the kept picture and of the one left out. Raises SettingsError."""
        name = f"{other.timestamp:010.3f}-frame-{other.index}"
        kept = self.folder / f"{name}-a-kept-as-frame-{seen.kept.index}.jpg"
        left = self.folder / f"{name}-b-left-out.jpg"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(seen.jpeg)
            left.write_bytes(other.jpeg)
        except OSError as error:
            raise SettingsError(f"{self.folder} cannot be written to ({error.strerror}): look at its disk") from error
        return kept, left

    def take_out(self, *pair: Path) -> None:
        """Delete a pair again, and the folder with the last one."""
        for path in pair:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


@dataclass(slots=True)
class _HostState:
    """One host's part in an audit."""

    host: str
    digest: str
    prompt_version: str = ""
    failures: int = 0  # in a row
    is_over: bool = False
    kept_words: dict[int, Description] = field(default_factory=dict)  # by the kept frame's id
    locks: defaultdict[int, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))


@dataclass(frozen=True, slots=True)
class AuditResult:
    """An audit from its end. `trouble`: why not all pairs were compared; `folder`: where pairs that disagree lie."""

    report: Report
    calls: int
    folder: Path | None
    is_stopped: bool
    trouble: DescribeError | None


class Audit:
    """One audit; made and run once. `stop` may be called from anywhere."""

    def __init__(self, library: Library, describer: Describer, plan: AuditPlan) -> None:
        self._library = library
        self._describer = describer
        self._plan = plan
        self._album = PairFolder(library.settings, plan.video, datetime.now(UTC))
        self._guard = ReplyHistory()
        self._seen: Generator[ComparedFrame, None, None] = compared_frames(library.settings, plan.video, plan.stands)
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="everyframe-audit")
        self._back: list[ComparedFrame] = []  # given back by a host that went away
        self._told: list[DescribedPair] = []
        self._known: list[KnownFrame] = []
        self._twice: list[Twice] = []
        self._hosts: dict[str, _HostState] = {}
        self._trouble: DescribeError | None = None
        self._work: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_stopped = False
        self.calls = 0

    @property
    def done(self) -> int:
        """Pairs compared so far."""
        return len(self._told)

    def stop(self) -> None:
        """End soon, with what has been compared so far."""
        self.is_stopped = True
        if self._loop is not None and self._work is not None:
            self._loop.call_soon_threadsafe(self._work.cancel)

    async def run(self) -> AuditResult:
        """Compare all pairs. Raises VideoError, or DescribeError if not one could be compared."""
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.ensure_future(self._serve_all())
        if self.is_stopped:
            self._work.cancel()
        try:
            await self._work
        except asyncio.CancelledError:
            if not self.is_stopped:
                raise
        finally:
            await self._loop.run_in_executor(self._decoder, self._seen.close)
            self._decoder.shutdown()
        if not self._told and self._trouble is not None and not self.is_stopped:
            raise self._trouble
        return await asyncio.to_thread(self._audited)

    async def _serve_all(self) -> None:
        problem = await run_on_hosts(self._describer, self._library.settings.concurrency, self._describe_pairs)
        self._trouble = self._trouble or problem

    async def _describe_pairs(self, report: HostReport) -> None:
        """One slot of a host: describe until nothing is left or the host fails."""
        turn = self._hosts.setdefault(report.host, _HostState(report.host, report.model_digest))
        loop = asyncio.get_running_loop()
        while not turn.is_over:
            stand = (
                self._back.pop() if self._back else await loop.run_in_executor(self._decoder, next, self._seen, None)
            )
            if stand is None:
                return
            try:
                await self._tell(turn, stand)
            except DescribeError as error:
                turn.is_over = True
                self._trouble = error
                self._back.append(stand)

    async def _tell(self, turn: _HostState, stand: ComparedFrame) -> None:
        """Describe a kept frame and those of the sample it stands for. Raises DescribeError if the host is to blame."""
        said = [await self._describe(turn, stand.kept, other.jpeg, other.timestamp) for other in stand.others]
        async with turn.locks[stand.kept.id]:  # another call may be about this very kept frame
            kept = turn.kept_words.get(stand.kept.id) or await asyncio.to_thread(self._stored_words, turn, stand.kept)
            if kept is None:
                kept = await self._describe(turn, stand.kept, stand.jpeg, stand.kept.timestamp)
            if kept is not None:
                turn.kept_words[stand.kept.id] = kept
        if kept is not None and stand.is_first:
            await self._measure_words(turn, stand, kept)
        for other, words in zip(stand.others, said, strict=True):
            paths = await asyncio.to_thread(self._album.put, stand, other)
            self._told.append(DescribedPair(stand.kept, other, kept, words, paths))

    async def _measure_words(self, turn: _HostState, stand: ComparedFrame, words: Description) -> None:
        """Collect what words are measured by. Raises as above."""
        if len(self._known) < MOST_KNOWN:
            self._known.append(KnownFrame(stand.kept.timestamp, stand.luma, words))
        if stand.kept.id in self._plan.seen_twice:
            jpeg = await asyncio.to_thread(another, stand.jpeg)
            again = await self._describe(turn, stand.kept, jpeg, stand.kept.timestamp)
            if again is not None:
                self._twice.append((words, again))

    async def _describe(self, turn: _HostState, kept: PlacedFrame, jpeg: bytes, timestamp: float) -> Description | None:
        """What the model says of a picture; None if nothing. Raises DescribeError if the host is to blame."""
        question = Question(
            (Image(jpeg, timestamp),),
            context=self._plan.video.context,
            language=self._library.settings.language,
        )
        for pause in (*HOST_PAUSES_SECONDS, None):
            try:
                answer = await ask(
                    self._describer, question, host=turn.host, worth_retrying=self._guard.is_worth_retrying
                )
            except HostError:
                if pause is None or turn.is_over:
                    raise
                await asyncio.sleep(pause)
            except DescribeError as error:
                turn.failures += 1
                if turn.failures >= FAILURES_IN_A_ROW:
                    raise
                self._trouble = error
                return None
            else:
                break
        turn.failures = 0
        turn.prompt_version = answer.calls[0].prompt_version
        self._guard.learn(answer, 0)
        self.calls += len(answer.calls)
        await asyncio.to_thread(self._book, kept, answer)
        return answer.description

    def _stored_words(self, turn: _HostState, kept: PlacedFrame) -> Description | None:
        """What this very model said of a kept frame before, asked with the same prompt."""
        with reading(self._library.engine) as connection:
            saying = checks.source_calls(connection, [kept.id]).get((kept.id, self._describer.target_pass))
        if saying is None or not is_of(saying, self._describer):
            return None
        if (saying.model_digest, saying.prompt_version) != (turn.digest, turn.prompt_version):
            return None
        return source_of(saying)

    def _book(self, kept: PlacedFrame, answer: Answer) -> None:
        rows = [
            store.NewAnalysis(
                **(asdict(call) | {"warnings": [asdict(doubt) for doubt in call.warnings], "is_kept": False})
            )
            for call in answer.calls
        ]
        with writing(self._library.engine) as connection:
            store.record_calls(connection, kept.id, rows, pass_=AUDIT, now=datetime.now(UTC))

    def _audited(self) -> AuditResult:
        report = report_on(
            self._told, self._known, self._twice, sampling=self._plan.video.sampling, seed=self._plan.seed
        )
        for pair in report.pairs:
            if pair.agreement.agrees:
                self._album.take_out(pair.kept_picture, pair.picture)
        is_whole = len(report.pairs) == self._plan.sampled and all(
            told.words and told.kept_words for told in self._told
        )
        return AuditResult(
            report=report,
            calls=self.calls,
            folder=self._album.folder if report.disagreeing else None,
            is_stopped=self.is_stopped,
            trouble=None if is_whole or self.is_stopped else self._trouble,
        )
