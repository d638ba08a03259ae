import subprocess
import sys

import pytest

from enrich.describe.baseline import BaselineDescriber
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.describe.registry import make_describer


@pytest.mark.parametrize(("name", "kind"), [("ollama", OllamaDescriber), ("baseline", BaselineDescriber)])
def test_settings_choose_the_describer(settings, name, kind):
    describer = make_describer(settings(describer=name))
    assert isinstance(describer, kind)
    assert describer.name == name


def test_registry_imports_no_other_describer():
    script = (
        "import sys, enrich.describe.registry, enrich.describe.describer; "
        "print([name for name in ('ollama', 'cv2', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
