"""Setup on every library: what doctor finds, and settings that are saved, refused, fixed, or secret."""

import shutil

import pytest

from enrich.errors import SettingsError
from enrich.settings import load_settings, settings_file
from enrich.settings_file import preferences
from pages.parts.setup.preferences import GROUPS, grouped
from tests.dashboard.conftest import STATES, said

SECRET = "correct horse battery"  # noqa: S105  # of nothing


def field(app, label: str):
    [found] = [one for one in [*app.text_input, *app.selectbox, *app.toggle, *app.checkbox] if one.label == label]
    return found


def save(app, group: str):
    place = [one.title for one in GROUPS].index(group)
    return [button for button in app.button if button.label == "Save"][place].click().run()


@pytest.fixture
def opened(launch_answered):
    """The Setup page, once the doctor has looked."""
    return lambda: launch_answered("setup", "doctor")


@pytest.mark.parametrize("state", STATES)
def test_what_is_missing_comes_with_the_command_that_mends_it(opened, request, state):
    request.getfixturevalue(state)
    app = opened()
    assert not app.exception
    assert "Ollama does not answer" in said(app)
    assert "**library**" in said(app)
    assert "Looked at" in said(app)


def test_a_remedy_can_be_copied(opened, finished, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DISK_RESERVE_MB", "999999999")
    app = opened()
    assert "free up disk space, or lower EVERYFRAME_DISK_RESERVE_MB" in [code.value for code in app.code]


def test_a_setting_is_saved_and_its_default_comes_back(opened, finished):
    app = opened()
    field(app, "Language of the descriptions").set_value("Deutsch")
    field(app, "Allow models that run in a cloud").set_value(True)
    app = save(app, "Descriptions")
    assert not app.exception
    assert "Saved: Language of the descriptions\\, Allow models" in said(app)
    assert load_settings().language == "Deutsch"
    assert load_settings().allow_cloud
    assert field(app, "Language of the descriptions").value == "Deutsch"
    assert "The default is English" in said(app)
    field(app, "Language of the descriptions").set_value("")
    app = save(app, "Descriptions")
    assert load_settings().language == "English"
    assert "language" not in settings_file().read_text()
    assert field(app, "Language of the descriptions").value == "English"


def test_what_is_not_good_is_said_and_not_saved(opened, finished):
    app = opened()
    field(app, "Working hours").set_value("noon")
    field(app, "Keep the computer awake while there is work").set_value("never")
    app = save(app, "When it works")
    assert not app.exception
    assert "Working hours was not saved" in said(app)
    assert load_settings().hours == ""
    assert load_settings().keep_awake == "never"


def test_nothing_is_written_where_nothing_was_changed(opened, finished):
    app = opened()
    for group in GROUPS:
        app = save(app, group.title)
        assert not app.exception
    assert not settings_file().exists()


def test_what_the_environment_fixes_is_shown_and_cannot_be_changed(opened, finished, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_LANGUAGE", "Italiano")
    app = opened()
    assert field(app, "Language of the descriptions").value == "Italiano"
    assert field(app, "Language of the descriptions").disabled
    assert r"Fixed by EVERYFRAME\_LANGUAGE in the environment" in said(app)
    assert field(app, "Data folder").disabled


def test_no_secret_is_shown_and_one_can_be_set_and_taken_away(opened, finished):
    app = opened()
    field(app, "Password of this dashboard").set_value(SECRET)
    app = save(app, "Where it is kept, and who may look")
    assert not app.exception
    assert load_settings().dashboard_password.get_secret_value() == SECRET
    shown = [*(one.value for one in app.text_input), *(one.placeholder for one in app.text_input), said(app)]
    assert not any(SECRET in str(text) for text in shown)
    assert "One is set. Type another to replace it." in shown
    field(app, "Take it away").set_value(True)
    save(app, "Where it is kept, and who may look")
    assert not load_settings().dashboard_password.get_secret_value()


def test_the_password_of_a_database_is_not_shown(home, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DATABASE_URL", f"postgresql://me:{SECRET.replace(' ', '')}@host/library")
    [one] = [one for one in preferences(load_settings()) if one.name == "database_url"]
    assert one.is_secret
    assert SECRET.replace(" ", "") not in str(one.value)


def test_every_setting_has_its_place_and_its_words(home):
    found = preferences(load_settings())
    groups = grouped(found)
    assert sorted(one.name for _, ones in groups for one in ones) == sorted(one.name for one in found)
    assert [group.title for group, _ in groups] == [group.title for group in GROUPS], "a setting without a label"


def test_a_settings_file_that_cannot_be_read_is_said_without_a_traceback(launch, home, described):
    shutil.copytree(described, home)
    settings_file().write_text("model = [")
    with pytest.raises(SettingsError):
        load_settings()
    app = launch("setup")
    assert not app.exception
    assert "cannot read the settings file" in said(app)
