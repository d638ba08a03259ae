"""What is known about the families of vision models: sizes and limits, each with its source; no word on quality.

A model's name in Ollama is matched against the families by its beginning, the longest first; a name from
elsewhere (`me/my-llava:7b`) by a family's name anywhere in it. What is unknown gets cautious traits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from enrich.suggested import SUGGESTED_GB

HEARSAY = "hearsay"


@dataclass(frozen=True, slots=True)
class Traits:
    """How a family of models wants to be asked."""

    family: str
    edge: int  # long edge in pixels of the largest picture the model sees something more in
    num_ctx: int  # context tokens: picture, prompt and reply fit in
    source: str  # of the edge: an address, or HEARSAY
    json_schema: bool = True  # Ollama constrains the reply itself, so that it works for every model it runs
    thinks_aloud: bool = False
    pictures_per_call: int = 1  # more, and replies get worse or fail; who builds questions minds it
    calls_at_once: int | None = None  # None: as many as the server allows
    calls_source: str = ""  # of the limit on calls at once


# Where the numbers were read: model cards, or the configuration in a copy of the model.
HUB = "https://huggingface.co"
LLAVA_16 = f"{HUB}/llava-hf/llava-v1.6-vicuna-7b-hf/blob/main/config.json"
LLAVA_15_7B = f"{HUB}/mohitsha/llava-1.5-7b-hf/blob/main/config.json"
LLAVA_15_13B = f"{HUB}/jamesdborin/llava-1.5-13b-hf-awq/blob/main/config.json"
LLAVA_LLAMA3 = f"{HUB}/xtuner/llava-llama-3-8b-v1_1-gguf"
LLAVA_PHI3 = f"{HUB}/xtuner/llava-phi-3-mini-gguf"
BAKLLAVA = f"{HUB}/SkunkworksAI/BakLLaVA-1/blob/main/config.json"
QWEN_25 = f"{HUB}/mlx-community/Qwen2.5-VL-72B-Instruct-3bit/blob/main/preprocessor_config.json"
QWEN_3 = f"{HUB}/cdreetz/Qwen3-VL-8B-Instruct/blob/main/preprocessor_config.json"
GEMMA_3 = f"{HUB}/mlx-community/gemma-3-4b-it-bf16/blob/main/config.json"
MINICPM_26 = f"{HUB}/lmstudio-community/MiniCPM-V-2_6-GGUF"
LLAMA_32 = f"{HUB}/unsloth/Llama-3.2-90B-Vision-Instruct-bnb-4bit/blob/main/preprocessor_config.json"
GRANITE = f"{HUB}/ibm-granite/granite-vision-3.1-2b-preview/blob/main/config.json"
SCHEDULER = "https://github.com/ollama/ollama/blob/main/server/sched.go"

UNKNOWN = Traits("unknown", edge=768, num_ctx=8192, source=HEARSAY)

FAMILIES: tuple[Traits, ...] = (
    # Ollama's llava:7b, :13b and :34b are version 1.6: four tiles of 336 pixels and an overview, 2,880 tokens.
    Traits("llava", 672, 4096, LLAVA_16),
    Traits("llava:7b-v1.5", 336, 4096, LLAVA_15_7B),
    Traits("llava:13b-v1.5", 336, 4096, LLAVA_15_13B),
    Traits("llava-1.5", 336, 4096, LLAVA_15_7B),
    Traits("llava-llama3", 336, 4096, LLAVA_LLAMA3),
    Traits("llava-phi3", 336, 4096, LLAVA_PHI3),
    Traits("bakllava", 336, 4096, BAKLLAVA),
    # The Qwen models take pictures of any size, a token for 28 (Qwen 3: 32) pixels square: the edge is a choice.
    Traits("qwen2.5vl", 1024, 8192, QWEN_25, pictures_per_call=8),
    Traits(
        "qwen3-vl", 1024, 8192, QWEN_3, thinks_aloud=True, pictures_per_call=8, calls_at_once=1, calls_source=SCHEDULER
    ),
    Traits("gemma3", 896, 8192, GEMMA_3, pictures_per_call=8),
    Traits("minicpm-v", 1344, 8192, MINICPM_26, pictures_per_call=4),
    # Four tiles of 560 pixels.
    Traits("llama3.2-vision", 1120, 8192, LLAMA_32, calls_at_once=1, calls_source=SCHEDULER),
    Traits("moondream", 378, 2048, HEARSAY),
    # Tiles of 384 pixels; more than four of them cost more tokens than a description of one frame is worth.
    Traits("granite3.2-vision", 768, 8192, GRANITE),
)


def traits_for(name: str, overrides: Mapping[str, int] | None = None) -> Traits:
    """The traits of the model called `name`; `overrides` maps family or model names to edges in pixels.

    A full model name among the overrides wins over its family's name.
    """
    name = name.lower()
    bare = name.rsplit("/", maxsplit=1)[-1]
    beginning = [traits for traits in FAMILIES if bare.startswith(traits.family)]
    anywhere = [traits for traits in FAMILIES if traits.family in bare]
    longest = max(beginning or anywhere, key=lambda traits: len(traits.family), default=UNKNOWN)
    given = {key.lower(): edge for key, edge in (overrides or {}).items()}
    for key in (name, bare, bare.split(":", maxsplit=1)[0], longest.family):
        if key in given:
            return replace(longest, edge=given[key], source="settings")
    return longest


def suggestion(gpu_bytes: int) -> str | None:
    """The largest well-known model that should fit into so much GPU memory and leave a fifth of it free."""
    for name, size_gb in SUGGESTED_GB:
        if size_gb * 1e9 <= gpu_bytes * 0.8:
            return name
    return None
