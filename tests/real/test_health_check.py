"""The health check with a real Ollama whose model is noise: it runs, whatever the result."""

import pytest

from enrich.describe.health_check import check_health
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.settings import load_settings

pytestmark = pytest.mark.real_ollama


async def test_health_check_images_are_accepted(real_ollama, tmp_path):
    given = {"home": tmp_path, "ollama_hosts": real_ollama.address, "model": real_ollama.model, "num_predict": 48}
    describer = OllamaDescriber(load_settings(**given, ollama_options={"num_thread": 1}))
    try:
        found = await check_health(describer, real_ollama.address)
    finally:
        await describer.close()
    assert len(found.pairs) == 3
    assert any(pair.first or pair.second for pair in found.pairs)
    assert real_ollama.address in found.sentence
