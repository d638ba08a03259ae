"""The installed wheel, beside a package of another project that is named `enrich` too.

Every program runs with an environment of its own, from a folder whose modules have the names of EveryFrame's folders.
"""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from typing import Any

import pytest

from tests.package.conftest import PROJECT, TEST_SECONDS, Installation

pytestmark = [pytest.mark.slow, pytest.mark.timeout(TEST_SECONDS)]
START_SECONDS = 120.0
WORK_SECONDS = 120.0


# AppTest lets a page run without `app.py`, which the server does not.
DRAW_PAGES = """
import os
from pathlib import Path

from everyframe import put_app_first
put_app_first()
import app
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test

class NavigatedPages(PagesManager):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        PagesManager.uses_pages_directory = False

app_test.PagesManager = NavigatedPages
folder = Path(app.__file__).parent
os.chdir(folder)
for path in sorted((folder / "pages").glob("*.py")):
    if path.stem != "__init__":
        tab = AppTest.from_file(app.__file__, default_timeout=60).run()
        tab.switch_page(f"pages/{path.name}").run()
        print(f"page {path.stem}: exceptions {len(tab.exception)}, titles {len(tab.title)}")
"""


def command_json(installation: Installation, *words: str) -> dict[str, Any]:
    done = installation.run(installation.command, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_demo_describes_its_sample_video(installation):
    done = installation.run(installation.command, "demo")
    assert done.returncode == 0, done.stderr
    assert "everyframe search " in done.stdout
    assert "everyframe demo /path/to/video.mp4" in done.stdout
    assert "make " not in done.stdout, "an installed package has no Makefile"
    assert (installation.home / "library" / "demo" / "library.db").exists()


def test_one_opencv_is_installed_and_needs_no_desktop(installation):
    code = (
        "import json, cv2\nfrom importlib.metadata import packages_distributions\n"
        "with open('/proc/self/maps') as maps: loaded = [line for line in maps if '/lib' in line]\n"
        "desktop = [line for line in loaded if any(name in line for name in ('libQt', 'libX11', 'libxcb', 'libGL'))]\n"
        "print(json.dumps([packages_distributions()['cv2'], len(loaded) > 5, desktop]))"
    )
    if sys.platform != "linux":
        pytest.skip("reads the libraries of a process from /proc")
    assert json.loads(installation.python_code(code)) == [["opencv-python-headless"], True, []]


def test_python_m_everyframe_is_the_command(installation):
    done = installation.run(installation.python, "-m", "everyframe", "list", "--json")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_dashboard_answers(installation):
    with closing(socket.create_server(("127.0.0.1", 0))) as one:
        port = one.getsockname()[1]
    process = subprocess.Popen(
        [installation.command, "dashboard", "--no-browser", "--port", str(port)],
        cwd=installation.working_directory,
        env=installation.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        first = process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in first, process.communicate()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(first.split()[-1], timeout=START_SECONDS) as answer:  # the address with the token
            assert (answer.status, answer.url) == (200, f"http://127.0.0.1:{port}/")
    finally:
        process.terminate()
        process.communicate(timeout=START_SECONDS)
    assert process.returncode == 0


def test_pages_draw_without_an_exception(installation):
    """What a browser tab gets, drawn by Streamlit's own test client in the installed environment."""
    drawn = installation.python_code(DRAW_PAGES).splitlines()
    assert sorted(line for line in drawn if line.startswith("page ")) == sorted(
        f"page {path.stem}: exceptions 0, titles 1"
        for path in (PROJECT / "pages").glob("*.py")
        if path.stem != "__init__"
    )


def test_background_worker_starts_and_stops(installation):
    """The supervisor and the worker are processes of their own, and so is a command the dashboard runs."""
    sample = installation.home / "library" / "demo" / "sample.mp4"
    if not sample.exists():
        assert installation.run(installation.command, "demo").returncode == 0
    code = (
        "from everyframe import put_app_first\nput_app_first()\nfrom enrich.jobs.command import run_command\n"
        f"from enrich.settings import load_settings\nprint(run_command(load_settings(), 'add', {str(sample)!r}).code)"
    )
    assert installation.python_code(code) == "0"
    started = installation.run(installation.command, "start")
    assert started.returncode == 0, started.stderr
    try:
        end = time.monotonic() + WORK_SECONDS
        while not command_json(installation, "search", "baseline")["hits"]:
            assert time.monotonic() < end, command_json(installation, "status")
            time.sleep(0.5)
    finally:
        stopped = installation.run(installation.command, "stop")
    assert stopped.returncode == 0, stopped.stderr


def test_jobs_run_in_the_background(installation):
    code = (
        "import time\nfrom everyframe import put_app_first\nput_app_first()\nfrom enrich.jobs import jobs\n"
        "from enrich.settings import load_settings\nsettings = load_settings()\njobs.start_job(settings, 'x', 'list')\n"
        "while jobs.jobs(settings)[0].is_running: time.sleep(0.1)\nprint(jobs.jobs(settings)[0].exit_code)"
    )
    assert installation.python_code(code) == "0"


def test_the_analyzer_is_importable(installation):
    code = (
        "import sys\nbefore = list(sys.path)\nfrom everyframe import LocalVisionAnalyzer\nassert sys.path == before\n"
        "analyzer = LocalVisionAnalyzer(model='llava:13b')\n"
        "print(*(callable(getattr(analyzer, n)) for n in ('analyze_frame_deep', 'enrich_video', 'worker')))"
    )
    assert installation.python_code(code) == "True True True"


def test_type_checkers_know_the_analyzer(installation, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from everyframe import LocalVisionAnalyzer\nreveal_type(LocalVisionAnalyzer().worker)\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", installation.python, "--cache-dir"]
    done = subprocess.run(
        [*command, tmp_path / "cache", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )
    assert done.returncode == 0, done.stdout
    assert "Coroutine" in done.stdout


def test_import_enrich_is_still_the_package_from_pypi(installation):
    code = (
        "import everyframe, enrich.console\nfrom importlib.util import find_spec\n"
        "print(enrich.__file__, *map(find_spec, ('db', 'pages')))"
    )
    file, *ours = installation.python_code(code).split()
    assert "_app" not in file
    assert file.endswith(("/enrich/__init__.py", "\\enrich\\__init__.py"))
    assert ours == ["None", "None"]


def test_a_foreign_enrich_in_the_process_is_named(installation):
    code = (
        "import enrich\ntry:\n    from everyframe import LocalVisionAnalyzer\nexcept ImportError as error:\n"
        "    print(error)"
    )
    assert "another package named 'enrich' is already imported" in installation.python_code(code)
