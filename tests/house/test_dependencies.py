"""Dependencies: what is imported is declared, what is declared is needed, and what we rely on in others is stated."""

import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

from tests.house.source import CODE, PROJECT, TESTS

DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
PROGRAM = [*CODE, *sorted((PROJECT / "launch" / "everyframe").glob("*.py"))]
BENCH = sorted((PROJECT / "bench").rglob("*.py"))
OURS = {"app", "bench", "db", "enrich", "everyframe", "pages", "tests"}
# Modules of a distribution that has another name.
DISTRIBUTIONS = {"argon2": "argon2-cffi", "cv2": "opencv-python-headless", "PIL": "pillow"}
NOT_INSTALLED = {"imagehash", "scenedetect"}  # bench/peers.py runs in a Python of its own
# What developers need without importing it: programs, plugins of pytest, types.
PROGRAMS = {
    "codespell", "import-linter", "mypy", "pandas-stubs", "pre-commit", "pytest-asyncio", "pytest-cov",
    "pytest-timeout", "pytest-xdist", "ruff", "types-psutil", "vulture",
}  # fmt: skip


def names_in(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requirements}


BASE = names_in(DECLARED["project"]["dependencies"])
EXTRAS = {name: names_in(listed) for name, listed in DECLARED["project"]["optional-dependencies"].items()}


IMPORT = re.compile(r"^[ \t]*(?:from (\w+)[\w.]* import |import (\w+)[\w.]*(?: as \w+)?(?:  #.*)?$)", re.MULTILINE)


@functools.cache
def imported_by(path: Path) -> set[str]:
    """The distributions of others that a file imports, read from its text: parsing every file takes seconds."""
    modules = {one or other for one, other in IMPORT.findall(path.read_text(encoding="utf-8"))}
    others = modules - sys.stdlib_module_names - OURS - NOT_INSTALLED
    return {DISTRIBUTIONS.get(module, module.replace("_", "-")) for module in others}


def distributions_imported_by(paths: Iterable[Path]) -> dict[str, str]:
    """The distributions of others that files import, each with one of the files."""
    return {name: path.name for path in paths for name in imported_by(path)}


def test_program_imports_only_what_it_declares():
    found = distributions_imported_by(PROGRAM)
    assert len(found) > 20
    assert {name: path for name, path in found.items() if name not in BASE | EXTRAS["claude"]} == {}


def test_only_the_folder_for_claude_imports_its_extra():
    others = [path for path in PROGRAM if "claude" not in path.parts]
    assert not distributions_imported_by(others).keys() & EXTRAS["claude"]


def test_tests_and_benchmarks_import_only_what_is_declared():
    found = distributions_imported_by([*TESTS, *BENCH])
    assert {name: path for name, path in found.items() if name not in BASE.union(*EXTRAS.values())} == {}


def test_every_declared_dependency_is_used():
    program, developers = distributions_imported_by(PROGRAM), distributions_imported_by([*TESTS, *BENCH])
    assert sorted((BASE | EXTRAS["claude"]) - program.keys()) == []
    assert sorted(EXTRAS["dev"] - developers.keys()) == sorted(PROGRAMS)
    assert sorted(PROGRAMS & developers.keys()) == []


def test_one_distribution_provides_cv2():
    assert set(packages_distributions()["cv2"]) == {"opencv-python-headless"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the libraries of a process from /proc")
def test_cv2_loads_no_desktop_library():
    script = "import cv2\nprint(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    libraries = {line.rpartition("/")[2] for line in done.stdout.splitlines() if ".so" in line}
    assert any(name.startswith("cv2") for name in libraries)
    assert [name for name in libraries if re.match(r"lib(Qt|X11|xcb|GL|EGL|wayland|glib)", name)] == []


# Undocumented parts of other projects, which any version may change. pyproject.toml bounds their versions.


@pytest.mark.parametrize("name", ["av", "httpx", "streamlit", "typer"])
def test_a_project_with_undocumented_parts_in_use_has_an_upper_bound(name):
    [bounds] = [one for one in DECLARED["project"]["dependencies"] if re.match(rf"{name}\b(?!-)", one)]
    lowest, below = (tuple(map(int, re.search(rf"{sign}([\d.]+)", bounds)[1].split("."))) for sign in (">=", "(?<!>)<"))
    assert lowest <= tuple(map(int, version(name).split("."))) < below


def test_streamlit_checks_host_names_by_its_option(monkeypatch):
    """access.py applies the check of Streamlit's WebSocket to every request."""
    from streamlit.web.server.starlette import starlette_websocket

    monkeypatch.setattr(starlette_websocket.config, "get_option", {"server.allowedHosts": ["127.0.0.1", "::1"]}.get)
    names = ["127.0.0.1:8501", "[::1]:8501", "evil.example"]
    assert [starlette_websocket.is_host_allowed(name) for name in names] == [True, True, False]


def test_streamlit_can_be_told_to_ignore_the_folder_pages(tmp_path, monkeypatch):
    """app.py: otherwise the first visitor's link opens a page without the app around it."""
    from streamlit.runtime.pages_manager import PagesManager

    (tmp_path / "pages").mkdir()
    for given, used in ((None, True), (False, False)):
        monkeypatch.setattr(PagesManager, "uses_pages_directory", given)
        PagesManager(str(tmp_path / "app.py"))
        assert PagesManager.uses_pages_directory is used


def test_streamlit_has_the_test_ids_that_styles_name():
    import streamlit

    code = "".join(path.read_text(encoding="utf-8") for path in CODE if path.parent.name != "enrich")
    ids = set(re.findall(r"data-testid=\"?(\w[\w-]*)", code))
    scripts = b"".join(path.read_bytes() for path in Path(streamlit.__file__).parent.glob("static/static/js/*.js"))
    assert len(ids) > 5
    built = {"stBaseButton-primary": "stBaseButton-"}  # from the kind of the button
    assert sorted(one for one in ids if built.get(one, one).encode() not in scripts) == []


def test_base_class_of_typer_errors_has_a_message_and_an_exit_code():
    """The command line prints such errors in one line."""
    import typer

    from enrich.cli import ClickError

    assert ClickError.__name__ == "ClickException"
    assert issubclass(typer.BadParameter, ClickError)
    assert (ClickError("no such option").format_message(), ClickError.exit_code) == ("no such option", 1)


def test_pyav_makes_a_container_of_the_side_data_of_a_frame():
    """container.py: `frame.side_data` would create a reference cycle."""
    import av
    from av.sidedata.sidedata import SideDataContainer

    frame = av.VideoFrame(16, 16, "yuv420p")
    with pytest.raises(KeyError):
        SideDataContainer(frame)["DISPLAYMATRIX"]


def test_httpx_says_in_words_that_a_reply_ended_early():
    """client.py: the server may be alive, and the call at fault. Other errors mean that it is not."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    import httpx

    class CutOff(BaseHTTPRequestHandler):
        def do_GET(self):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), CutOff) as server:
        thread = threading.Thread(target=server.handle_request, name="everyframe-test")
        thread.start()
        with pytest.raises(httpx.RemoteProtocolError, match=r"complete message body|incomplete"):
            httpx.get(f"http://127.0.0.1:{server.server_port}", trust_env=False)
        thread.join()
