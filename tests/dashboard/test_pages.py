"""Every page on every kind of library: launched through the app, it raises nothing and reports problems."""

import pytest

from db.errors import DatabaseFailedError
from tests.dashboard.conftest import PAGES, PROJECT, STATES, said


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest) -> str:
    """Puts a library in one of the states where the app opens it."""
    request.getfixturevalue(request.param)
    return str(request.param)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_drawn_on_every_library(launch, state, page):
    app = launch(page)
    assert not app.exception
    assert app.title[0].value


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("library", "words"),
    [
        ("too_old", "everyframe migrate"),
        ("newer", "pip install --upgrade everyframe"),
        ("damaged", "cannot be read as a database"),
    ],
)
def test_every_page_explains_a_library_it_cannot_open(launch, request, page, library, words):
    request.getfixturevalue(library)
    app = launch(page)
    assert not app.exception
    assert "The library cannot be used." in said(app)
    assert words in said(app)
    assert not app.metric
    assert not app.button


@pytest.mark.parametrize(
    ("page", "module", "name"),
    [
        ("overview", "pages.parts.overview.state", "read_overview"),
        ("overview", "pages.parts.overview.figures", "latest"),
        ("library", "pages.parts.library.cards", "_card"),
    ],
)
def test_fragment_reports_a_library_that_fails_while_it_is_drawn(launch, finished, monkeypatch, page, module, name):
    def fail(*_: object, **__: object) -> None:
        raise DatabaseFailedError("library.db cannot be read as a database: restore a backup")

    monkeypatch.setattr(f"{module}.{name}", fail)
    app = launch(page)
    assert not app.exception
    assert "restore a backup" in said(app)


def test_every_fragment_reports_storage_errors():
    users = [path.name for path in (PROJECT / "pages").rglob("*.py") if "st.fragment(" in path.read_text("utf-8")]
    assert users == ["session.py"]


def test_empty_database_file_names_the_migrate_command(launch, home):
    home.mkdir()
    (home / "library.db").touch()
    app = launch()
    assert not app.exception
    assert "everyframe migrate" in said(app)


def test_missing_library_is_created(launch, home):
    app = launch()
    assert not app.exception
    assert not app.error
    assert (home / "library.db").exists()


def test_invalid_setting_is_named(launch, home, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_CONCURRENCY", "x")
    app = launch()
    assert not app.exception
    assert "EVERYFRAME_CONCURRENCY" in said(app)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_drawn_on_a_read_only_library(launch, finished, file_permissions, page):
    (finished / "library.db").chmod(0o444)
    finished.chmod(0o555)
    try:
        app = launch(page)
    finally:
        finished.chmod(0o755)
    assert not app.exception
    assert not [error.value for error in app.error if "cannot be used" in error.value]
    assert app.title[0].value
