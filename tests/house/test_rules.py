"""Rules for files: their length, their docstrings, who may read the environment."""

import ast
from pathlib import Path

import pytest

from tests.house.source import ALL_FILES, CODE, PROJECT, TESTS, line_count, names, parsed, relative

LONGEST_MODULE, LONGEST_TEST_MODULE, LONGEST_PAGE, LONGEST_APP = 400, 800, 100, 60
PARTS_OF_PAGES = "parts"


def test_app_and_pages_are_short():
    assert line_count(PROJECT / "app.py") <= LONGEST_APP
    pages = sorted((PROJECT / "pages").rglob("*.py"))
    assert len(pages) > 2
    assert names(page for page in pages if line_count(page) > LONGEST_PAGE and PARTS_OF_PAGES not in page.parts) == []


@pytest.mark.parametrize("path", ALL_FILES, ids=names(ALL_FILES))
def test_module_is_not_too_long(path):
    # Tests of one concept may be a long list; bench has the limit of tests, since its scripts are self-contained.
    assert line_count(path) <= (LONGEST_MODULE if path in CODE else LONGEST_TEST_MODULE)


def test_only_settings_read_the_environment():
    readers = set()
    for path in CODE:
        for node in ast.walk(parsed(path)):
            name = node.attr if isinstance(node, ast.Attribute) else node.name if isinstance(node, ast.alias) else ""
            if name in ("environ", "getenv", "environb"):
                readers.add(path)
    assert names(sorted(readers)) == ["enrich/settings.py"]


def test_only_python_command_runs_modules():
    """Decision 0017. Task Scheduler's one-liner in autostart.py runs no module; it starts that same command."""
    runners, pythons = set(), set()
    for path in CODE:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and node.value == "-m":
                runners.add(path)
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.executable":
                pythons.add(path)
    assert names(sorted(runners)) == ["enrich/process.py"]
    assert names(sorted(pythons)) == ["enrich/control/autostart.py", "enrich/process.py"]


def test_every_module_has_a_docstring():
    without = names(path for path in CODE if not ast.get_docstring(parsed(path)))
    assert without == [
        name for name in names(CODE) if name.startswith("db/migrations/") and name.endswith("/__init__.py")
    ]


def test_threads_have_the_prefix_by_which_tests_find_leftover_ones():
    names_of = {"Thread": "name", "ThreadPoolExecutor": "thread_name_prefix"}
    unnamed, found = [], 0
    for path in CODE:
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call) or (kind := ast.unparse(node.func).split(".")[-1]) not in names_of:
                continue
            found += 1
            name = next((ast.unparse(one.value) for one in node.keywords if one.arg == names_of[kind]), "")
            if not name.lstrip("f").strip("'\"").startswith("everyframe-"):
                unnamed.append(relative(path))
    assert found > 8
    assert unnamed == []


def test_tree_of_errors_is_complete():
    defined = [node for path in CODE for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)]
    found = {"EveryFrameError"}
    while more := {one.name for one in defined if found & {ast.unparse(base) for base in one.bases}} - found:
        found |= more
    assert len(found) > 20
    tree = (ast.get_docstring(parsed(PROJECT / "enrich" / "errors.py")) or "").split()
    assert sorted(found - set(tree)) == []


def fixtures(path: Path) -> dict[str, str]:
    """The names of a module's fixtures, with their decorators."""
    found = {}
    for node in parsed(path).body:
        marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", []) if "fixture" in ast.unparse(mark)]
        if isinstance(node, ast.FunctionDef) and marks:
            found[node.name] = marks[0]
    return found


def test_shared_checks_of_tests_are_not_overridden():
    """A folder that overrode one of them would switch it off for its tests."""
    root = PROJECT / "tests" / "conftest.py"
    checks = {name for name, mark in fixtures(root).items() if "autouse" in mark}
    assert len(checks) > 5
    others = [path for path in TESTS if path != root]
    assert [f"{path.relative_to(PROJECT)} {name}" for path in others for name in checks & fixtures(path).keys()] == []
