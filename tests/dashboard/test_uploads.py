"""Uploads over real HTTP: a server in a thread, the dashboard's own routes and guards, and real probing."""

import errno
import http.client
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import uvicorn
from starlette.applications import Starlette

from db.errors import DatabaseFailedError
from enrich.jobs.command import CommandResult
from pages.parts.web import uploads
from pages.parts.web.access import access_middleware, read_credentials
from pages.parts.web.login import cookie_name
from pages.parts.web.routes import routes
from pages.parts.web.uploads import NAME_HEADER, PATH, TOKEN_HEADER, TOKENS, UploadTokens
from tests.clips import numbered_clip
from tests.waiting import PATIENCE_SECONDS, wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    """The routes behind the guards, on a free local port."""
    app = Starlette(routes=routes(), middleware=access_middleware())
    served = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    wait_until(lambda: served.started, "the server has started")
    yield served
    served.should_exit = True
    thread.join(PATIENCE_SECONDS)


@pytest.fixture(autouse=True)
def clear_caches() -> Iterator[None]:
    import streamlit as st

    yield
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    numbered_clip(path, frames=5)
    return path.read_bytes()


@pytest.fixture
def client(server: uvicorn.Server, empty: Path) -> "Client":
    return Client(server.servers[0].sockets[0].getsockname()[1])


class Client:
    """Sends a browser's requests, with headers removed or changed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"

    def cookie(self) -> str:
        """The cookie of a session."""
        return f"{cookie_name(self.port)}={read_credentials().new_session(self.port)}"

    def headers(self, name: str = "film.mp4", **changed: str | None) -> dict[str, str]:
        headers: dict[str, str | None] = {
            "Origin": f"http://{self.host}",
            "Sec-Fetch-Site": "same-origin",
            "Cookie": self.cookie(),
            TOKEN_HEADER: TOKENS.issue(),
            NAME_HEADER: quote(name),
        }
        headers |= {key.replace("_", "-"): value for key, value in changed.items()}
        return {key: value for key, value in headers.items() if value is not None}

    def send(self, body: bytes, name: str = "film.mp4", method: str = "POST", **changed: str | None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, PATH, body=body, headers=self.headers(name, **changed))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def begin(self, length: int) -> socket.socket:
        """Open a connection and send only the head of a request."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        head = {"Host": self.host, "Content-Length": str(length), **self.headers()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        connection.sendall(f"POST {PATH} HTTP/1.1\r\n{lines}\r\n".encode())
        return connection


def files(home: Path) -> list[str]:
    folder = home / uploads.FOLDER
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def waiting() -> list[uploads.Upload]:
    from enrich.settings import load_settings

    return uploads.waiting(load_settings(), ())


def test_upload_is_stored_under_a_generated_name(client, empty, video):
    assert client.send(video, "Grandma's 80th.MP4") == (201, '{"title":"Grandma\'s 80th"}')
    (upload,) = waiting()
    assert (upload.title, upload.size_bytes) == ("Grandma's 80th", len(video))
    assert Path(upload.path).read_bytes() == video
    assert Path(upload.path).suffix == ".mp4"
    assert "grandma" not in upload.path.lower()


@pytest.mark.parametrize(
    ("given", "ending", "title"),
    [
        ("../../../etc/passwd", ".film", "passwd"),
        ("..\\..\\boot.mp4", ".mp4", "boot"),
        ("film.mp4/../../x.sh", ".film", "x"),
        ("a\x00b\x1b[31m.mkv", ".mkv", r"a\x00b\x1b[31m"),
        ("<img src=x onerror=alert(1)>.mp4", ".mp4", "<img src=x onerror=alert(1)>"),
        ("\u202egnp.4pm", ".film", r"\u202egnp"),
        ("", ".film", "Uploaded video"),
        ("x" * 3000 + ".mov", ".mov", "x" * 200),
    ],
)
def test_no_file_name_escapes_the_folder(client, empty, video, given, ending, title, monkeypatch):
    monkeypatch.setattr(
        uploads, "run_command", lambda *_, **__: CommandResult(0, {"videos": 1}, "")
    )  # accept every file
    status, _ = client.send(video, given)
    assert status == 201
    (upload,) = waiting()
    assert Path(upload.path).parent == empty / "uploads"
    assert Path(upload.path).suffix == ending
    assert upload.title == title
    assert sorted(path.name for path in empty.parent.iterdir()) == [empty.name]


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"Dear diary, this is not a video.\n" * 400, "it is not a video"), (b"", "empty")],
)
def test_file_that_is_not_a_video_is_rejected(client, empty, body, words):
    status, said = client.send(body, "diary.mp4")
    assert status == 422
    assert words in said
    assert "uploads" not in said  # the path means nothing to the user
    assert files(empty) == []


def test_video_in_the_library_is_not_stored_twice(client, empty, video, tmp_path):
    from enrich.cli import run

    (tmp_path / "mine.mp4").write_bytes(video)
    assert run(["add", str(tmp_path / "mine.mp4")]) == 0
    status, said = client.send(video, "other.mp4")
    assert status == 409
    assert "already in the library, as mine" in said
    assert files(empty) == []
    (tmp_path / "mine.mp4").unlink()
    assert client.send(video, "other.mp4")[0] == 201  # the original is gone, so the copy is useful


@pytest.mark.parametrize("cookie", [None, "everyframe-1=guessed"])
def test_upload_needs_a_session(client, empty, video, cookie):
    assert client.send(video, Cookie=cookie)[0] == 401
    assert files(empty) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"X_EveryFrame_Token": None},
        {"X_EveryFrame_Token": ""},
        {"X_EveryFrame_Token": "guessed"},
    ],
    ids=str,
)
def test_only_the_dashboards_own_pages_may_upload(client, empty, video, changed):
    assert client.send(video, **changed)[0] == 403
    assert files(empty) == []


def test_foreign_host_name_is_rejected_first(client, empty, video):
    status, _ = client.send(video, Host="evil.example", Origin="http://evil.example")
    assert status == 421
    assert files(empty) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_rejected(client, empty, method):
    assert client.send(b"", method=method)[0] == 405


def test_too_large_upload_is_rejected_before_it_is_sent(client, empty, video, monkeypatch):
    monkeypatch.setattr(uploads, "free_bytes", lambda _: len(video) - 1)
    status, said = client.send(video)
    assert status == 413
    assert "Not enough disk space" in said
    assert files(empty) == []


def test_limit_is_free_space_minus_the_reserve(empty, monkeypatch):
    from enrich.settings import load_settings

    free = shutil.disk_usage(empty).free
    monkeypatch.setenv("EVERYFRAME_DISK_RESERVE_MB", "100")
    assert abs(uploads.free_bytes(load_settings()) - (free - 100_000_000)) < 50_000_000
    monkeypatch.setenv("EVERYFRAME_DISK_RESERVE_MB", str(free))
    assert uploads.free_bytes(load_settings()) == 0


def test_full_disk_ends_the_upload(client, empty, monkeypatch):
    free = iter([10**9, 10**9, 0])
    monkeypatch.setattr(uploads, "free_bytes", lambda _: next(free))
    monkeypatch.setattr(uploads, "BUFFER_BYTES", 100_000)
    with client.begin(10**6) as connection:
        connection.sendall(bytes(400_000))
        assert b" 413 " in connection.recv(100)
    wait_until(lambda: files(empty) == [], "the partial file is deleted")


def test_upload_without_content_length_is_rejected(client, empty):
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    connection.request("POST", PATH, body=iter([b"some", b"thing"]), headers=client.headers(), encode_chunked=True)
    assert connection.getresponse().status == 411
    connection.close()
    assert files(empty) == []


def test_interrupted_upload_leaves_nothing_behind(client, empty):
    with client.begin(10**7) as connection:
        connection.sendall(bytes(10**5))
        wait_until(lambda: len(files(empty)) == 1, "the upload has begun")
        assert waiting() == []  # an incomplete file is not offered
    wait_until(lambda: files(empty) == [], "the partial file is deleted")
    assert client.send(b"")[0] == 422  # the upload slot is free again


def test_stalled_upload_times_out(client, empty, monkeypatch):
    monkeypatch.setattr(uploads, "STALL_SECONDS", 0.3)
    with client.begin(10**7) as connection:
        connection.sendall(bytes(1000))
        assert b" 408 " in connection.recv(100)
    wait_until(lambda: files(empty) == [], "the partial file is deleted")


def test_second_concurrent_upload_is_rejected(client, empty, video):
    with client.begin(10**7) as connection:
        connection.sendall(bytes(1000))
        wait_until(lambda: len(files(empty)) == 1, "the upload has begun")
        status, said = client.send(video)
        assert status == 409
        assert "Another upload is in progress" in said
    wait_until(lambda: files(empty) == [], "the partial file is deleted")
    assert client.send(video)[0] == 201


def test_next_upload_deletes_stale_partial_files(client, empty, video):
    (empty / "uploads").mkdir()
    for name in ("dead.part.mp4", "alive.part.mp4"):  # the second may belong to another dashboard
        (empty / "uploads" / name).write_bytes(b"half")
    long_ago = time.time() - 2 * uploads.STALE_PART_SECONDS
    os.utime(empty / "uploads" / "dead.part.mp4", (long_ago, long_ago))
    assert client.send(video)[0] == 201
    assert [name for name in files(empty) if "part" in name] == ["alive.part.mp4"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-11, "the command ended with signal 11: no error output"),
        (-9, "the command ended with signal 9: no error output"),
        (3221225477, "the command ended with exit code 3221225477: no error output"),
        (1, "the command ended with exit code 1: Killed"),
        (1, "MemoryError:"),
        (1, "IndexError: tuple index out of range (details: error.txt)"),
        (124, "the command took longer than 120 s and was terminated"),
        (126, "cannot run the command: [Errno 12] Cannot allocate memory"),
    ],
)
def test_upload_whose_probe_crashes_is_refused(client, empty, video, monkeypatch, code, said):
    monkeypatch.setattr(uploads, "run_command", lambda *_, **__: CommandResult(code, None, said))
    status, answer = client.send(video)
    assert (status, files(empty), waiting()) == (422, [], [])
    assert "Reading this file failed, so it was not kept" in answer
    assert said in answer


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("crash", "words"), [("SEGV", "signal 11"), ("STOP", "took longer than 2 s")])
def test_real_probe_that_crashes_or_hangs_is_refused(client, empty, video, monkeypatch, tmp_path, crash, words):
    """A real process: the command itself is replaced, as a codec would end it."""
    script = tmp_path / "crash.sh"
    script.write_text(f"kill -{crash} $$\n", encoding="utf-8")
    monkeypatch.setattr("enrich.jobs.command.command_line", lambda _: ["sh", str(script)])
    monkeypatch.setattr("enrich.jobs.command.TERMINATE_SECONDS", 0.1)
    monkeypatch.setattr(uploads, "PROBE_SECONDS", 2)
    status, answer = client.send(video)
    assert (status, files(empty)) == (422, [])
    assert words in answer


def test_upload_is_kept_if_the_library_is_locked(client, empty, video, monkeypatch):
    locked = CommandResult(1, None, "the database is locked")
    monkeypatch.setattr(uploads, "run_command", lambda *_, **__: locked)
    assert client.send(video)[0] == 201
    assert len(waiting()) == 1


def test_unusable_library_refuses_the_upload(client, empty, video, monkeypatch):
    def unusable(*_):
        raise DatabaseFailedError("the library is damaged")

    monkeypatch.setattr(uploads, "video_at_path", unusable)
    status, said = client.send(video)
    assert (status, files(empty)) == (503, [])
    assert "The video was not kept: the library is damaged" in said


def test_disk_that_fills_during_a_write_leaves_nothing(client, empty, video, monkeypatch):
    async def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(uploads, "_write", full)
    status, said = client.send(video)
    assert (status, files(empty)) == (507, [])
    assert "No space left on device" in said


def test_two_uploads_of_the_same_name_are_both_kept(client, empty, video, tmp_path, monkeypatch):
    other = numbered_clip(tmp_path / "other.mp4", frames=5, first=300).read_bytes()
    accepted = CommandResult(0, {"videos": 1}, "")
    monkeypatch.setattr(uploads, "run_command", lambda *_, **__: accepted)
    assert [client.send(body, "party.mp4")[0] for body in (video, other)] == [201, 201]
    assert [(upload.title, Path(upload.path).read_bytes()) for upload in waiting()] == [
        ("party", video),
        ("party", other),
    ]


def test_only_unregistered_uploads_are_discarded(client, empty, video, tmp_path):
    from enrich.settings import load_settings

    client.send(video)
    (upload,) = waiting()
    mine = tmp_path / "mine.mp4"
    mine.write_bytes(video)
    for path in (str(mine), str(empty / "library.db"), str(empty / "uploads" / ".." / "library.db"), "/"):
        uploads.discard(load_settings(), path, ())
    uploads.discard(load_settings(), upload.path, {upload.path})
    assert mine.exists()
    assert (empty / "library.db").exists()
    assert len(waiting()) == 1
    uploads.discard(load_settings(), upload.path, ())
    assert files(empty) == []


def test_oldest_tokens_expire_first(monkeypatch):
    monkeypatch.setattr(uploads, "MOST_TOKENS", 2)
    tokens = UploadTokens()
    first, second, third = (tokens.issue() for _ in range(3))
    assert [tokens.is_valid(token) for token in (first, second, third, "", "ä")] == [False, True, True, False, False]
