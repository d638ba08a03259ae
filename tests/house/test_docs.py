"""Documents that repeat what the code says are checked against it: settings, the map of folders, the lock files."""

import ast
import re

import pytest

from enrich.settings import Settings
from tests.house.source import PACKAGES, PROJECT, parsed

LOCKS = ("requirements.lock", "requirements-dev.lock")


def read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LOCKS)
def test_locked_requirements_have_a_version_and_a_hash(name):
    text = read(name).replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"^[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize("name", LOCKS)
def test_locks_contain_no_url(name):
    text = read(name)
    for word in ("://", "--find-links", "--index-url", "--extra-index-url", " -f ", "\n-i "):
        assert word not in text


def locked(name: str) -> dict[str, str]:
    """The requirements in a lock, with markers and hashes, without the comments."""
    text = re.sub(r" *\\\n *", " ", read(name))
    return {line.split(" ")[0]: line for line in text.splitlines() if line[:1].isalnum()}


def test_developers_get_what_users_get_and_more():
    users, developers = (locked(name) for name in LOCKS)
    assert users.items() < developers.items()


def test_users_download_no_browser_no_ffmpeg_and_no_checker():
    users = {requirement.split("==")[0] for requirement in locked("requirements.lock")}
    assert {"streamlit", "anthropic", "hatchling"} < users
    assert not users & {"playwright", "imageio-ffmpeg", "mypy", "pytest", "ruff", "hypothesis", "pre-commit"}


@pytest.mark.parametrize("name", LOCKS)
def test_locks_have_one_opencv_without_windows(name):
    names = [requirement.split("==")[0] for requirement in locked(name) if requirement.startswith("opencv")]
    assert names == ["opencv-python-headless"]


def test_settings_document_lists_every_setting():
    rows = re.findall(r"^\| *`?(EVERYFRAME_[A-Z_]+)`? *\|([^|]+)\|([^|]+)\|", read("docs/settings.md"), re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(f"EVERYFRAME_{name.upper()}" for name in Settings.model_fields)
    assert all(default.strip() and meaning.strip() for _, default, meaning in rows)


def test_guarantees_name_existing_tests():
    """`folder/test_file.py::test_name` in docs/promises.md exists below `tests/`."""
    named = re.findall(r"`((?:\w+/)*test_\w+\.py)(?:::(test_\w+))?`", read("docs/promises.md"))
    assert len(named) > 50
    tests = {file: read(f"tests/{file}") if (PROJECT / "tests" / file).is_file() else "" for file, _ in named}
    missing = [
        f"{file}::{name}" for file, name in named if not tests[file] or (name and f"def {name}(" not in tests[file])
    ]
    assert missing == []


def first_sentence(docstring: str) -> str:
    return re.split(r"(?<=[.!?])\s", " ".join(docstring.split()), maxsplit=1)[0]


def test_first_sentence_ends_at_its_period():
    assert first_sentence("Reads 1.5 GB of\n    video. Knows no database.") == "Reads 1.5 GB of video."
    assert first_sentence("One sentence.") == "One sentence."


def test_architecture_describes_folders_as_their_docstrings_do():
    """Lines like "`enrich/worker/` — The worker: ..." repeat the first sentence of the folder's docstring."""
    described = dict(re.findall(r"`([a-z_/]+)/` — (.+?)\s*$", read("ARCHITECTURE.md"), re.MULTILINE))
    packages = [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("__init__.py"))]
    documented = {
        path.parent.relative_to(PROJECT).as_posix(): first_sentence(docstring)
        for path in packages
        if (docstring := ast.get_docstring(parsed(path)))
    }
    top = {folder for folder in documented if folder in PACKAGES or folder.count("/") == 1}
    assert sorted(top - described.keys()) == []
    assert {folder: text for folder, text in described.items() if folder in documented} == {
        folder: documented[folder] for folder in described if folder in documented
    }
    assert [folder for folder in described if not (PROJECT / folder).is_dir()] == []


def test_links_between_documents_lead_somewhere():
    dead = []
    for document in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)\s:]+)\)", document.read_text(encoding="utf-8")):
            name, _, anchor = link.partition("#")
            target = document.parent / name if name else document
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            if not target.exists() or (anchor and anchor not in anchors):
                dead.append(f"{document.name}: {link}")
    assert dead == []
