"""What the design and the style ask of every file, checked by reading and by importing them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from enrich.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-headless.lock")
CODE = [
    *sorted(path for folder in ("enrich", "db", "pages") for path in (PROJECT / folder).rglob("*.py")),
    PROJECT / "app.py",
]
EVERYTHING = [*CODE, *sorted((PROJECT / "tests").rglob("*.py")), *sorted((PROJECT / "bench").rglob("*.py"))]
HEAVY = {"av", "cv2", "numpy", "ollama", "httpx", "streamlit", "pandas"}
LONGEST_MODULE, LONGEST_PAGE, LONGEST_APP = 400, 100, 60
PARTS_OF_PAGES = "parts"


def names(paths):
    return [str(path.relative_to(PROJECT)) for path in paths]


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_requirement_has_a_version_and_a_hash(name):
    text = (PROJECT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"^[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_address(name):
    text = (PROJECT / name).read_text(encoding="utf-8")
    for word in ("://", "--find-links", "--index-url", "--extra-index-url", " -f ", "\n-i "):
        assert word not in text


def test_opencv_is_locked_in_the_same_version_twice():
    versions = {
        re.search(r"^opencv-python(?:-headless)?==(\S+)", (PROJECT / name).read_text(encoding="utf-8"), re.MULTILINE)[1]
        for name in LOCKS
    }
    assert len(versions) == 1


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


def test_importing_enrich_imports_nothing_of_ours_nor_of_others():
    grown = imported_by("import enrich") - imported_by("import typing")
    assert grown <= {"enrich"}, grown


@pytest.mark.parametrize("module", ["enrich.settings", "enrich.errors", "enrich.jobs.jobs", "enrich.process"])
def test_what_the_dashboard_needs_stays_light(module):
    assert not imported_by(f"import {module}") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["enrich", "--help"], ["list", "--help"]], ids=" ".join)
def test_the_command_starts_without_anything_heavy(arguments):
    found = imported_by("from enrich.cli import main; main()", *arguments)
    assert "typer" in found
    assert not found & HEAVY


def test_listing_the_library_needs_no_codec_and_no_model_client(tmp_path, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path / "home"))
    found = imported_by("from enrich.cli import main; main()", "list")
    assert "sqlalchemy" in found
    assert not found & {"av", "cv2", "ollama", "streamlit", "pandas"}


def test_analyzer_is_there_when_it_is_asked_for():
    from enrich import LocalVisionAnalyzer

    assert LocalVisionAnalyzer.__module__ == "enrich.analyzer"
    with pytest.raises(ImportError):
        from enrich import NoSuchThing  # noqa: F401


def test_the_app_and_its_pages_are_short():
    assert lines(PROJECT / "app.py") <= LONGEST_APP
    pages = sorted((PROJECT / "pages").rglob("*.py"))
    assert len(pages) > 2
    long = [path for path in pages if lines(path) > LONGEST_PAGE and PARTS_OF_PAGES not in path.parts]
    assert names(long) == []


@pytest.mark.parametrize("path", EVERYTHING, ids=names(EVERYTHING))
def test_no_module_is_too_long(path):
    # Tests that are one list of sentences about one thing may be longer; see the hook's own question.
    limit = LONGEST_MODULE if path in CODE else 2 * LONGEST_MODULE
    assert lines(path) <= limit


def test_only_the_settings_read_the_environment():
    readers = []
    for path in CODE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            attribute = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
            name = isinstance(node, ast.alias) and node.name in ("environ", "getenv", "environb")
            if attribute or name:
                readers.append(path)
    assert sorted(set(names(readers))) == ["enrich/settings.py"]


def test_every_module_says_in_a_docstring_what_it_is():
    assert names(path for path in CODE if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))) == [
        name for name in names(CODE) if name.startswith("db/migrations/") and name.endswith("/__init__.py")
    ]


def test_every_setting_is_documented_and_nothing_else():
    text = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| *`?(EVERYFRAME_[A-Z_]+)`? *\|([^|]+)\|([^|]+)\|", text, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(f"EVERYFRAME_{name.upper()}" for name in Settings.model_fields)
    assert all(default.strip() and meaning.strip() for _, default, meaning in rows)


def test_no_name_of_a_module_says_nothing():
    for path in CODE:
        assert path.stem not in ("utils", "helpers", "common", "misc")
