import pytest

from enrich.describe.ollama.models import FAMILIES, UNKNOWN, UNVERIFIED, suggest_model, traits_for


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("llava", "llava"),
        ("llava:34b", "llava"),
        ("llava:7b-v1.6-mistral-q4_0", "llava"),
        ("tiny-llava", "llava"),
        ("someone/my-llava:7b", "llava"),
        ("llava:13b-v1.5-q4_K_M", "llava:13b-v1.5"),
        ("llava-llama3:8b", "llava-llama3"),
        ("llava-phi3", "llava-phi3"),
        ("BakLLaVA:7b", "bakllava"),
        ("qwen2.5vl:7b", "qwen2.5vl"),
        ("qwen3-vl:8b-instruct", "qwen3-vl"),
        ("gemma3:4b", "gemma3"),
        ("minicpm-v:8b", "minicpm-v"),
        ("llama3.2-vision:11b", "llama3.2-vision"),
        ("moondream:latest", "moondream"),
        ("granite3.2-vision:2b", "granite3.2-vision"),
        ("brand-new-model", "unknown"),
    ],
)
def test_model_name_decides_the_family(name, family):
    assert traits_for(name).family == family


def test_unknown_model_gets_cautious_traits():
    assert traits_for("brand-new-model") == UNKNOWN
    assert UNKNOWN.calls_at_once is None


def test_older_llava_gets_smaller_images():
    assert traits_for("llava:7b-v1.5-q4_0").edge == 336
    assert traits_for("llava:7b").edge == 672


def test_every_family_has_a_source_and_plausible_numbers():
    for traits in FAMILIES:
        assert traits.source == UNVERIFIED or traits.source.startswith("https://"), traits.family
        assert 300 <= traits.edge <= 2000, traits.family
        assert traits.num_ctx >= 2048, traits.family
        assert (traits.calls_at_once is None) == (not traits.calls_source), traits.family


def test_models_limited_to_one_call_are_known():
    assert traits_for("llama3.2-vision").calls_at_once == 1
    assert traits_for("qwen3-vl:8b").calls_at_once == 1
    assert traits_for("llava:13b").calls_at_once is None


def test_model_edge_setting_wins_over_family_edge_setting():
    overrides = {"llava": 500, "LLaVA:34b": 800}
    assert traits_for("llava:13b", overrides).edge == 500
    assert traits_for("llava:34b", overrides).edge == 800
    assert traits_for("bakllava", overrides).edge == 336
    assert traits_for("llava:13b", overrides).source == "settings"


def test_unknown_model_can_have_its_own_edge_setting():
    assert traits_for("brand-new-model:3b", {"brand-new-model": 512}).edge == 512


def test_suggested_model_is_the_largest_that_leaves_room():
    assert suggest_model(24_000_000_000) == "llava:13b"
    assert suggest_model(6_000_000_000) == "llava:7b"
    assert suggest_model(1_000_000_000) is None
