import time

import pytest

from enrich.describe.ollama.describer import OllamaDescriber
from enrich.errors import CallFailedError, CallTimeoutError, HostBusyError, HostDownError, ModelError
from tests.describe.images import question
from tests.standin import ShelfModel, Trick

GB = 1_000_000_000
SEES = ShelfModel("llava:13b")
BLIND = ShelfModel("llama3.1:8b", sees=False)


async def refused(settings, standin, *models, model="llava:13b", **more):
    """The message of the ModelError that prepare raises."""
    standin.behave(models=models)
    describer = OllamaDescriber(settings(**more), model=model)
    with pytest.raises(ModelError) as raised:
        await describer.prepare(standin.address)
    with pytest.raises(ModelError):
        await describer.describe(question(), host=standin.address)
    await describer.close()
    assert "\n" not in str(raised.value)
    assert not [request for request in standin.history if request.path == "/api/chat"]  # no image was sent
    return str(raised.value)


async def test_prepare_reports_the_model(describer, standin):
    report = await describer.prepare(standin.address)
    assert (report.host, report.model, report.model_digest) == (standin.address, "llava:13b", SEES.digest)
    assert report.fits_gpu is True
    assert "fits into GPU memory" in report.sentence


async def test_prepare_loads_the_model_with_a_small_image(describer, standin):
    await describer.prepare(standin.address)
    assert "llava:13b" in standin.loaded
    (warm_up,) = (request for request in standin.history if request.path == "/api/chat")
    assert warm_up.sights[0].width <= 336
    assert warm_up.body["options"]["num_predict"] == 1


async def test_second_prepare_is_cheap(describer, standin):
    standin.behave(load=1)
    await describer.prepare(standin.address)
    start = time.monotonic()
    await describer.prepare(standin.address)
    assert time.monotonic() - start < 0.9


async def test_check_loads_nothing_and_finds_the_same_errors(describer, standin):
    await describer.check(standin.address)
    assert standin.loaded == set()
    assert not [request for request in standin.history if request.path == "/api/chat"]
    standin.behave(models=(BLIND,))
    with pytest.raises(ModelError, match="ollama pull llava:13b"):
        await describer.check(standin.address)


async def test_unload_frees_memory_and_the_next_call_reloads(settings, standin):
    standin.behave(load=0.4)
    describer = OllamaDescriber(settings(call_seconds=0.2))
    await describer.prepare(standin.address)
    await describer.unload(standin.address)
    assert standin.loaded == set()
    call = await describer.describe(question(), host=standin.address)  # within the loading limit
    assert call.load_seconds == pytest.approx(0.4)
    await describer.close()


async def test_model_name_is_case_insensitive(settings, standin):
    describer = OllamaDescriber(settings(), model="LLaVA:13B")
    await describer.check(standin.address)
    await describer.close()


async def test_loading_has_its_own_longer_time_limit(settings, standin):
    standin.behave(load=0.5)
    describer = OllamaDescriber(settings(call_seconds=0.1, load_seconds=5))
    await describer.prepare(standin.address)
    await describer.close()
    standin.loaded.clear()
    impatient = OllamaDescriber(settings(call_seconds=0.1, load_seconds=0.2))
    with pytest.raises(CallTimeoutError):
        await impatient.prepare(standin.address)
    await impatient.close()


async def test_missing_model_error_names_the_pull_command(settings, standin):
    message = await refused(settings, standin, ShelfModel("moondream:latest"), BLIND)
    assert f"`OLLAMA_HOST={standin.address} ollama pull llava:13b`" in message
    assert "moondream:latest" in message
    assert "llama3.1" not in message


async def test_other_tag_is_a_different_model(settings, standin):
    assert "ollama pull llava:13b" in await refused(settings, standin, ShelfModel("llava:7b"))


async def test_text_only_model_is_refused_and_vision_models_are_listed(settings, standin):
    message = await refused(settings, standin, BLIND, SEES, model="llama3.1:8b")
    assert "is not a vision model" in message
    assert "llava:13b" in message


async def test_without_vision_models_one_is_recommended(settings, standin):
    assert "ollama pull llava:7b" in await refused(settings, standin, BLIND, model="llama3.1:8b")


@pytest.mark.parametrize(
    "model",
    [ShelfModel("qwen3-vl:235b-cloud"), ShelfModel("big:cloud"), ShelfModel("llava:13b", remote_host="https://x:443")],
)
async def test_cloud_model_is_refused_before_an_image_is_sent(settings, standin, model):
    message = await refused(settings, standin, model, model=model.name)
    assert "leave this machine" in message
    assert "EVERYFRAME_ALLOW_CLOUD" in message


async def test_cloud_name_is_refused_even_if_not_listed(settings, standin):
    assert "leave this machine" in await refused(settings, standin, SEES, model="qwen3-vl:cloud")


async def test_cloud_model_can_be_allowed(settings, standin):
    standin.behave(models=(ShelfModel("llava:13b", remote_host="https://x:443"),))
    describer = OllamaDescriber(settings(allow_cloud=True))
    standin.behave(models=(ShelfModel("llava:13b", remote_host="https://x:443"),))
    await describer.prepare(standin.address)
    await describer.close()


async def test_without_capabilities_families_tell_vision_models(settings, standin):
    old = ShelfModel("llava:13b", lists_capabilities=False)
    standin.behave(models=(old, ShelfModel("llama3.1:8b", sees=False, lists_capabilities=False)))
    describer = OllamaDescriber(settings())
    await describer.prepare(standin.address)
    models = await describer.installed(standin.address)
    assert [(model.name, model.sees) for model in models] == [("llava:13b", True), ("llama3.1:8b", False)]
    await describer.close()


async def test_model_larger_than_the_gpu_suggests_one_that_fits(settings, standin):
    standin.behave(models=(ShelfModel("llava:34b", size=20 * GB, gpu_bytes=8 * GB),))
    describer = OllamaDescriber(settings(), model="llava:34b")
    report = await describer.prepare(standin.address)
    await describer.close()
    assert report.fits_gpu is False
    assert "takes 20.0 GB, but only 8.0 GB fit into GPU memory" in report.sentence
    assert "`ollama pull qwen2.5vl:7b`" in report.sentence


async def test_machine_without_gpu_is_reported_as_slow(settings, standin):
    standin.behave(models=(ShelfModel("llava:13b", gpu_bytes=0),))
    describer = OllamaDescriber(settings())
    report = await describer.prepare(standin.address)
    await describer.close()
    assert report.fits_gpu is None
    assert "CPU only" in report.sentence


async def test_model_limited_to_one_call_reports_it(settings, standin):
    standin.behave(models=(ShelfModel("llama3.2-vision:latest"),))
    describer = OllamaDescriber(settings(), model="llama3.2-vision")
    assert (await describer.prepare(standin.address)).calls_at_once == 1
    await describer.close()


async def test_updated_model_gets_its_new_digest_on_prepare(describer, standin):
    first = await describer.prepare(standin.address)

    class Updated(ShelfModel):
        digest = "ab" * 32

    standin.behave(models=(Updated("llava:13b"),))
    second = await describer.prepare(standin.address)
    assert first.model_digest != second.model_digest == "ab" * 32
    assert (await describer.describe(question(), host=standin.address)).model_digest == "ab" * 32


@pytest.mark.parametrize(
    ("trick", "error"),
    [
        (Trick.BUSY, HostBusyError),
        (Trick.ERROR, CallFailedError),
        (Trick.HTML, CallFailedError),
        (Trick.DIE, HostDownError),
    ],
)
@pytest.mark.parametrize("everywhere", [True, False])
async def test_prepare_raises_the_error_and_notices_recovery(describer, standin, trick, error, everywhere):
    standin.play(trick, everywhere=everywhere)
    with pytest.raises(error):
        await describer.prepare(standin.address)
    standin.calm()
    await describer.prepare(standin.address)


async def test_host_that_is_down_is_reported(describer, standin):
    standin.stop()
    with pytest.raises(HostDownError, match="start it with `ollama serve`"):
        await describer.prepare(standin.address)
