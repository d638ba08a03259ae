"""Ask a describer about images; if the reply is flagged, retry once with another prompt and keep the better reply.

Also what concerns all hosts of a describer: check them, ask one after another, keep all of them busy, and retry alone
the requests that a crash ended.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeVar

from enrich.describe.describer import (
    Answer,
    Call,
    Describer,
    Description,
    HostReport,
    Problem,
    PromptStyle,
    Question,
    ReplyWarning,
)
from enrich.errors import CallFailedError, ConnectionLostError, DescribeError, ModelError, RunnerCrashedError

# Worst first: each outweighs all that follow.
WORST_FIRST = (
    Problem.EMPTY,
    Problem.REPEATS,
    Problem.LEAKS_PROMPT,
    Problem.CUT_OFF,
    Problem.SAME_TEXT,
    Problem.CONTEXT_NAME,
    Problem.NOT_JSON,
)


# Entered around every request: limits how many are sent at once. A gate is entered once per request, so it is reusable.
Gate = AbstractAsyncContextManager[object]
OPEN_GATE: Gate = nullcontext()

CRASHES = (RunnerCrashedError, ConnectionLostError)  # they end every request in flight on the host
Result = TypeVar("Result")


@dataclass(slots=True)
class _Traffic:
    """The requests of one host."""

    in_flight: int = 0
    suspects: int = 0  # ended by a crash, and not retried yet
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    @contextmanager
    def counted(self) -> Iterator[None]:
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self.changed.set()


class CrashIsolation:
    """Retries once, with nothing else in flight on the host, each request that a crash of its model runner ended.

    A picture that ends the runner takes all requests in flight with it, and nothing shows which picture it was. For
    concurrent requests of one event loop; the worker, which counts attempts, has its own `HostSuspects`.
    """

    def __init__(self) -> None:
        self._traffic: defaultdict[str, _Traffic] = defaultdict(_Traffic)

    async def request(self, host: str, make: Callable[[], Awaitable[Result]]) -> Result:
        """The result of a request to `host`. Raises its error, or RunnerCrashedError if it crashed alone, too."""
        traffic = self._traffic[host]
        await traffic.wait_until(lambda: not traffic.suspects)
        try:
            with traffic.counted():
                return await make()
        except CRASHES:
            traffic.suspects += 1  # at once: no other request may start before the retry
        try:
            await traffic.wait_until(lambda: not traffic.in_flight)
            with traffic.counted():
                return await make()
        except ConnectionLostError as error:  # twice: it is the image, because the host accepted both requests
            raise RunnerCrashedError(str(error)) from error
        finally:
            traffic.suspects -= 1
            traffic.changed.set()


async def ask(
    describer: Describer,
    question: Question,
    *,
    host: str,
    gate: Gate = OPEN_GATE,
    isolation: CrashIsolation | None = None,
    worth_retrying: Callable[[Problem], bool] = lambda _: True,
    same_text: Callable[[Description], bool] = lambda _: False,
) -> Answer:
    """Describe the question's images in one request, or two if the first reply has a problem worth retrying.

    `gate` is entered around each request, not while its reply is parsed. `isolation`, shared by concurrent requests,
    retries those that a crash ended. `worth_retrying` decides whether a problem
    justifies a second request. `same_text` reports whether a description duplicates that of a different-looking image.
    An error of the first request is raised; if only the second one fails, the first reply is returned.
    """

    async def request(asked: Question) -> tuple[Call, Description | None]:
        async def describe() -> Call:
            async with gate:
                return await describer.describe(asked, host=host)

        call = await (describe() if isolation is None else isolation.request(host, describe))
        return _checked(describer, asked, call, same_text)

    call, description = await request(question)
    worth = [warning.problem for warning in call.warnings if worth_retrying(warning.problem)]
    if not worth:
        return _answer(call, description, calls=(call,))
    try:
        second, other = await request(replace(question, prompt_style=_retry_style(worth)))
    except DescribeError:
        return _answer(call, description, calls=(call,))
    calls = (call, second)
    if _badness(second.warnings) < _badness(call.warnings):
        return _answer(second, other, calls=calls)
    return _answer(call, description, calls=calls)


async def ask_hosts_in_turn(
    describer: Describer,
    question: Question,
    *,
    same_text: Callable[[Description], bool] = lambda _: False,
    on_empty: Callable[[Answer], None] = lambda _: None,
) -> tuple[Answer, Description]:
    """Ask one host after another until one describes the images.

    `on_empty` is given every answer without a description. An image that crashes a host which describes others is sent
    to no further host. Raises the last host's DescribeError.
    """
    isolation = CrashIsolation()
    last: DescribeError = CallFailedError("no host is configured: set OLLAMA_HOST or EVERYFRAME_OLLAMA_HOSTS")
    for host in describer.hosts:
        try:
            answer = await ask(describer, question, host=host, isolation=isolation, same_text=same_text)
        except RunnerCrashedError as error:
            last = error
            if await _can_describe(describer, host):
                break
            continue
        except DescribeError as error:
            last = error
            continue
        if answer.description is not None:
            return answer, answer.description
        on_empty(answer)
        last = CallFailedError(f"`{describer.model}` returned an empty reply: try again, or use another model")
    raise last


async def host_problems(describer: Describer) -> list[DescribeError]:
    """Check all hosts and return their problems. Raises ModelError if every host has one that only a person can fix."""
    problems: list[DescribeError] = []
    for host in describer.hosts:
        try:
            await describer.check(host)
        except DescribeError as error:
            problems.append(error)
    if problems and len(problems) == len(describer.hosts) and all(isinstance(one, ModelError) for one in problems):
        raise problems[0]
    return problems


async def run_on_hosts(
    describer: Describer, concurrency: int, work: Callable[[HostReport], Coroutine[None, None, None]]
) -> DescribeError | None:
    """Run `work` on every host at once, as many times as the host serves requests in parallel (`concurrency` at most).

    Returns the error of a host that could not be prepared, if any; such hosts are skipped. If `work` raises, all of it
    is cancelled and its first error is raised.
    """
    problems: list[DescribeError] = []

    async def serve(host: str, group: asyncio.TaskGroup) -> None:
        try:
            report = await describer.prepare(host)
        except DescribeError as error:
            problems.append(error)
            return
        for _ in range(min(concurrency, report.calls_at_once or concurrency)):
            group.create_task(work(report))

    try:
        async with asyncio.TaskGroup() as group:
            for host in describer.hosts:
                group.create_task(serve(host, group))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return problems[-1] if problems else None


async def _can_describe(describer: Describer, host: str) -> bool:
    """Whether the host describes a test image."""
    try:
        await describer.prepare(host)
    except DescribeError:
        return False
    return True


def _checked(
    describer: Describer, question: Question, call: Call, same_text: Callable[[Description], bool]
) -> tuple[Call, Description | None]:
    """A call with the warnings of its reply, and the description in it."""
    description, warnings = describer.read(question, call)
    if description is not None and same_text(description):
        warnings += (ReplyWarning(Problem.SAME_TEXT),)
    return replace(call, warnings=tuple(dict.fromkeys(warnings))), description


def _answer(call: Call, description: Description | None, *, calls: tuple[Call, ...]) -> Answer:
    return Answer(
        description=description,
        calls=calls,
        warnings=call.warnings,
        kept=calls.index(call),
        unverified_names=tuple(warning.detail for warning in call.warnings if warning.problem is Problem.CONTEXT_NAME),
    )


def _retry_style(problems: Iterable[Problem]) -> PromptStyle:
    """The prompt style of the retry: without context if only names are wrong, else plain text."""
    return PromptStyle.WITHOUT_CONTEXT if set(problems) == {Problem.CONTEXT_NAME} else PromptStyle.PLAIN


def _badness(warnings: Iterable[ReplyWarning]) -> float:
    return sum(0.5 ** WORST_FIRST.index(problem) for problem in {warning.problem for warning in warnings})
