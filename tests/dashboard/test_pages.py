"""Every page on every kind of library: it is launched by the app, raises nothing, and says what is to be said."""

import pytest

from tests.dashboard.conftest import PAGES, STATES, said


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest) -> str:
    """A library in one of the states lies where the app looks."""
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
def test_every_page_says_why_a_library_cannot_be_opened_and_what_to_do(launch, request, page, library, words):
    request.getfixturevalue(library)
    app = launch(page)
    assert not app.exception
    assert "The library cannot be opened." in said(app)
    assert words in said(app)
    assert not app.metric
    assert not app.button


def test_a_database_without_anything_in_it_names_the_command(launch, home):
    home.mkdir()
    (home / "library.db").touch()
    app = launch()
    assert not app.exception
    assert "everyframe migrate" in said(app)


def test_without_a_library_an_empty_one_is_begun(launch, home):
    app = launch()
    assert not app.exception
    assert not app.error
    assert (home / "library.db").exists()


def test_a_wrong_setting_is_named(launch, home, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_CONCURRENCY", "x")
    app = launch()
    assert not app.exception
    assert "EVERYFRAME_CONCURRENCY" in said(app)
