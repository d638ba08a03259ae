"""ReplyHistory: duplicate texts for different images, and retries that do not help."""

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


def test_same_text_for_a_different_looking_image_is_a_duplicate() -> None:
    history = ReplyHistory()
    history.learn(answer("A dog runs."), dhash=0)
    different = (1 << DIFFERENT_BITS + 1) - 1
    assert history.is_same_text(Description("A dog runs."), different)
    assert history.is_same_text(Description("  a DOG\nruns. "), different)


def test_same_text_for_a_similar_image_is_no_duplicate() -> None:
    history = ReplyHistory()
    history.learn(answer("A dog runs."), dhash=0)
    assert not history.is_same_text(Description("A dog runs."), (1 << DIFFERENT_BITS) - 1)
    assert not history.is_same_text(Description("A cat runs."), (1 << 64) - 1)


def test_slow_change_is_measured_from_a_texts_first_image() -> None:
    history = ReplyHistory()
    for step in range(DIFFERENT_BITS):
        history.learn(answer("A dog runs."), dhash=(1 << step) - 1)
    assert history.is_same_text(Description("A dog runs."), (1 << DIFFERENT_BITS + 1) - 1)


def test_history_forgets_the_oldest_texts() -> None:
    history = ReplyHistory()
    for number in range(MAX_REMEMBERED_TEXTS + 1):
        history.learn(answer(f"Text {number}."), dhash=0)
    assert not history.is_same_text(Description("Text 0."), (1 << 64) - 1)
    assert history.is_same_text(Description("Text 1."), (1 << 64) - 1)


@pytest.mark.parametrize("problem", [problem for problem in Problem if problem is not Problem.EMPTY])
def test_retries_stop_after_several_fruitless_ones_in_a_row(problem: Problem) -> None:
    history = ReplyHistory()
    for number in range(MAX_FRUITLESS_RETRIES):
        assert history.is_worth_retrying(problem)
        history.learn(answer(f"{number}", first=(problem,), left=(problem,)), dhash=0)
    assert not history.is_worth_retrying(problem)


def test_one_helpful_retry_resets_the_count() -> None:
    history = ReplyHistory()
    for number in range(MAX_FRUITLESS_RETRIES - 1):
        history.learn(answer(f"{number}", first=(Problem.REPEATS,), left=(Problem.REPEATS,)), dhash=0)
    history.learn(answer("well", first=(Problem.REPEATS,)), dhash=0)
    history.learn(answer("not", first=(Problem.REPEATS,), left=(Problem.REPEATS,)), dhash=0)
    assert history.is_worth_retrying(Problem.REPEATS)


def test_empty_reply_is_always_worth_a_retry() -> None:
    history = ReplyHistory()
    for _ in range(MAX_FRUITLESS_RETRIES * 2):
        history.learn(answer("x", first=(Problem.EMPTY,), left=(Problem.EMPTY,)), dhash=0)
    assert history.is_worth_retrying(Problem.EMPTY)


def test_answer_without_description_is_not_remembered() -> None:
    history = ReplyHistory()
    history.learn(Answer(None, (CALL,)), dhash=0)
    assert not history.is_same_text(Description(""), (1 << 64) - 1)
