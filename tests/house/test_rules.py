"""Rules for files: their length, their docstrings, who may read the environment."""

import ast
import re
from collections.abc import Iterator
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
    """Decision 0017. Task Scheduler's one-liner in autostart.py and the lock test of library.py run no module."""
    runners, pythons = set(), set()
    for path in CODE:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and node.value == "-m":
                runners.add(path)
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.executable":
                pythons.add(path)
    assert names(sorted(runners)) == ["enrich/process.py"]
    assert names(sorted(pythons)) == ["enrich/control/autostart.py", "enrich/library/library.py", "enrich/process.py"]


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


FFMPEG_CALLS = {"decode", "demux", "seek", "reformat", "vpush", "vpull", "configure"}
DECODING = [path for path in CODE if path.parent.name == "video"]


def has_handler(node: ast.AST, child: ast.AST) -> bool:
    """Whether errors of FFmpeg in `child` end at `node`, its parent."""
    match node:
        case ast.Try(body=body, handlers=handlers) if child in body:
            return any("FFmpegError" in ast.unparse(handler.type) for handler in handlers if handler.type)
        case ast.With(items=items):
            texts = [ast.unparse(item) for item in items]
            return any("ffmpeg_errors" in text or ("suppress" in text and "FFmpegError" in text) for text in texts)
        case ast.FunctionDef(decorator_list=decorators):
            return any("ffmpeg_errors" in ast.unparse(decorator) for decorator in decorators)
    return False


def open_calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls in a function whose errors of FFmpeg leave it."""
    for child in ast.iter_child_nodes(node):
        if not has_handler(node, child):
            if isinstance(child, ast.Call):
                yield child
            yield from open_calls(child)


def uses_ffmpeg(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    owner = ast.unparse(call.func.value)
    is_text = any(isinstance(argument, ast.Constant) for argument in call.args)  # bytes.decode("ascii")
    is_ours = is_text or owner.endswith("file")
    return (call.func.attr in FFMPEG_CALLS and not is_ours) or ast.unparse(call.func) == "av.open"


def test_errors_of_ffmpeg_stay_in_the_decoding_package():
    """They are `OSError`s of Python, and would be taken for trouble with a disk."""
    functions = {
        (path, node.name): [*open_calls(node)]
        for path in DECODING
        if path.stem != "sample_clip"  # reads nothing of the user's
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef)
    }
    leaking = {key for key, calls in functions.items() if any(map(uses_ffmpeg, calls))}
    while True:
        called = {name for _, name in leaking}
        more = {key for key, calls in functions.items() if any(_name(call) in called for call in calls)} - leaking
        if not more:
            break
        leaking |= more
    public = {(path, name) for path, name in leaking if not name.startswith("_")}
    internal = {name for path, name in public if says_so(path.read_text(), name)}
    assert sorted(f"{relative(path)}: {name}" for path, name in public if name not in internal) == []
    used = re.compile(rf"\b({'|'.join(sorted(internal))})\b")
    outside = [path for path in set(CODE) - set(DECODING) if "enrich.video" in path.read_text()]
    imports = {
        (relative(path), line) for path in outside for line in re.findall(r"from enrich\.video.*", path.read_text())
    }
    assert sorted(line for line in imports if used.search(line[1])) == []
    assert {"__init__", "__iter__", "__next__"}.isdisjoint(name for _, name in leaking)


def says_so(source: str, name: str) -> bool:
    """Whether the docstring of a function says that it raises FFmpeg's errors: for use inside the package only."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return "FFmpegError" in (ast.get_docstring(node) or "")
    return False


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_only_the_decoding_package_imports_ffmpeg():
    importing = {
        relative(path)
        for path in set(CODE) - set(DECODING)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Import | ast.ImportFrom) and re.match(r"(import|from) av\b", ast.unparse(node))
    }
    assert importing <= {"enrich/cli/machine.py"}, "which only names FFmpeg's version"
