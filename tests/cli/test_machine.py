"""The commands doctor, models and migrate; invalid settings and unusable libraries."""

import json
import sqlite3
import sys
from contextlib import closing
from importlib.metadata import packages_distributions
from pathlib import Path

import platformdirs
import pytest

from enrich.describe.ollama.models import PullProgress
from enrich.settings import data_folder, load_settings
from tests.cli.terminal import change, run_process
from tests.standin import ShelfModel, StandIn

ALL = [
    ["list"], ["list", "--json"], ["show", "1"], ["search", "cake"], ["export", "1"], ["add", "video.mp4"],
    ["estimate", "video.mp4"], ["extract"], ["enrich"], ["retry"], ["remove", "1", "--yes"],
]  # fmt: skip


def by_name(commands):
    return pytest.mark.parametrize("command", commands, ids=" ".join)


def test_doctor_without_problems_exits_0(cli, standin, home):
    said = cli("doctor")
    assert said.code == 0
    assert all(line.startswith("ok    ") for line in said.out.splitlines())
    assert str(home) in said.out
    assert f"Ollama at {standin.address}: llava:13b is installed (vision model)" in said.out


def test_doctor_names_the_fix(cli, standin):
    standin.behave(models=())
    said = cli("doctor")
    assert said.code == 1
    assert "FAIL  Ollama at" in said.out
    assert f"      Fix: OLLAMA_HOST={standin.address} ollama pull llava:13b\n" in said.out


def test_doctor_names_no_command_where_there_is_none(cli, standin, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "qwen3-vl:235b-cloud")
    said = cli("doctor")
    assert said.code == 1
    assert "EVERYFRAME_ALLOW_CLOUD=true" in said.out
    assert "Fix: qwen3-vl" not in said.out


def test_doctor_says_how_to_start_or_install_ollama(cli, monkeypatch):
    said = cli("doctor", "--json")
    assert said.code == 1
    (ollama,) = [check for check in said.json if check["what"].startswith("Ollama")]
    assert (ollama["is_good"], ollama["remedy"]) == (False, "ollama serve")
    assert set(ollama) == {"what", "is_good", "finding", "remedy"}
    monkeypatch.setattr("enrich.cli.machine.which", lambda _: None)
    monkeypatch.setattr("enrich.cli.machine.DEFAULT_OLLAMA_HOST", "http://127.0.0.1:9")
    assert "Fix: install Ollama from https://ollama.com/download" in cli("doctor").out


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [
        ("No module named 'cv2.typing'", "pip install --upgrade everyframe"),
        ("libGL.so.1: cannot open", "pip uninstall opencv-python, then pip install --no-deps opencv-python-headless"),
    ],
)
def test_doctor_says_how_to_repair_opencv(cli, standin, monkeypatch, tmp_path, problem, remedy):
    (tmp_path / "cv2.py").write_text(f"raise ImportError({problem!r})", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("enrich.cli.machine.packages_distributions", lambda: {"cv2": ["opencv-python"]})
    said = cli("doctor")
    assert said.code == 1
    assert f"FAIL  video libraries: {problem}\n      Fix: {remedy}\n" in said.out


def test_doctor_reports_two_opencv_wheels(cli, standin, monkeypatch, tmp_path):
    [installed] = set(packages_distributions()["cv2"])
    other = tmp_path / "opencv_contrib_python-5.0.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-contrib-python\nVersion: 5.0.0\n", "utf-8")
    (other / "top_level.txt").write_text("cv2\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    said = cli("doctor")
    assert said.code == 1
    assert f"FAIL  video libraries: opencv-contrib-python and {installed} overwrite each other's files\n" in said.out
    assert f"Fix: pip uninstall opencv-contrib-python {installed}, then pip install --no-deps opencv" in said.out


def test_doctor_skips_ollama_for_the_baseline(cli, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DESCRIBER", "baseline")
    assert cli("doctor").code == 0


def test_doctor_reports_a_full_disk(cli, standin, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DISK_RESERVE_MB", "999999999")
    said = cli("doctor")
    assert said.code == 1
    assert "Fix: free up disk space, or lower EVERYFRAME_DISK_RESERVE_MB" in said.out


def test_models_lists_size_vision_and_speed(cli, standin, party):
    vision, text_only, cloud = (
        ShelfModel(),
        ShelfModel("llama3:8b", sees=False),
        ShelfModel("q:1b", remote_host="https://x"),
    )
    standin.behave(models=(vision, text_only, cloud), delay=0.1)
    assert "not measured" in cli("models").out
    cli("add", party)
    cli("enrich")
    rows = {row["name"]: row for row in cli("models", "--json").json}
    assert (rows["llava:13b"]["size_bytes"], rows["llava:13b"]["sees"], rows["llava:13b"]["loaded"]) == (
        8 * 10**9,
        True,
        True,
    )
    assert rows["llava:13b"]["seconds_per_frame"] == pytest.approx(0.1, rel=0.5)
    assert (rows["llama3:8b"]["sees"], rows["llama3:8b"]["seconds_per_frame"]) == (False, None)
    lines = {line.split()[0]: line for line in cli("models").out.splitlines()}
    assert lines["MODEL"].split()[:4] == ["MODEL", "SIZE", "VISION", "LOADED"]
    assert lines["llava:13b"].split()[1:5] == ["8.0", "GB", "yes", "GPU"]
    assert lines["llama3:8b"].split()[3:7] == ["no", "no", "not", "measured"]
    assert "(cloud: not allowed)" in lines["q:1b"]


def test_models_without_any_model_names_the_command(cli, standin):
    standin.behave(models=())
    said = cli("models")
    assert (said.code, said.out) == (0, "No model is installed. Install one: everyframe models pull llava:13b\n")


def test_models_without_ollama_is_one_line(cli):
    cli("models").refused("Ollama at http://127.0.0.1:9 is not responding", "`ollama serve`")


def test_models_with_one_of_two_hosts_down(cli, standin, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_OLLAMA_HOSTS", f"http://127.0.0.1:9,{standin.address}")
    said = cli("models", "--json")
    assert said.code == 0
    assert [row["host"] for row in said.json] == [standin.address]
    assert said.err.startswith("everyframe: Ollama at http://127.0.0.1:9 is not responding")


def test_pull_installs_a_model(cli, standin):
    said = cli("models", "pull", "moondream")
    assert said.code == 0
    assert f"moondream is installed at {standin.address}." in said.out
    assert "pulling 2af3b81862c6" in said.out
    assert {row["name"] for row in cli("models", "--json").json} == {"llava:13b", "moondream:latest"}


def test_status_of_a_pull_is_text(cli, standin, monkeypatch):
    async def pull(*_):
        yield PullProgress("pulling [bold]\x1b]0;x\x07", 10, 10)

    monkeypatch.setattr("enrich.describe.ollama.describer.OllamaDescriber.pull", pull)
    assert "pulling [bold]\\x1b]0;x\\x07 " in cli("models", "pull", "moondream").out


def test_pull_of_an_unknown_model_is_one_line(cli, standin):
    said = cli("models", "pull", "nothere")
    assert said.code == 1
    assert said.out.strip() == ""
    assert said.err == f"everyframe: {standin.address}: pull model manifest: file does not exist\n"
    cli("models", "pull").refused("NAME", code=2)


def test_pull_prints_progress_as_json_lines(cli, standin):
    lines = [json.loads(line) for line in cli("models", "pull", "moondream", "--json").out.splitlines()]
    assert {line["host"] for line in lines} == {standin.address}
    assert (lines[0]["status"], lines[0]["total"]) == ("pulling manifest", None)
    assert [(line["completed"], line["total"]) for line in lines if line["total"]] == [(0, 1000), (1000, 1000)]
    assert lines[-1]["status"] == "success"


def test_remove_model_needs_confirmation(cli, standin):
    standin.behave(models=(ShelfModel(), ShelfModel("moondream:latest", size=1_700_000_000)))
    cli("models", "remove", "moondream").refused("pass --yes to delete moondream:latest (1.7 GB) from")
    cli("models", "remove", "llava:13b").refused("your current model")
    assert len(cli("models", "--json").json) == 2
    said = cli("models", "remove", "moondream", "--yes", "--json")
    assert said.json == [{"host": standin.address, "name": "moondream:latest", "size_bytes": 1_700_000_000}]
    assert [row["name"] for row in cli("models", "--json").json] == ["llava:13b"]
    cli("models", "remove", "moondream", "--yes").refused("`moondream` is not installed at", "`everyframe models`")


def test_remove_model_from_one_host(cli, standin, monkeypatch):
    with StandIn() as other:
        monkeypatch.setenv("EVERYFRAME_OLLAMA_HOSTS", f"{standin.address},{other.address}")
        cli("models", "remove", "llava:13b", "--yes", "--host", "http://box").refused("is not one of your hosts")
        cli("models", "remove", "llava:13b", "--yes", "--host", "http://box:port").refused("--host", code=2)
        assert cli("models", "remove", "llava:13b", "--yes", "--host", other.address).code == 0
    assert [model.name for model in standin.conduct.models] == ["llava:13b"]
    assert other.conduct.models == ()


def test_migrate_of_a_current_library_does_nothing(cli, library):
    assert cli("migrate").out == "The library is up to date.\n"


@by_name([*ALL, ["migrate"]])
def test_newer_library_is_refused_by_every_command(cli, library, command):
    change(library, "UPDATE alembic_version SET version_num = '9999'")
    cli(*command).refused(
        f"{library / 'library.db'} was made by a newer EveryFrame", "run `pip install --upgrade everyframe`"
    )


@by_name([*ALL, ["migrate"]])
def test_foreign_database_is_refused_and_unchanged(cli, home, command):
    home.mkdir()
    with closing(sqlite3.connect(home / "library.db")) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    before = (home / "library.db").read_bytes()
    cli(*command).refused("is not an EveryFrame library", "EVERYFRAME_DATABASE_URL")
    assert (home / "library.db").read_bytes() == before


@by_name(ALL)
def test_empty_database_names_the_migrate_command(cli, home, command):
    home.mkdir()
    (home / "library.db").touch()
    cli(*command).refused("library.db is empty", "`everyframe migrate`")
    assert cli("migrate").code == 0
    assert cli("list").code == 0


@by_name([*ALL, ["migrate"]])
def test_damaged_database_is_refused(cli, home, command):
    home.mkdir()
    (home / "library.db").write_bytes(b"this was a database once" * 500)
    cli(*command).refused("library.db", "cannot be read as a database", "restore a backup")


def test_models_refuses_a_newer_library(cli, standin, library):
    change(library, "UPDATE alembic_version SET version_num = '9999'")
    cli("models").refused("was made by a newer EveryFrame")


def test_doctor_reports_library_problems(cli, standin, library):
    change(library, "UPDATE alembic_version SET version_num = '9999'")
    said = cli("doctor")
    assert said.code == 1
    assert "FAIL  library" in said.out
    assert "Fix: pip install --upgrade everyframe" in said.out


@by_name([["list"], ["enrich"], ["models"], ["doctor"], ["migrate"], ["demo"]])
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EVERYFRAME_CONCURRENCY", "x", "EVERYFRAME_CONCURRENCY: "),
        ("EVERYFRAME_DESCRIBER", "gpt", "EVERYFRAME_DESCRIBER: use `ollama` or `baseline`"),
        ("EVERYFRAME_OLLAMA_HOSTS", "http://[::1", "OLLAMA_HOSTS"),
    ],
)
def test_invalid_setting_is_named(cli, monkeypatch, command, name, value, words):
    monkeypatch.setenv(name, value)
    cli(*command).refused(words)


@pytest.mark.parametrize(
    "value", ["http://", "http://[::1", "http://box:port", "http://box:99999", ",", "ftp://box", "http://a b"]
)
def test_invalid_ollama_address_is_one_line(cli, party, monkeypatch, value):
    monkeypatch.setenv("OLLAMA_HOST", value)
    said = cli("models")
    said.refused()
    assert "details:" not in said.err


@pytest.mark.parametrize("url", ["nonsense", "mysql://a/b", "foo://x", "sqlite:////nowhere/at/all/library.db"])
def test_invalid_database_url_is_one_line(cli, monkeypatch, url):
    monkeypatch.setenv("EVERYFRAME_DATABASE_URL", url)
    if url.startswith("sqlite"):
        monkeypatch.setenv("EVERYFRAME_DATABASE_URL", "sqlite:////dev/null/library.db")
    for command in (["list"], ["doctor"]):
        said = cli(*command)
        assert said.code == 1
        assert "details:" not in said.err + said.out
    cli("list").refused("EVERYFRAME_")


def test_unreadable_settings_file_is_one_line(cli, home):
    home.mkdir()
    (home / "settings.toml").write_text("concurrency = = 3")
    cli("list").refused("settings.toml")
    (home / "settings.toml").write_text("concurrency = 0")
    cli("list").refused("EVERYFRAME_CONCURRENCY")


@pytest.mark.parametrize(
    "given", ["new/nested/home", "~/new/home", "{}/new/home"], ids=["relative", "tilde", "absolute"]
)
def test_home_that_does_not_exist_is_created(cli, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "user"))
    monkeypatch.setenv("EVERYFRAME_HOME", given.format(tmp_path))
    home = Path(given.format(tmp_path)).expanduser().absolute()
    assert cli("settings", "set", "language", "German").code == 0
    assert (home / "settings.toml").exists()
    assert f"The library in {home} is empty." in cli("list").out
    assert (home / "library.db").exists()


def test_home_without_a_value_is_the_default(monkeypatch):
    for given in ("", " "):
        monkeypatch.setenv("EVERYFRAME_HOME", given)
        assert load_settings().home == data_folder() == platformdirs.user_data_path("everyframe")


def test_uncreatable_home_is_one_line(cli, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "unplugged")
    for given, reason in (
        (tmp_path / "file" / "home", f"{tmp_path / 'file'} is a file"),
        (tmp_path / "file", f"{tmp_path / 'file'} is a file"),
        (tmp_path / "link", f"{tmp_path / 'link'} is a link to {tmp_path / 'unplugged'}, which does not exist"),
        (tmp_path / "link" / "home", "which does not exist"),
    ):
        monkeypatch.setenv("EVERYFRAME_HOME", str(given))
        cli("list").refused(f"{given} cannot be created", reason, "set EVERYFRAME_HOME to another folder")
    assert not (tmp_path / "unplugged").exists()
    monkeypatch.setenv("EVERYFRAME_HOME", "~nobody-of-this-name/home")
    cli("list").refused("EVERYFRAME_HOME", "enter the whole path")


@pytest.mark.usefixtures("file_permissions")
def test_home_below_a_read_only_folder_is_one_line(cli, tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path / "locked" / "home"))
    cli("list").refused("cannot be created (Permission denied)", "set EVERYFRAME_HOME to another folder")
    cli("settings", "set", "language", "German").refused("cannot write the settings file", "Permission denied")


def test_worker_refuses_a_newer_library(library):
    change(library, "UPDATE alembic_version SET version_num = '9999'")
    run_process("worker").refused("was made by a newer EveryFrame", "`pip install --upgrade everyframe`")
