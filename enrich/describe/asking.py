"""Ask a describer about images; if the reply is flagged, retry once with another prompt and keep the better reply.

Also what is done with all hosts of a describer: check them, ask one after another, or keep all of them busy.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

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
from enrich.errors import CallFailedError, DescribeError, ModelError

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


async def ask(
    describer: Describer,
    question: Question,
    *,
    host: str,
    gate: Gate = OPEN_GATE,
    worth_retrying: Callable[[Problem], bool] = lambda _: True,
    same_text: Callable[[Description], bool] = lambda _: False,
) -> Answer:
    """Describe the question's images in one request, or two if the first reply has a problem worth retrying.

    `gate` is entered around each request, not while its reply is parsed. `worth_retrying` decides whether a problem
    justifies a second request. `same_text` reports whether a description duplicates that of a different-looking image.
    An error of the first request is raised; if only the second one fails, the first reply is returned.
    """
    call, description = await _request(describer, question, host, gate, same_text)
    worth = [warning.problem for warning in call.warnings if worth_retrying(warning.problem)]
    if not worth:
        return _answer(call, description, calls=(call,))
    again = replace(question, prompt_style=_retry_style(worth))
    try:
        second, other = await _request(describer, again, host, gate, same_text)
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

    `on_empty` is given every answer without a description. Raises the last host's DescribeError.
    """
    last: DescribeError = CallFailedError("no host is configured: set OLLAMA_HOST or EVERYFRAME_OLLAMA_HOSTS")
    for host in describer.hosts:
        try:
            answer = await ask(describer, question, host=host, same_text=same_text)
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


async def _request(
    describer: Describer, question: Question, host: str, gate: Gate, same_text: Callable[[Description], bool]
) -> tuple[Call, Description | None]:
    async with gate:
        call = await describer.describe(question, host=host)
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
