"""The guard: the same text for another picture, and questions that are not worth asking again."""

from dataclasses import replace

import pytest

from enrich.describe.describer import Answer, Call, Description, Problem, ReplyWarning
from enrich.describe.reply_checks import DIFFERENT_BITS, MAX_FRUITLESS_RETRIES, MAX_REMEMBERED_TEXTS, ReplyHistory

CALL = Call("ollama", "llava:13b", "digest", "host", "1", 1.0)


def answer(text: str = "A dog runs.", *, first: tuple[Problem, ...] = (), left: tuple[Problem, ...] = ()) -> Answer:
    """An answer after one call, or after two if the first had problems."""
    warnings = tuple(ReplyWarning(problem) for problem in first)
    calls = (replace(CALL, warnings=warnings),) + ((CALL,) if first else ())
    return Answer(Description(text), calls, warnings=tuple(ReplyWarning(problem) for problem in left))


def test_the_same_text_for_a_picture_that_looks_different_is_noticed() -> None:
    guard = ReplyHistory()
    guard.learn(answer("A dog runs."), dhash=0)
    different = (1 << DIFFERENT_BITS + 1) - 1
    assert guard.is_same_text(Description("A dog runs."), different)
    assert guard.is_same_text(Description("  a DOG\nruns. "), different)


def test_the_same_text_for_a_picture_that_looks_alike_is_fine() -> None:
    guard = ReplyHistory()
    guard.learn(answer("A dog runs."), dhash=0)
    assert not guard.is_same_text(Description("A dog runs."), (1 << DIFFERENT_BITS) - 1)
    assert not guard.is_same_text(Description("A cat runs."), (1 << 64) - 1)


def test_a_slow_change_is_measured_from_the_first_picture_of_a_text() -> None:
    guard = ReplyHistory()
    for step in range(DIFFERENT_BITS):
        guard.learn(answer("A dog runs."), dhash=(1 << step) - 1)
    assert guard.is_same_text(Description("A dog runs."), (1 << DIFFERENT_BITS + 1) - 1)


def test_it_remembers_no_more_than_it_must() -> None:
    guard = ReplyHistory()
    for number in range(MAX_REMEMBERED_TEXTS + 1):
        guard.learn(answer(f"Text {number}."), dhash=0)
    assert not guard.is_same_text(Description("Text 0."), (1 << 64) - 1)
    assert guard.is_same_text(Description("Text 1."), (1 << 64) - 1)


@pytest.mark.parametrize("problem", [problem for problem in Problem if problem is not Problem.EMPTY])
def test_asking_again_is_given_up_after_it_has_not_helped_some_times_in_a_row(problem: Problem) -> None:
    guard = ReplyHistory()
    for number in range(MAX_FRUITLESS_RETRIES):
        assert guard.is_worth_retrying(problem)
        guard.learn(answer(f"{number}", first=(problem,), left=(problem,)), dhash=0)
    assert not guard.is_worth_retrying(problem)


def test_one_time_that_it_helps_is_enough_to_go_on() -> None:
    guard = ReplyHistory()
    for number in range(MAX_FRUITLESS_RETRIES - 1):
        guard.learn(answer(f"{number}", first=(Problem.REPEATS,), left=(Problem.REPEATS,)), dhash=0)
    guard.learn(answer("well", first=(Problem.REPEATS,)), dhash=0)
    guard.learn(answer("not", first=(Problem.REPEATS,), left=(Problem.REPEATS,)), dhash=0)
    assert guard.is_worth_retrying(Problem.REPEATS)


def test_an_empty_reply_is_always_asked_for_again() -> None:
    guard = ReplyHistory()
    for _ in range(MAX_FRUITLESS_RETRIES * 2):
        guard.learn(answer("x", first=(Problem.EMPTY,), left=(Problem.EMPTY,)), dhash=0)
    assert guard.is_worth_retrying(Problem.EMPTY)


def test_an_answer_without_a_description_teaches_nothing() -> None:
    guard = ReplyHistory()
    guard.learn(Answer(None, (CALL,)), dhash=0)
    assert not guard.is_same_text(Description(""), (1 << 64) - 1)
