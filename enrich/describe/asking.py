"""Ask a describer about images; if the reply is flagged, retry once with another prompt and keep the better reply."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from enrich.describe.describer import Answer, Call, Describer, Description, Problem, PromptStyle, Question, ReplyWarning
from enrich.errors import DescribeError

# Worst first: each problem outweighs all that follow it.
WORST_FIRST = (
    Problem.EMPTY,
    Problem.REPEATS,
    Problem.LEAKS_PROMPT,
    Problem.CUT_OFF,
    Problem.SAME_TEXT,
    Problem.CONTEXT_NAME,
    Problem.NOT_JSON,
)


async def ask(
    describer: Describer,
    question: Question,
    *,
    host: str,
    worth_retrying: Callable[[Problem], bool] = lambda _: True,
    same_text: Callable[[Description], bool] = lambda _: False,
) -> Answer:
    """Describe the question's images in one call, or two if the first reply has a problem worth retrying.

    `worth_retrying` decides whether a problem justifies a second call. `same_text` reports whether a description
    duplicates that of a different-looking image. An error of the first call is raised; if only the second call
    fails, the first reply is returned.
    """
    call, description = await _one_call(describer, question, host, same_text)
    worth = [warning.problem for warning in call.warnings if worth_retrying(warning.problem)]
    if not worth:
        return _answer(call, description, calls=(call,))
    again = replace(question, prompt_style=_retry_style(worth))
    try:
        second, other = await _one_call(describer, again, host, same_text)
    except DescribeError:
        return _answer(call, description, calls=(call,))
    calls = (call, second)
    if _badness(second.warnings) < _badness(call.warnings):
        return _answer(second, other, calls=calls)
    return _answer(call, description, calls=calls)


async def _one_call(
    describer: Describer, question: Question, host: str, same_text: Callable[[Description], bool]
) -> tuple[Call, Description | None]:
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
