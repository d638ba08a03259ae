"""The Search page: the search box and its filters, highlighted results, the player, and messages without results."""

import re
import shutil

import pytest

from db.search import MARK_END, MARK_START, Hit, Moment
from pages.parts.search import results
from pages.parts.search.query import SearchQuery
from pages.parts.search.results import highlighted, range_text
from tests.cli.terminal import change
from tests.dashboard.conftest import STATES, said

HOSTILE = "<img src=x onerror=alert(1)> [x](http://evil.example) ![y](http://evil.example/y.png) $a^2$ :red[z] **w**"


def labels(app) -> list[str]:
    return [button.label for button in app.button]


def field(app, label: str):
    [found] = [one for one in [*app.text_input, *app.selectbox] if one.label == label]
    return found


def hit(frame_id: int, timestamp: float, snippet: str = "") -> Hit:
    return Hit(frame_id, 1, "party", "/party.mp4", frame_id, timestamp, 1, "", "deep", snippet, -1.0)


@pytest.mark.parametrize("state", STATES)
def test_every_library_state_can_be_searched(launch, request, state):
    request.getfixturevalue(state)
    for query in ({}, {"q": "squares"}, {"q": "zebra", "tag": "none", "video": "99", "from": "x", "to": "1:00"}):
        app = launch("search", **query)
        assert not app.exception
        assert app.title[0].value == "Search"


def test_empty_library_says_where_to_add_videos(launch, empty):
    assert "The library is empty" in said(launch("search", q="cake"))


def test_words_are_bold_and_adjacent_frames_merge(launch, finished):
    app = launch("search", q="squares")
    assert "2 moments" in said(app)
    assert "**squares**" in said(app)
    assert "12 frames" in said(app)
    assert "8 frames" in said(app)
    assert any("party" in label for label in labels(app))


def test_search_box_and_url_stay_in_sync(launch, finished):
    app = launch("search", q="squares", video="2", to="0:05")
    assert field(app, "Search").value == "squares"
    assert field(app, "Video").value == 2
    assert field(app, "To").value == "0:05"
    assert "1 moment" in said(app)
    app = field(app, "Search").set_value("number 103").run()
    assert app.query_params == {"q": "number 103", "video": "2", "to": "0:05"}
    assert "1 moment" in said(app)


def test_video_tag_and_time_filter_the_search(launch, finished):
    [tag] = [tag for tag in ("number 3",) if tag in field(launch("search", video="1"), "Tag").options]
    assert "1 moment" in said(launch("search", tag=tag))
    assert "No results" in said(launch("search", tag=tag, q="squares", video="2"))
    assert "No results" in said(launch("search", q="squares", **{"from": "10:00"}))


def test_invalid_time_shows_a_warning(launch, finished):
    app = launch("search", q="squares")
    app = field(app, "To").set_value("noon").run()
    assert "“To” is not a valid time" in said(app)


def test_no_results_offers_to_clear_the_filters(launch, finished):
    app = launch("search", q="103", video="1")
    assert "No results for “103” with these filters" in said(app)
    [button] = [button for button in app.button if button.label == "Clear filters"]
    app = button.click().run()
    assert app.query_params == {"q": "103"}
    assert "1 moment" in said(app)


def test_partial_matches_are_shown_if_no_frame_has_all_words(launch, finished):
    assert "No frame matches all of these words" in said(launch("search", q="squares zebra"))


def test_click_plays_the_moment_over_the_results(launch, finished):
    app = launch("search", q="103")
    [play] = [button for button in app.button if button.key and button.key.startswith("play-")]
    app = play.click().run()
    assert not app.exception
    assert "Frame number 103" in said(app)
    assert app.query_params == {"q": "103"}


def test_moment_of_a_deleted_frame_is_not_played(launch, finished):
    app = launch("search", q="103")
    [play] = [button for button in app.button if button.key and button.key.startswith("play-")]
    change(finished, "DELETE FROM frames WHERE id = ?", int(play.key.removeprefix("play-")))
    app = play.click().run()
    assert not app.exception
    assert "No results" in said(app)


def test_progress_is_shown_while_a_worker_runs(launch, working):
    app = launch("search", q="squares")
    assert "4 of 5 frames described so far" in said(app)
    assert "Refresh results" in labels(app)
    assert "Frames are still being described" in said(launch("search", q="zebra"))


def test_new_results_are_counted_while_a_worker_runs(launch, working, monkeypatch):
    change(working, "UPDATE search_documents SET text = 'nothing', tags = '' WHERE frame_id = 1")
    app = launch("search", q="squares")
    real, calls = results.find, []

    def find(wanted):  # the page searches before the live counts do
        calls.append(wanted)
        if len(calls) == 1:
            found = real(wanted)
            change(working, "UPDATE search_documents SET text = 'squares' WHERE frame_id = 1")
            return found
        return real(wanted)

    monkeypatch.setattr(results, "find", find)
    monkeypatch.setattr("pages.parts.search.results.find", find)
    app.run()
    assert "1 new result" in said(app)


def test_titles_and_descriptions_are_never_markdown(launch, home, described):
    shutil.copytree(described, home)
    change(home, "UPDATE videos SET title = ?", HOSTILE)
    change(home, "UPDATE search_documents SET text = ? WHERE frame_id = 1", f"zebra {HOSTILE}")
    app = launch("search", q="zebra")
    [snippet] = [element.value for element in app.caption if "**zebra**" in element.value]
    for text in (snippet.replace("**zebra**", ""), *(label for label in labels(app) if "img" in label)):
        assert "img src" in text
        assert not re.search(r"(?<!\\)[<\[!$:*]", text.replace("0:", "", 1)), text


def test_highlighting_escapes_everything_but_the_matches():
    snippet = f"…a *{MARK_START}white{MARK_END}* {MARK_START}dress{MARK_END}, un{MARK_START}seen{MARK_END} $x$"
    assert highlighted(snippet) == r"…a \***white**\* **dress**\, un**seen** \$x\$"


def test_moment_of_several_frames_shows_its_range():
    assert range_text(Moment([hit(1, 3.2)], hit(1, 3.2), 3.2, 3.2)) == ""
    assert range_text(Moment([hit(1, 3.2), hit(2, 65.9)], hit(1, 3.2), 3.2, 65.9)) == "0:03 to 1:05, 2 frames"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"q": "  a   b "}, SearchQuery("a b")),
        ({"video": "x", "from": "1:02:03", "to": "90"}, SearchQuery(start=3723.0, end=90.0)),
        ({"moments": "99999999999999999999"}, SearchQuery()),
        ({"moments": "3"}, SearchQuery()),
    ],
)
def test_invalid_url_parameters_are_ignored(query, wanted):
    assert SearchQuery.from_query(query) == wanted
    assert SearchQuery.from_query(wanted.to_query()) == wanted
