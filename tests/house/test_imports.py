"""What importing the program imports: the command line and the dashboard start fast."""

import subprocess
import sys
import tomllib

import pytest

from tests.house.source import PROJECT

RUFF = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
HEAVY = set(RUFF["lint"]["flake8-tidy-imports"]["banned-module-level-imports"])


def imported_by(statement: str, *arguments: str) -> set[str]:
    """The packages that a fresh interpreter has imported after a statement."""
    script = (
        f"import sys\nsys.argv[1:] = {list(arguments)!r}\ntry:\n    {statement}\nexcept SystemExit as end:\n"
        "    assert not end.code, end.code\nprint('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        timeout=60,
    )
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_importing_enrich_imports_nothing_else():
    grown = imported_by("import enrich") - imported_by("import typing")
    assert grown <= {"enrich"}, grown


@pytest.mark.parametrize("module", ["enrich.settings", "enrich.errors", "enrich.jobs.jobs", "enrich.process"])
def test_modules_used_by_the_dashboard_import_nothing_heavy(module):
    assert not imported_by(f"import {module}") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["enrich", "--help"], ["list", "--help"]], ids=" ".join)
def test_command_line_starts_without_heavy_imports(arguments):
    found = imported_by("from enrich.cli import main; main()", *arguments)
    assert "typer" in found
    assert not found & HEAVY


def test_listing_videos_imports_no_codec_and_no_model_client():
    found = imported_by("from enrich.cli import main; main()", "list")
    assert "sqlalchemy" in found
    assert not found & (HEAVY - {"alembic"})  # which creates the library


def test_root_conftest_imports_nothing_heavy():
    """Tests that need no codec and no model do not wait for one."""
    assert not imported_by("import tests.conftest") & HEAVY


def test_analyzer_is_imported_on_first_use():
    from enrich import LocalVisionAnalyzer

    assert LocalVisionAnalyzer.__module__ == "enrich.analyzer"
    with pytest.raises(ImportError):
        from enrich import NoSuchThing  # noqa: F401
