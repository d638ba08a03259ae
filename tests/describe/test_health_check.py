"""The health check: its images, and its result for healthy, blind and silent hosts."""

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


def result(*pairs: tuple[str, str]) -> HealthCheckResult:
    return HealthCheckResult("http://box:11434", tuple(PairReply(*texts) for texts in pairs))


def test_images_of_a_pair_are_small_and_clearly_different() -> None:
    for pair in image_pairs():
        first, second = (np.asarray(simplejpeg.decode_jpeg(jpeg), np.int16) for jpeg in pair)
        assert first.shape == second.shape == (360, 480, 3)
        assert np.abs(first - second).mean() > CLEARLY_DIFFERENT
        assert all(is_baseline(jpeg) for jpeg in pair)
    assert len(set(chain(*image_pairs()))) == 6


async def test_healthy_host_tells_all_pairs_apart_in_six_calls(describer: OllamaDescriber, standin: StandIn) -> None:
    found = await check_health(describer, standin.address)
    assert [pair.texts_differ for pair in found.pairs] == [True, True, True]
    assert not found.is_bad
    assert "mostly yellow" in found.pairs[2].first
    assert "black and white" in found.pairs[2].second
    assert found.sentence == f"{standin.address}: health check passed (3 of 3 image pairs distinguished)"
    assert len(standin.chats) == 6
    assert all(request.body["format"] for request in standin.chats)


async def test_host_with_one_text_for_all_images_fails(describer: OllamaDescriber, standin: StandIn) -> None:
    standin.play(Trick.SAME_TEXT)
    found = await check_health(describer, standin.address)
    assert found.is_bad
    assert found.sentence.startswith(
        f"{standin.address}: health check failed, because every image got the same description"
    )
    assert "restart Ollama" in found.sentence
    assert len(standin.chats) == 6


@pytest.mark.parametrize("trick", [Trick.EMPTY, Trick.THINKS, Trick.SPACES])
async def test_host_with_empty_replies_fails(describer: OllamaDescriber, standin: StandIn, trick: Trick) -> None:
    standin.play(trick)
    found = await check_health(describer, standin.address)
    assert found.is_bad
    assert found.sentence.startswith(
        f"{standin.address}: health check failed, because the model returns empty replies: "
    )


async def test_host_that_tells_one_pair_apart_passes(describer: OllamaDescriber, standin: StandIn) -> None:
    standin.play(Trick.SAME_TEXT, times=4)
    found = await check_health(describer, standin.address)
    assert not found.is_bad
    assert "(1 of 3 image pairs distinguished)" in found.sentence


def test_same_text_within_each_pair_fails() -> None:
    found = result(("A dog.", "a  DOG."), ("A cat.", "A cat."), ("", ""))
    assert found.is_bad
    assert "clearly different images got the same description (“A dog.”)" in found.sentence


def test_one_empty_reply_in_a_pair_is_no_proof() -> None:
    assert not result(("A dog.", ""), ("A dog.", "A dog."), ("", "")).is_bad


def test_long_text_is_shortened_in_the_message() -> None:
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
async def test_host_errors_are_raised(
    describer: OllamaDescriber, standin: StandIn, trick: Trick, error: type[DescribeError]
) -> None:
    standin.play(trick)
    with pytest.raises(error):
        await check_health(describer, standin.address)


async def test_hanging_host_fails_after_one_call_limit(settings: Callable[..., Settings], standin: StandIn) -> None:
    standin.play(Trick.HANG)
    describer = OllamaDescriber(settings(call_seconds=0.2, load_seconds=0.2))
    with pytest.raises(CallTimeoutError):
        await check_health(describer, standin.address)
    assert len(standin.chats) == 2  # the other pairs are not described
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    await describer.close()
