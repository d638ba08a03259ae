"""Which files EveryFrame leaves on a computer, and who can read them."""

import os
import sqlite3
import sys
from contextlib import closing

import httpx
import pytest

from enrich.network import free_port
from tests.cli.terminal import COMMAND, PROJECT, run_process, running
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform != "linux", reason="knows the folders of Linux"),
]
OUTSIDE = {".local", ".local/share", ".local/state", ".local/state/everyframe", ".local/state/everyframe/machine-id"}
CRASH = """
import os
from enrich.cli import main, videos
def broken(*_):
    raise RuntimeError("password=geheim")
videos.open_library = broken
main(["list"])
"""


def answers(url):
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def person(tmp_path, monkeypatch, standin, claude):
    """A home folder and a folder for temporary files of their own, and a umask that keeps nothing private."""
    home, temporary = tmp_path / "anna", tmp_path / "tmp"
    for folder in (home, temporary):
        folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("XDG_", "EVERYFRAME_HOME"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = os.umask(0)
    yield home
    os.umask(before)


def test_every_file_is_private_and_none_is_anywhere_else(person, party, tmp_path):
    data = person / ".local" / "share" / "everyframe"
    for command in (
        ["settings", "set", "language", "German"],
        ["add", party],
        ["start"],
        ["stop"],
        ["enrich"],
        ["demo"],
        ["strip", "1", "--frame", "2"],
        ["audit", "1", "--sample", "2"],
        ["quick", "1", "--yes"],
        ["describe", "1", "--frame", "0"],
        ["export", "1", "-o", person / "party.csv"],
    ):
        said = run_process(*command)
        assert said.code in (0, 1), (command, said.err)
    port = free_port("127.0.0.1", 18500)
    with running(COMMAND, "dashboard", "--port", str(port), "--no-browser") as dashboard:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/_stcore/health"), "the dashboard responds")
        answers(f"http://127.0.0.1:{port}/")
        dashboard.terminate()
        dashboard.wait()
    with running(sys.executable, "-P", "-c", CRASH, env={**os.environ, "PYTHONPATH": str(PROJECT)}) as crashed:
        crashed.wait()
    with closing(sqlite3.connect(data / "old.db")) as connection:
        connection.executescript(min((PROJECT / "tests" / "db" / "schemas").glob("*.sql")).read_text(encoding="utf-8"))
    (data / "old.db").chmod(0o600)
    assert (
        run_process("migrate", env={**os.environ, "EVERYFRAME_DATABASE_URL": f"sqlite:///{data / 'old.db'}"}).code == 0
    )

    left = list(person.rglob("*"))
    assert [str(path) for path in left if path.lstat().st_mode & 0o077] == []
    names = {path.name for path in left}
    assert {"library.db", "settings.toml", "worker.log", "supervisor.log", "output.txt", "party.csv"} <= names
    assert any(name.startswith("error-") for name in names)
    assert any(".before-" in name for name in names)
    assert any(name.endswith(".jpg") for name in names)
    elsewhere = {str(path.relative_to(person)) for path in left if not path.is_relative_to(data)}
    assert elsewhere - OUTSIDE == {"party.csv"}
    assert [str(path) for path in (tmp_path / "tmp").rglob("*")] == []
    assert "geheim" not in "".join(path.read_text("utf-8", "replace") for path in data.rglob("*.txt"))
