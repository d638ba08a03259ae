"""Describing with a real Ollama: protocol, images, schema and counts. The texts are noise."""

import asyncio
import json
from collections.abc import AsyncIterator

import numpy as np
import pytest

from enrich.describe.asking import ask
from enrich.describe.describer import Image, Problem, PromptStyle, Question
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.describe.prompt import reply_schema
from enrich.errors import CallFailedError, CallTimeoutError, EveryFrameError, ModelError
from enrich.settings import load_settings
from tests.describe.images import jpeg, numbered_jpeg, question

pytestmark = pytest.mark.real_ollama


def make(real_ollama, tmp_path, **changes):
    given = {"home": tmp_path, "ollama_hosts": real_ollama.address, "model": real_ollama.model, "num_predict": 64}
    return OllamaDescriber(load_settings(**(given | {"ollama_options": {"num_thread": 1}} | changes)))


@pytest.fixture
async def describer(real_ollama, tmp_path) -> AsyncIterator[OllamaDescriber]:
    made = make(real_ollama, tmp_path)
    yield made
    await made.close()


async def test_prepare_reports_the_real_model(describer, real_ollama):
    report = await describer.prepare(real_ollama.address)
    assert report.model == f"{real_ollama.model}:latest"
    assert len(report.model_digest) == 64
    assert f"`{report.model}` is loaded and " in report.sentence or "fit into GPU memory" in report.sentence


async def test_call_has_tokens_times_and_digest(describer, real_ollama):
    report = await describer.prepare(real_ollama.address)
    call = await describer.describe(question(context="a party"), host=real_ollama.address)
    assert call.raw_reply
    assert call.model_digest == report.model_digest
    assert call.prompt_tokens > 500
    assert 0 < call.output_tokens <= 64
    assert 0 < call.latency_seconds < 60
    assert call.load_seconds < call.latency_seconds


async def test_server_follows_the_schema(real_ollama, tmp_path):
    describer = make(real_ollama, tmp_path, num_predict=160)
    call = await describer.describe(question(), host=real_ollama.address)
    cut_off = any(warning.problem is Problem.CUT_OFF for warning in call.warnings)
    assert call.raw_reply.startswith('{"text"')
    if not cut_off:
        reply = json.loads(call.raw_reply)
        assert list(reply) == list(reply_schema()["properties"])
    else:
        assert call.output_tokens == 160
    await describer.close()


async def test_model_receives_the_image(describer, real_ollama):
    asked = [
        question(0),
        Question((Image(jpeg(np.random.default_rng(1).integers(0, 255, (180, 320, 3), np.uint8)), 0),)),
    ]
    replies = [(await describer.describe(one, host=real_ollama.address)).raw_reply for one in asked]
    again = (await describer.describe(asked[0], host=real_ollama.address)).raw_reply
    assert replies[0] == again  # temperature 0
    assert replies[0] != replies[1]


@pytest.mark.parametrize("prompt_style", list(PromptStyle))
async def test_server_accepts_every_prompt_style(describer, real_ollama, prompt_style):
    call = await describer.describe(question(context="Erna", prompt_style=prompt_style), host=real_ollama.address)
    assert call.output_tokens > 0


async def test_noise_is_kept_as_a_description(describer, real_ollama):
    answer = await ask(describer, question(3), host=real_ollama.address)
    assert answer.description is not None
    assert answer.description.text
    assert 1 <= len(answer.calls) <= 2


async def test_several_images_in_one_call_are_accepted(describer, real_ollama):
    images = tuple(Image(numbered_jpeg(n), n) for n in range(2))
    one = await describer.describe(Question(images[:1]), host=real_ollama.address)
    two = await describer.describe(Question(images), host=real_ollama.address)
    assert two.prompt_tokens > one.prompt_tokens


async def test_concurrent_calls_all_get_an_answer(describer, real_ollama):
    calls = await asyncio.gather(*(describer.describe(question(n), host=real_ollama.address) for n in range(2)))
    assert all(call.raw_reply for call in calls)


async def test_installed_models_are_listed_with_vision(describer, real_ollama):
    await describer.prepare(real_ollama.address)
    models = {model.name: model for model in await describer.installed(real_ollama.address)}
    seeing, blind = models[f"{real_ollama.model}:latest"], models[f"{real_ollama.text_model}:latest"]
    assert (seeing.sees, blind.sees) == (True, False)
    assert (seeing.loaded, seeing.is_cloud, seeing.fits_gpu) == (True, False, None)
    assert seeing.size_bytes > 1_000_000
    assert seeing.parameter_size


async def is_loaded(describer, real_ollama):
    models = {model.name: model.loaded for model in await describer.installed(real_ollama.address)}
    return models[f"{real_ollama.model}:latest"]


async def test_unload_frees_the_models_memory(describer, real_ollama):
    for loaded in (True, False, True):
        await (describer.prepare if loaded else describer.unload)(real_ollama.address)
        for _ in range(100):  # the server frees memory in its own time
            if await is_loaded(describer, real_ollama) is loaded:
                break
            await asyncio.sleep(0.05)
        assert await is_loaded(describer, real_ollama) is loaded


async def test_missing_model_error_names_command_and_alternatives(real_ollama, tmp_path):
    describer = make(real_ollama, tmp_path, model="llava:13b")
    with pytest.raises(ModelError) as raised:
        await describer.prepare(real_ollama.address)
    assert "ollama pull llava:13b" in str(raised.value)
    assert real_ollama.model in str(raised.value)
    await describer.close()


async def test_text_only_model_is_refused(real_ollama, tmp_path):
    describer = make(real_ollama, tmp_path, model=real_ollama.text_model)
    with pytest.raises(ModelError, match="is not a vision model"):
        await describer.prepare(real_ollama.address)
    await describer.close()


async def test_invalid_option_error_has_the_servers_message(real_ollama, tmp_path):
    describer = make(real_ollama, tmp_path, ollama_options={"num_thread": "many"})
    with pytest.raises(CallFailedError, match="num_thread"):
        await describer.describe(question(), host=real_ollama.address)
    await describer.close()


async def test_slow_call_times_out(real_ollama, tmp_path):
    describer = make(real_ollama, tmp_path, call_seconds=0.05, ollama_options={"num_thread": 1, "num_predict": 2000})
    await describer.prepare(real_ollama.address)
    with pytest.raises(CallTimeoutError):
        await describer.describe(question(prompt_style=PromptStyle.PLAIN), host=real_ollama.address)
    await describer.close()


async def test_pull_from_an_unreachable_registry_is_our_error(describer, real_ollama):
    with pytest.raises(EveryFrameError) as raised:
        [step async for step in describer.pull(real_ollama.address, "127.0.0.1:9/nobody/nothing")]
    assert "\n" not in str(raised.value)
