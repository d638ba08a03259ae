"""The image and video routes over real HTTP, with raw requests that no browser normalizes first."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.served import Dashboard, serve
from tests.cli.conftest import NO_OLLAMA
from tests.cli.terminal import ask, change
from tests.clips import numbered_clip

VIDEO, GONE, REPLACED, LINKED = 1, 90, 91, 92
OUTSIDE = b"a file outside the library"
needs_links = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need privileges on Windows")


@pytest.fixture(scope="module")
def served(described: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard over a library of two described videos, with entries that must not be served."""
    folder = tmp_path_factory.mktemp("routes")
    home = folder / "home"
    shutil.copytree(described, home)
    (folder / "beside.jpg").write_bytes(OUTSIDE)
    other = shutil.copy(numbered_clip(folder / "other.mp4", frames=4, first=500), folder / "replaced.mp4")
    for number, file in {GONE: folder / "gone.mp4", REPLACED: other, LINKED: folder / "linked.mp4"}.items():
        register(home, number, Path(file))
    if sys.platform != "win32":
        (folder / "linked.mp4").symlink_to(folder / "beside.jpg")
        (home / "frames" / "link.jpg").symlink_to(folder / "beside.jpg")
        (home / "strips" / str(VIDEO)).mkdir(parents=True)
        (home / "strips" / str(VIDEO) / "7.jpg").symlink_to(folder / "beside.jpg")
    with serve(home, folder / "log", OLLAMA_HOST=NO_OLLAMA) as dashboard:
        yield dashboard


def register(home: Path, number: int, path: Path) -> None:
    """Add a library entry for a file, with the columns of the first video."""
    columns = [name for _, name, *_ in ask(home, "PRAGMA table_info(videos)")]
    own = {"id": number, "path": str(path), "fingerprint": f"{first_video(home)[1]}{number}"}
    values = ", ".join("?" if name in own else f'"{name}"' for name in columns)
    given = [own[name] for name in columns if name in own]
    change(home, f"INSERT INTO videos SELECT {values} FROM videos WHERE id = {VIDEO}", *given)  # noqa: S608  # its names


def first_video(home: Path) -> tuple[Path, str]:
    """The path and the fingerprint of the first video."""
    [(path, fingerprint)] = ask(home, f"SELECT path, fingerprint FROM videos WHERE id = {VIDEO}")  # noqa: S608  # a number
    return Path(path), fingerprint


@pytest.fixture(scope="module")
def whole(served: Dashboard) -> bytes:
    """The bytes of the first video."""
    return first_video(served.home)[0].read_bytes()


@pytest.fixture(scope="module")
def frame_id(served: Dashboard) -> int:
    """A kept frame of the first video."""
    return ask(served.home, f"SELECT id FROM frames WHERE video_id = {VIDEO} ORDER BY timestamp")[0][0]  # noqa: S608  # a number


def image_path(home: Path, frame_id: int) -> Path:
    [(name,)] = ask(home, f"SELECT image_path FROM frames WHERE id = {frame_id}")  # noqa: S608  # a number
    return home / "frames" / name


def test_video_is_sent_with_its_content_type(served, whole):
    answer = served.ask(f"/film/{VIDEO}")
    assert answer.status == 200
    assert answer.body == whole
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("asked", "start", "end"), [("0-99", 0, 100), ("100-", 100, None), ("-50", -50, None)])
def test_range_returns_206_and_exactly_these_bytes(served, whole, asked, start, end):
    answer = served.ask(f"/film/{VIDEO}", Range=f"bytes={asked}")
    assert answer.status == 206
    assert answer.body == whole[start:end]
    first = start % len(whole)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(whole)}"


def test_range_past_the_end_returns_416_with_the_length(served, whole):
    answer = served.ask(f"/film/{VIDEO}", Range=f"bytes={len(whole)}-")
    assert answer.status == 416
    assert answer.headers["content-range"].removeprefix("bytes ") == f"*/{len(whole)}"


def test_invalid_range_sends_at_most_the_video(served, whole):
    for asked in ("bytes=9-1", "bytes=x-y", "lines=1-2", "bytes=", "bytes=0-0," * 50):
        answer = served.ask(f"/film/{VIDEO}", Range=asked)
        assert answer.status in (200, 206, 400, 416), asked
        assert len(answer.body) <= 2 * len(whole) + 20_000


def test_head_has_length_and_no_body(served, whole, frame_id):
    answer = served.ask(f"/film/{VIDEO}", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole))
    assert served.ask(f"/picture/{frame_id}", "HEAD").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", [f"/film/{VIDEO}", "/picture/1", f"/source/{VIDEO}/1"])
def test_other_methods_are_refused(served, method, path):
    answer = served.ask(path, method, **{"Content-Length": "0"})
    assert answer.status == 405
    assert {word.strip() for word in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


def test_image_is_sent_in_full_or_as_thumbnail(served, frame_id):
    stored = image_path(served.home, frame_id)
    answer = served.ask(f"/picture/{frame_id}")
    assert (answer.status, answer.body) == (200, stored.read_bytes())
    assert answer.headers["content-type"] == "image/jpeg"
    small = served.ask(f"/picture/{frame_id}?edge=320")
    assert small.status == 200
    assert small.body[:2] == b"\xff\xd8"
    for strange in ("0", "-1", "999999", "320.5", "x", "320%00"):
        assert served.ask(f"/picture/{frame_id}?edge={strange}").body == stored.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/film/12345",
        "/film/0",
        "/film/99999999999999999999999999",
        f"/film/{VIDEO}.mp4",
        "/film/-1",
        "/film/1e0",
        "/film/%31%00",
        "/picture/123456",
        "/picture/99999999999999999999999999",
        f"/source/{VIDEO}/123456",
        f"/source/{VIDEO}/99999999999999999999999999",
        f"/source/{VIDEO}/../../library.db",
        "/source/12345/0",
        "/film/../home/library.db",
        "/film/..%2f..%2flibrary.db",
        "/film/%2e%2e/%2e%2e/library.db",
        "/picture/..%2flibrary.db",
        "/picture/..%5clibrary.db",
        "/picture/%2e%2e%2f%2e%2e%2flibrary.db",
        "/picture/%252e%252e%252flibrary.db",
        "/picture//etc/passwd",
        "/picture/%2fetc%2fpasswd",
        f"/source/{VIDEO}/..%2f..%2flibrary.db",
        f"/film/{GONE}",
        f"/film/{REPLACED}",
    ],
)
def test_unknown_paths_are_not_found(served, path):
    """Streamlit answers unknown paths with its own page or 404, never with a file of the library."""
    answer = served.ask(path)
    assert answer.status in (400, 404) or b"<title>Streamlit</title>" in answer.body, (answer.status, answer.body[:200])
    for secret in (b"SQLite format", b"root:", OUTSIDE):
        assert secret not in answer.body


@needs_links
def test_links_out_of_the_library_are_not_followed(served, frame_id):
    stored = image_path(served.home, frame_id).relative_to(served.home / "frames").as_posix()
    change(served.home, "UPDATE frames SET image_path = 'link.jpg' WHERE id = ?", frame_id)
    try:
        assert served.ask(f"/picture/{frame_id}?edge=x").status == 404
        for outside in ("../../beside.jpg", os.fspath(served.home.parent / "beside.jpg")):
            change(served.home, "UPDATE frames SET image_path = ? WHERE id = ?", outside, frame_id)
            assert served.ask(f"/picture/{frame_id}?edge=x").status == 404
    finally:
        change(served.home, "UPDATE frames SET image_path = ? WHERE id = ?", stored, frame_id)
    assert served.ask(f"/source/{VIDEO}/7").status == 404
    assert served.ask(f"/film/{LINKED}").status == 404


def test_replaced_or_deleted_video_is_not_sent(served):
    path, _ = first_video(served.home)
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]) + b"more")
        assert served.ask(f"/film/{VIDEO}").status == 404
        path.unlink()
        assert served.ask(f"/film/{VIDEO}").status == 404
    finally:
        path.write_bytes(kept)
    assert served.ask(f"/film/{VIDEO}").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8501", "", "127.0.0.1@evil.example", "[::1", "a b"]
)
@pytest.mark.parametrize("path", [f"/film/{VIDEO}", "/picture/1", "/", "/_stcore/health"])
def test_foreign_host_name_is_refused(served, host, path):
    answer = served.ask(path, Host=host)
    assert answer.status in (400, 421)
    assert not re.search(rb"ftyp|JFIF|<title>", answer.body)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8501", "localhost."])
def test_local_host_names_are_accepted(served, host):
    assert served.ask(f"/film/{VIDEO}", Host=host).status == 200


def test_other_sites_cannot_embed_or_read_anything(served, frame_id):
    foreign = served.ask(f"/picture/{frame_id}", Origin="http://evil.example")
    assert foreign.status == 403
    assert "access-control-allow-origin" not in foreign.headers
    answer = served.ask(f"/picture/{frame_id}")
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in served.ask("/").headers["content-security-policy"]
