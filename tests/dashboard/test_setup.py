"""The Setup page: the system check, and settings that are saved, rejected, fixed or secret."""

import shutil

import pytest

from enrich.errors import SettingsError
from enrich.settings import load_settings, settings_file
from enrich.settings_file import is_password, preferences
from pages.parts.setup import GROUPS, grouped
from tests.dashboard.conftest import STATES, said

SECRET = "correct horse battery"  # noqa: S105  # protects nothing


def field(app, label: str):
    [found] = [one for one in [*app.text_input, *app.selectbox, *app.toggle, *app.checkbox] if one.label == label]
    return found


def save(app, group: str):
    place = [one.title for one in GROUPS].index(group)
    return [button for button in app.button if button.label == "Save"][place].click().run()


@pytest.fixture
def opened(launch_answered):
    """The Setup page, once the system check has finished."""
    return lambda: launch_answered("setup", "doctor")


@pytest.mark.parametrize("state", STATES)
def test_system_check_shows_problems_and_fixes(opened, request, state):
    request.getfixturevalue(state)
    app = opened()
    assert not app.exception
    assert "is not responding" in said(app)
    assert "**library**" in said(app)
    assert "Checked" in said(app)


def test_fix_can_be_copied(opened, finished, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DISK_RESERVE_MB", "999999999")
    app = opened()
    assert "free up disk space, or lower EVERYFRAME_DISK_RESERVE_MB" in [code.value for code in app.code]


def test_setting_is_saved_and_reset_to_default(opened, finished):
    app = opened()
    field(app, "Language of descriptions").set_value("Deutsch")
    field(app, "Allow cloud models").set_value(True)
    app = save(app, "Descriptions")
    assert not app.exception
    assert "Saved: Language of descriptions\\, Allow cloud models" in said(app)
    assert load_settings().language == "Deutsch"
    assert load_settings().allow_cloud
    assert field(app, "Language of descriptions").value == "Deutsch"
    assert "Default: English" in said(app)
    field(app, "Language of descriptions").set_value("")
    app = save(app, "Descriptions")
    assert load_settings().language == "English"
    assert "language" not in settings_file().read_text()
    assert field(app, "Language of descriptions").value == "English"


def test_invalid_setting_is_reported_and_not_saved(opened, finished):
    app = opened()
    field(app, "Working hours").set_value("noon")
    field(app, "Keep the computer awake while working").set_value("never")
    app = save(app, "Schedule")
    assert not app.exception
    assert "Working hours was not saved" in said(app)
    assert load_settings().hours == ""
    assert load_settings().keep_awake == "never"


def test_unchanged_settings_write_no_file(opened, finished):
    app = opened()
    for group in GROUPS:
        app = save(app, group.title)
        assert not app.exception
    assert not settings_file().exists()


def test_setting_from_environment_is_read_only(opened, finished, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_LANGUAGE", "Italiano")
    app = opened()
    assert field(app, "Language of descriptions").value == "Italiano"
    assert field(app, "Language of descriptions").disabled
    assert r"Set by the environment variable EVERYFRAME\_LANGUAGE" in said(app)
    assert field(app, "Data folder").disabled


def test_password_is_set_hidden_and_removed(opened, finished):
    app = opened()
    field(app, "Dashboard password").set_value(SECRET)
    app = save(app, "Storage and access")
    assert not app.exception
    assert is_password(SECRET, load_settings().dashboard_password.get_secret_value())
    shown = [*(one.value for one in app.text_input), *(one.placeholder for one in app.text_input), said(app)]
    assert not any(SECRET in str(text) for text in shown)
    assert "Set. Type a new one to replace it." in shown
    field(app, "Remove password").set_value(True)
    save(app, "Storage and access")
    assert not load_settings().dashboard_password.get_secret_value()


def test_database_password_is_hidden(home, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DATABASE_URL", f"postgresql://me:{SECRET.replace(' ', '')}@host/library")
    [one] = [one for one in preferences(load_settings()) if one.name == "database_url"]
    assert one.is_secret
    assert SECRET.replace(" ", "") not in str(one.value)


def test_every_setting_has_a_group_and_a_label(home):
    found = preferences(load_settings())
    groups = grouped(found)
    assert sorted(one.name for _, ones in groups for one in ones) == sorted(one.name for one in found)
    assert [group.title for group, _ in groups] == [group.title for group in GROUPS], "a setting without a label"


def test_unreadable_settings_file_is_reported(launch, home, described):
    shutil.copytree(described, home)
    settings_file().write_text("model = [")
    with pytest.raises(SettingsError):
        load_settings()
    app = launch("setup")
    assert not app.exception
    assert "cannot read the settings file" in said(app)
