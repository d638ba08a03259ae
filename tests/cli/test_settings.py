"""The command `settings`: values, their sources, and changes in the file."""

import io
import re
import stat
import tomllib
from pathlib import Path

import pytest

from enrich import settings as settings_module
from enrich.settings import Settings, load_settings
from enrich.settings_file import is_password

DOCS = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


@pytest.fixture
def file(home):
    home.mkdir()
    return home / "settings.toml"


def by_name(cli):
    return {row["name"]: row for row in cli("settings", "--json").json}


def written(file):
    return tomllib.loads(file.read_text(encoding="utf-8"))


def test_every_setting_is_listed_with_a_description(cli):
    rows = by_name(cli)
    assert list(rows) == list(Settings.model_fields)
    assert all(row["description"] for row in rows.values())
    assert (rows["model"]["value"], rows["model"]["default"], rows["model"]["source"]) == (
        "llava:13b", "llava:13b", "default",
    )  # fmt: skip
    said = cli("settings").out
    assert "vision model, by its name in Ollama" in said
    assert "settings.toml" in said


def test_every_setting_is_documented():
    documented = set(re.findall(r"`EVERYFRAME_([A-Z_]+)`", DOCS.read_text(encoding="utf-8")))
    assert {name.upper() for name in Settings.model_fields} <= documented


def test_each_setting_has_its_source(cli, file, monkeypatch):
    file.write_text('model = "llava:7b"\nlanguage = "German"\n', encoding="utf-8")
    monkeypatch.setenv("EVERYFRAME_LANGUAGE", "French")
    rows = by_name(cli)
    assert (rows["model"]["value"], rows["model"]["source"]) == ("llava:7b", "file")
    assert (rows["language"]["value"], rows["language"]["source"]) == ("French", "environment")
    assert (rows["ollama_hosts"]["source"], rows["ollama_hosts"]["variable"]) == ("environment", "OLLAMA_HOST")
    assert rows["hours"]["source"] == "default"


def test_each_setting_has_its_kind_and_choices(cli):
    rows = by_name(cli)
    kinds = {name: rows[name]["kind"] for name in ("model", "allow_cloud", "concurrency", "call_seconds", "num_ctx")}
    assert kinds == {
        "model": "text", "allow_cloud": "switch", "concurrency": "whole number", "call_seconds": "number",
        "num_ctx": "whole number",
    }  # fmt: skip
    assert (rows["ollama_hosts"]["kind"], rows["picture_edges"]["kind"]) == ("list", "table")
    assert rows["likeness"]["choices"] == ["strict", "normal", "loose"]
    assert rows["keep_awake"]["choices"] == ["mains", "always", "never"]


def test_change_keeps_comments_and_order(cli, file):
    before = '# mine\nmodel = "llava:7b"  # the small one\n\nnew = 1\n[ollama_options]  # of Ollama\nnum_thread = 4\n'
    file.write_text(before, encoding="utf-8")
    assert cli("settings", "set", "model", "llava:34b").out == "model is llava:34b (file).\n"
    assert file.read_text(encoding="utf-8") == before.replace("llava:7b", "llava:34b")
    assert cli("settings", "set", "EVERYFRAME_CONCURRENCY", "3").code == 0
    assert cli("settings", "set", "ollama_options", '{"num_thread": 2}').code == 0
    assert written(file) == {"model": "llava:34b", "new": 1, "concurrency": 3, "ollama_options": {"num_thread": 2}}
    for line in ("# mine", "# the small one"):
        assert line in file.read_text(encoding="utf-8")
    assert load_settings().concurrency == 3


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ollama_hosts", "box, 10.0.0.2:1", ["http://box:11434", "http://10.0.0.2:1"]),
        ("allow_cloud", "yes", True),
        ("call_seconds", "90", 90.0),
        ("num_ctx", "4096", 4096),
        ("picture_edges", '{"llava": 336}', {"llava": 336}),
        ("hours", "22-7", "22:00-07:00"),
        ("keep-awake", "never", "never"),
        ("language", 'Kölsch "von hier"', 'Kölsch "von hier"'),
    ],
)
def test_values_are_written_as_toml_types(cli, file, name, text, value):
    assert cli("settings", "set", "--", name, text).code == 0
    assert written(file) == {name.replace("-", "_"): value}
    load_settings()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("concurrency", "many", "EVERYFRAME_CONCURRENCY: Input should be a valid integer"),
        ("concurrency", "1000", "less than or equal to 64"),
        ("likeness", "some", "use `strict`, `normal` or `loose`"),
        ("ollama_hosts", "http://", "is not a valid address"),
        ("picture_edges", "336", "valid dictionary"),
        ("picture_edges", "llava=336", "enter JSON"),
        ("hours", "late", "write working hours like 22:00-07:00"),
        ("dashboard_password", "short", "at least 8 characters"),
        ("colour", "red", "there is no setting named colour"),
        ("home", "/elsewhere", "set EVERYFRAME_HOME in the environment"),
    ],
)
def test_invalid_value_is_refused_and_not_written(cli, file, name, text, words):
    file.write_text('model = "llava:7b"\n', encoding="utf-8")
    cli("settings", "set", name, text).refused(words)
    assert file.read_text(encoding="utf-8") == 'model = "llava:7b"\n'
    assert list(file.parent.iterdir()) == [file]


def test_invalid_value_in_the_file_can_be_fixed(cli, file):
    file.write_text('concurrency = "x"\nstored_edge = 1\n', encoding="utf-8")
    cli("settings").refused("EVERYFRAME_CONCURRENCY")
    cli("settings", "set", "concurrency", "2")
    cli("settings", "unset", "stored_edge")
    assert cli("settings").code == 0
    assert written(file) == {"concurrency": 2}


def test_invalid_toml_file_is_left_alone(cli, file):
    file.write_text("model = llava\n", encoding="utf-8")
    cli("settings", "set", "model", "llava:7b").refused("cannot read the settings file", "settings.toml")
    assert file.read_text(encoding="utf-8") == "model = llava\n"


def test_unset_restores_the_default(cli, file):
    file.write_text('# top\nmodel = "x"\nlanguage = "German"\n', encoding="utf-8")
    assert cli("settings", "unset", "model").out == "model is llava:13b (default).\n"
    assert file.read_text(encoding="utf-8") == '# top\nlanguage = "German"\n'
    assert cli("settings", "unset", "model").code == 0
    assert cli("settings", "set", "num_ctx", "4096").code == 0
    assert cli("settings", "set", "num_ctx", "").out == "num_ctx is empty (default).\n"


def test_environment_override_is_reported(cli, file, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "llava:34b")
    said = cli("settings", "set", "model", "llava:7b", "--json")
    assert (said.code, said.json["value"], said.json["source"]) == (0, "llava:34b", "environment")
    assert said.err == "everyframe: EVERYFRAME_MODEL is set in the environment and overrides the settings file\n"
    assert written(file) == {"model": "llava:7b"}


def test_secrets_are_masked(cli, home, file, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    said = cli("settings", "set", "dashboard_password", "-")
    assert (said.code, said.out) == (0, "dashboard_password is *** (file).\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    stored = load_settings().dashboard_password.get_secret_value()
    assert (is_password("correct horse", stored), is_password("wrong horse", stored)) == (True, False)
    assert "correct horse" not in file.read_text(encoding="utf-8")
    cli("settings", "set", "dashboard_password", stored)
    assert load_settings().dashboard_password.get_secret_value() == stored  # a hash is kept as it is
    url = f"sqlite:///{home / 'library.db'}"
    monkeypatch.setenv("EVERYFRAME_DATABASE_URL", "postgresql://me:s3cret@box/films?sslpassword=s3cret2")
    everything = cli("settings").out + cli("settings", "--json").out
    for secret in ("correct horse", "s3cret"):
        assert secret not in everything
    rows = by_name(cli)
    assert (rows["database_url"]["is_secret"], rows["dashboard_password"]["value"]) == (True, "***")
    cli("settings", "set", "database_url", rows["database_url"]["value"]).refused("with the real password")
    monkeypatch.setenv("EVERYFRAME_DATABASE_URL", url)
    assert (by_name(cli)["database_url"]["is_secret"], by_name(cli)["database_url"]["value"]) == (False, url)
    assert "correct horse" not in repr(load_settings())


def test_symlinked_settings_file_stays_a_link(cli, file, tmp_path):
    real = tmp_path / "dotfiles.toml"
    real.write_text("", encoding="utf-8")
    file.symlink_to(real)
    assert cli("settings", "set", "model", "llava:7b").code == 0
    assert file.is_symlink()
    assert written(real) == {"model": "llava:7b"}


def test_current_settings_are_cached_until_they_change(home, monkeypatch):
    home.mkdir()
    file = home / "settings.toml"
    assert settings_module.current_settings() is settings_module.current_settings()
    file.write_text('model = "bakllava"')
    assert settings_module.current_settings().model == "bakllava"
    file.write_text('model = "moondream:latest"')
    assert settings_module.current_settings().model == "moondream:latest"
    monkeypatch.setenv("EVERYFRAME_MODEL", "llava:7b")
    assert settings_module.current_settings().model == "llava:7b"
    monkeypatch.delenv("EVERYFRAME_MODEL")
    file.unlink()
    assert settings_module.current_settings().model == "llava:13b"
