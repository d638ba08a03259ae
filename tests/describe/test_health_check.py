"""The canary: its pictures, and what it makes of a host that sees, one that does not, and one that says nothing."""

import asyncio
from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest
import simplejpeg

from enrich.describe.health_check import HealthCheckResult, PairReply, check_health, image_pairs
from enrich.describe.image import is_baseline
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.errors import CallFailedError, CallTimeoutError, DescribeError, HostBusyError, HostDownError, ModelError
from enrich.settings import Settings
from tests.standin import StandIn, Trick

CLEARLY_DIFFERENT = 60  # mean over a pair's pixels, 0 to 255


def result(*told: tuple[str, str]) -> HealthCheckResult:
    return HealthCheckResult("http://box:11434", tuple(PairReply(*texts) for texts in told))


def test_the_pictures_of_a_pair_are_small_and_clearly_different() -> None:
    for pair in image_pairs():
        first, second = (np.asarray(simplejpeg.decode_jpeg(jpeg), np.int16) for jpeg in pair)
        assert first.shape == second.shape == (360, 480, 3)
        assert np.abs(first - second).mean() > CLEARLY_DIFFERENT
        assert all(is_baseline(jpeg) for jpeg in pair)
    assert len(set(chain(*image_pairs()))) == 6


async def test_a_host_that_sees_tells_all_pairs_apart_in_six_calls(
    describer: OllamaDescriber, standin: StandIn
) -> None:
    found = await check_health(describer, standin.address)
    assert [told.texts_differ for told in found.pairs] == [True, True, True]
    assert not found.is_bad
    assert "mostly yellow" in found.pairs[2].first
    assert "black and white" in found.pairs[2].second
    assert found.sentence == f"{standin.address} told 3 of 3 pairs of different pictures apart"
    assert len(standin.chats) == 6
    assert all(request.body["format"] for request in standin.chats)


async def test_a_host_that_says_the_same_of_every_picture_is_bad(describer: OllamaDescriber, standin: StandIn) -> None:
    standin.play(Trick.SAME_TEXT)
    found = await check_health(describer, standin.address)
    assert found.is_bad
    assert found.sentence.startswith(f"{standin.address} says the same of every picture (“A man stands in a room")
    assert "restart Ollama" in found.sentence
    assert len(standin.chats) == 6


@pytest.mark.parametrize("trick", [Trick.EMPTY, Trick.THINKS, Trick.SPACES])
async def test_a_host_that_says_nothing_is_bad(describer: OllamaDescriber, standin: StandIn, trick: Trick) -> None:
    standin.play(trick)
    found = await check_health(describer, standin.address)
    assert found.is_bad
    assert found.sentence.startswith(f"{standin.address} says nothing of any picture: ")


async def test_a_host_that_tells_one_pair_apart_is_weak_but_not_bad(
    describer: OllamaDescriber, standin: StandIn
) -> None:
    standin.play(Trick.SAME_TEXT, times=4)
    found = await check_health(describer, standin.address)
    assert not found.is_bad
    assert "told 1 of 3 pairs" in found.sentence


def test_the_same_text_for_both_of_each_pair_is_bad_though_the_pairs_differ() -> None:
    found = result(("A dog.", "a  DOG."), ("A cat.", "A cat."), ("", ""))
    assert found.is_bad
    assert "the same of clearly different pictures (“A dog.”)" in found.sentence


def test_nothing_for_one_picture_and_a_text_for_the_other_is_no_proof() -> None:
    assert not result(("A dog.", ""), ("A dog.", "A dog."), ("", "")).is_bad


def test_a_long_text_is_quoted_in_part() -> None:
    sentence = result(*[("word " * 100, "word " * 100)] * 3).sentence
    assert len(sentence) < 250
    assert "word …" in sentence


@pytest.mark.parametrize(
    ("trick", "error"),
    [
        (Trick.DIE, HostDownError),
        (Trick.BUSY, HostBusyError),
        (Trick.MISSING, ModelError),
        (Trick.ERROR, CallFailedError),
    ],
)
async def test_trouble_of_the_host_is_raised(
    describer: OllamaDescriber, standin: StandIn, trick: Trick, error: type[DescribeError]
) -> None:
    standin.play(trick)
    with pytest.raises(error):
        await check_health(describer, standin.address)


async def test_a_host_that_hangs_is_left_after_a_calls_time(
    settings: Callable[..., Settings], standin: StandIn
) -> None:
    standin.play(Trick.HANG)
    describer = OllamaDescriber(settings(call_seconds=0.2, load_seconds=0.2))
    with pytest.raises(CallTimeoutError):
        await check_health(describer, standin.address)
    assert len(standin.chats) == 2  # the other pairs are not asked about
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    await describer.close()
