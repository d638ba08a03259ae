"""Asking a describer so that a doubtful reply is noticed, asked once more in another way, and the better one kept."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from enrich.describe.describer import Answer, Call, Describer, Description, Problem, PromptStyle, Question, ReplyWarning
from enrich.errors import DescribeError

# The worse first: each outweighs all that follow it.
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
    """The description of the question's pictures, after one call or, if its reply is doubtful, two.

    `worth_retrying` says whether a problem deserves the second call; `same_text` whether a description is the one
    of another, different-looking picture. Raises what the first call raises; should only the second one fail,
    the first reply is the answer.
    """
    call, description = await _one_call(describer, question, host, same_text)
    worth = [doubt.problem for doubt in call.warnings if worth_retrying(doubt.problem)]
    if not worth:
        return _answer(call, description, calls=(call,))
    again = replace(question, manner=_other_manner(worth))
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
    description, doubts = describer.read(question, call)
    if description is not None and same_text(description):
        doubts += (ReplyWarning(Problem.SAME_TEXT),)
    return replace(call, warnings=tuple(dict.fromkeys(doubts))), description


def _answer(call: Call, description: Description | None, *, calls: tuple[Call, ...]) -> Answer:
    return Answer(
        description=description,
        calls=calls,
        warnings=call.warnings,
        kept=calls.index(call),
        unsure_names=tuple(doubt.detail for doubt in call.warnings if doubt.problem is Problem.CONTEXT_NAME),
    )


def _other_manner(problems: Iterable[Problem]) -> PromptStyle:
    """How to ask again: without the context if only names are wrong, else in plain words."""
    return PromptStyle.WITHOUT_CONTEXT if set(problems) == {Problem.CONTEXT_NAME} else PromptStyle.PLAIN


def _badness(doubts: Iterable[ReplyWarning]) -> float:
    return sum(0.5 ** WORST_FIRST.index(problem) for problem in {doubt.problem for doubt in doubts})
