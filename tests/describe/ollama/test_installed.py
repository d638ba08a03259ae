import pytest

from enrich.describe.ollama.models import PullProgress, is_cloud
from enrich.errors import EveryFrameError, HostDownError
from enrich.settings import full_name, is_same_model
from tests.standin import ShelfModel, Trick

GB = 1_000_000_000


async def test_installed_models_are_listed_vision_models_first(describer, standin):
    standin.behave(
        models=(
            ShelfModel("aya:8b", sees=False, size=5 * GB),
            ShelfModel("llava:34b", size=20 * GB, gpu_bytes=8 * GB),
            ShelfModel("llava:13b"),
            ShelfModel("qwen3-vl:235b-cloud", remote_host="https://ollama.com:443", size=384),
        )
    )
    await describer.prepare(standin.address)
    models = {model.name: model for model in await describer.installed(standin.address)}
    assert list(models)[:2] == ["llava:13b", "llava:34b"]
    loaded = models["llava:13b"]
    assert (loaded.sees, loaded.is_cloud, loaded.loaded, loaded.fits_gpu) == (True, False, True, True)
    assert (loaded.size_bytes, loaded.digest, loaded.family, loaded.parameter_size) == (
        8 * GB, ShelfModel("llava:13b").digest, "llama", "13B",
    )  # fmt: skip
    assert (models["llava:34b"].loaded, models["llava:34b"].fits_gpu) == (False, None)
    assert models["aya:8b"].sees is False
    assert models["qwen3-vl:235b-cloud"].is_cloud is True


async def test_server_without_models_has_an_empty_list(describer, standin):
    standin.behave(models=())
    assert await describer.installed(standin.address) == []


async def test_broken_model_does_not_hide_the_others(describer, standin):
    standin.behave(models=(ShelfModel("llava:13b"), ShelfModel("broken:latest", sees=False)))
    known = standin.model
    standin.model = lambda name: known("nothing" if name == "broken:latest" else name)
    assert [model.name for model in await describer.installed(standin.address)] == ["llava:13b", "broken:latest"]


async def test_pull_reports_progress_by_layer(describer, standin):
    steps = [step async for step in describer.pull(standin.address, "moondream")]
    assert steps[0] == PullProgress("pulling manifest", None, None)
    assert [(step.completed, step.total) for step in steps if step.total] == [(0, 1000), (500, 1000), (1000, 1000)]
    assert steps[-1].status == "success"
    assert "moondream:latest" in [model.name for model in await describer.installed(standin.address)]


async def test_unknown_model_cannot_be_pulled(describer, standin):
    with pytest.raises(EveryFrameError, match="file does not exist"):
        [step async for step in describer.pull(standin.address, "no-such-model")]


async def test_pull_from_a_host_that_is_down_is_an_error(describer, standin):
    standin.stop()
    with pytest.raises(HostDownError):
        [step async for step in describer.pull(standin.address, "moondream")]


@pytest.mark.parametrize("trick", [Trick.ERROR, Trick.HTML, Trick.HALF, Trick.BUSY])
async def test_interrupted_pull_is_one_of_our_errors(describer, standin, trick):
    standin.play(trick, everywhere=True)
    with pytest.raises(EveryFrameError) as raised:
        [step async for step in describer.pull(standin.address, "moondream")]
    assert "\n" not in str(raised.value)


def test_name_without_tag_means_latest():
    assert full_name("llava") == "llava:latest"
    assert full_name("llava:13b") == "llava:13b"
    assert full_name("box:5000/me/llava") == "box:5000/me/llava:latest"
    assert is_same_model("Moondream", "moondream:latest")
    assert not is_same_model("llava", "llava:7b")


@pytest.mark.parametrize(
    ("name", "entry", "cloud"),
    [
        ("llava:13b", {}, False),
        ("cloudy-llava:13b", {}, False),
        ("qwen3-vl:cloud", {}, True),
        ("qwen3-vl:235b-cloud", {}, True),
        ("llava:13b", {"remote_host": "https://ollama.com:443"}, True),
        ("llava:13b", {"remote_model": "llava"}, True),
    ],
)
def test_cloud_models_are_known_by_name_or_server_entry(name, entry, cloud):
    assert is_cloud(name, entry) is cloud
