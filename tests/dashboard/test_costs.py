"""Costs on every library, the offer of a quick look, and what is sent when somebody agrees or does not."""

import csv
import io
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from sqlalchemy import insert, select, update

from db.engine import make_engine, writing
from db.models import Analysis, Frame
from enrich.jobs import jobs
from enrich.jobs.command import CommandResult
from enrich.settings import load_settings
from pages.parts.costs import quick_look
from pages.parts.costs.figures import as_csv
from tests.dashboard.conftest import STATES, metrics, said

OFFER = {
    "pictures": 50,
    "describer": "claude",
    "model": "claude-haiku-5-5",
    "recipient": "Anthropic (Claude)",
    "usd": 0.0101,
    "most_usd": 0.0164,
    "spent_usd": 0.25,
    "budget_usd": 5.0,
    "problem": None,
    "videos": [{"answered": 0, "unanswered": 0, "on_the_way": 0}],
}
KNOWN = {"answered": 48, "unanswered": 2, "on_the_way": 0}
ON_THE_WAY = {"answered": 0, "unanswered": 0, "on_the_way": 50}


def look_quickly(home, video_id, *, frames=4, usd=0.0002):
    """A quick look by Claude at a film's first frames, as it is booked."""
    engine = make_engine(f"sqlite:///{home / 'library.db'}")
    call = {"describer": "claude", "model": "claude-haiku-5-5", "model_digest": "", "host": "", "prompt_version": "1"}
    call |= {"latency_seconds": 1.0, "load_seconds": 0.0, "prompt_tokens": 1300, "output_tokens": 150}
    call |= {"cost_usd": usd, "raw_reply": "", "warnings": [], "is_kept": True, "pass": "quick"}
    with writing(engine) as connection:
        ids = connection.scalars(select(Frame.id).where(Frame.video_id == video_id).limit(frames)).all()
        connection.execute(update(Frame).where(Frame.id.in_(ids)).values(excitement=5.0, is_keyframe=True))
        rows = [{**call, "frame_id": frame_id, "created_at": datetime.now(UTC)} for frame_id in ids]
        connection.execute(insert(Analysis), rows)
    engine.dispose()


@pytest.fixture
def offers(monkeypatch):
    """Answers of `everyframe quick --estimate`, and what was asked; nobody is asked in truth."""
    steps = [{"step": "looking", "text": "Looking at party …"}, {"step": "planned", "pictures": 50, "usd": 0.01}]
    asked = SimpleNamespace(answer=CommandResult(0, [*steps, OFFER], ""), words=[], jobs=[])

    def run(settings, *words, seconds):
        asked.words.append(words)
        return asked.answer

    monkeypatch.setattr(quick_look, "run_command", run)
    monkeypatch.setattr(quick_look.jobs, "start_job", lambda _, *words: asked.jobs.append(words))
    return asked


def button(app, label):
    [found] = [one for one in app.button if one.label == label]
    return found


@pytest.mark.parametrize("state", STATES)
def test_costs_of_every_library(launch, request, state):
    request.getfixturevalue(state)
    app = launch("costs")
    assert not app.exception
    assert metrics(app)["Quick pass"] == r"\$0\.00"


def test_an_empty_library_has_cost_nothing(launch, empty):
    app = launch("costs")
    assert "nothing has cost anything" in said(app)
    assert not app.multiselect


def test_both_passes_stand_side_by_side_with_this_librarys_numbers(launch, finished):
    look_quickly(finished, 1)
    app = launch("costs")
    assert not app.exception
    assert r"4 frames @ \$0.0008, 20 frames @ \$0.00, 5x more analysis for the same price" in said(app)
    assert metrics(app)["Quick pass"] == r"\$0\.0008"
    [table] = app.dataframe
    rows = table.value.set_index("film")
    assert list(rows.index) == ["party", "speech", "All videos"]
    assert list(rows["quick_frames"]) == [4, 0, 4]
    assert list(rows["quick_tokens"]) == [5800, 0, 5800]
    assert list(rows["deep_frames"]) == [12, 8, 20]
    assert rows.loc["All videos", "claude-haiku-5-5_usd"] > 0


def test_a_frame_has_both_passes_side_by_side_with_its_event_and_excitement(launch, finished):
    look_quickly(finished, 1)
    with closing(sqlite3.connect(finished / "library.db")) as connection, connection:
        connection.execute(
            "UPDATE frames SET quick_description = 'They dance.', event_type = 'first dance', excitement = 7.5 "
            "WHERE id = 1"
        )
    app = launch("frames", video="1", frame="1")
    assert not app.exception
    text = said(app).replace("\\", "")
    assert "In depth" in text
    assert "They dance." in text
    assert "First dance, excitement 7.5 of 10" in text
    assert "The line is excitement, from 0 to 10" in text
    assert "The line is excitement" not in said(launch("frames", video="2")), "nobody has rated that film"


def test_electricity_is_counted_if_its_price_is_known(launch, finished, monkeypatch):
    app = launch("costs")
    assert "Electricity is not counted" in said(app)
    monkeypatch.setenv("EVERYFRAME_POWER_WATTS", "360000000")
    monkeypatch.setenv("EVERYFRAME_KWH_PRICE", "0.5")
    app = launch("costs")
    assert "Electricity of the deep pass" in said(app)
    assert list(app.dataframe[0].value["deep_electricity"])[-1] > 0


def test_prices_that_cannot_be_read_are_said(launch, finished):
    (finished / "prices.toml").write_text("models = 3", encoding="utf-8")
    app = launch("costs")
    assert not app.exception
    assert "The prices cannot be read" in said(app)


def test_the_question_says_what_is_sent_to_whom_and_for_how_much(launch, finished, offers):
    app = button(launch("costs"), "See what it costs").click().run()
    assert not app.exception
    text = said(app)
    assert r"50 pictures are sent to Anthropic \(Claude\)\, to be looked at by claude\-haiku\-5\-5" in text
    assert r"about \$0\.010\, and \$0\.016 at the most" in text
    assert r"\$0\.250 of \$5\.00 is spent" in text
    assert offers.words == [("quick", "1", "--estimate")]
    assert offers.jobs == []


def test_refusing_sends_nothing(launch, finished, offers):
    app = button(launch("costs"), "See what it costs").click().run()
    app = button(app, "Send nothing").click().run()
    assert not app.exception
    assert offers.jobs == []
    assert "are sent to" not in said(app.run())


def test_agreeing_starts_the_look_with_what_was_agreed_to(launch, finished, offers):
    app = button(launch("costs"), "See what it costs").click().run()
    app = button(app, "Send 50 pictures").click().run()
    assert not app.exception
    [words] = offers.jobs
    assert words[:3] == ("quick", "quick", "1")
    assert words[3:] == ("--describer", "claude", "--model", "claude-haiku-5-5", "--yes", "--most-usd", "0.016500")


def test_a_batch_is_offered_by_its_own_sum(launch, finished, offers):
    app = launch("costs")
    app.session_state["quick-batch"] = True  # checked: the app as a whole is run here, and the dialog would be gone
    app = button(app, "See what it costs").click().run()
    assert offers.words[-1] == ("quick", "1", "--estimate", "--batch")
    app = button(app, "Send 50 pictures").click().run()
    assert offers.jobs[0][-1] == "--batch"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem": "it does not fit into this month's budget"}, "does not fit into this month"),
        ({"pictures": 0, "videos": [KNOWN]}, "All 50 key frames were looked at already"),
        ({"pictures": 0, "videos": [ON_THE_WAY]}, "50 key frames on the way in a batch"),
    ],
)
def test_what_cannot_be_taken_cannot_be_agreed_to(launch, finished, offers, changes, words):
    offers.answer = CommandResult(1, OFFER | changes, "")
    app = button(launch("costs"), "See what it costs").click().run()
    assert words in said(app).replace("\\", "")
    assert not [one for one in app.button if one.label.startswith("Send")]


def test_a_look_that_cannot_be_reckoned_says_why(launch, finished, offers):
    offers.answer = CommandResult(1, None, "there is no key for Claude")
    app = button(launch("costs"), "See what it costs").click().run()
    assert "there is no key for Claude" in said(app)
    assert button(app, "Close")


def test_a_look_on_this_machine_sends_nothing_and_says_so(launch, finished, offers):
    offers.answer = CommandResult(0, OFFER | {"recipient": "", "describer": "ollama", "model": "moondream"}, "")
    app = button(launch("costs"), "See what it costs").click().run()
    assert "Nothing leaves it" in said(app)
    app = button(app, "Look at them").click().run()
    assert "--most-usd" not in offers.jobs[0]


def test_a_film_has_the_button_too(launch, finished, offers):
    app = launch("library", video="2")
    app = button(app, "Take a quick look").click().run()
    assert not app.exception
    assert offers.words == [("quick", "2", "--estimate")]
    assert "speech" in said(app)


def test_how_a_look_went_is_told_in_every_tab(launch, finished, monkeypatch):
    lines = [{"step": "asking", "done": 4, "pictures": 12}, {"step": "done", "answered": 12, "usd": 0.0024}]
    job = jobs.Job("1", "quick", ("quick", "1"), datetime.now(UTC), False, lines, 0, "")
    monkeypatch.setattr(jobs, "jobs", lambda _, kind=None: [job] if kind == "quick" else [])
    assert r"is done for \$0\.0024" in said(launch("costs"))
    assert "is done" in said(launch("library", video="1"))
    assert "is done" not in said(launch("library", video="2"))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "Choosing the key frames"),
        ([{"step": "asking", "done": 4, "pictures": 12, "text": "4 of 12 pictures"}], "4 of 12 pictures"),
        ([{"step": "sent", "text": "12 pictures of [a](b) sent as a batch."}], "Sent as a batch"),
        ([{"step": "waiting", "text": "Claude is [busy](x)."}], r"\[busy\]"),
    ],
)
def test_how_a_look_goes_is_said(launch, finished, monkeypatch, lines, words):
    job = jobs.Job("1", "quick", ("quick", "1"), datetime.now(UTC), True, lines, None, "")
    monkeypatch.setattr(jobs, "jobs", lambda _, kind=None: [job] if kind == "quick" else [])
    app = launch("costs")
    assert not app.exception
    assert any(words in one.proto.text for one in app.get("progress"))
    assert button(app, "Stop the quick look")


def test_a_look_that_failed_says_why_and_what_came(launch, finished, monkeypatch):
    lines = [{"step": "done", "answered": 10, "usd": 0.0024, "error": "no credit"}]
    job = jobs.Job("1", "quick", ("quick", "1"), datetime.now(UTC), False, lines, 1, "your account has no credit")
    monkeypatch.setattr(jobs, "jobs", lambda _, kind=None: [job] if kind == "quick" else [])
    text = said(launch("costs"))
    assert r"10 pictures answered for \$0\.0024" in text
    assert "your account has no credit" in text


def test_a_title_is_no_formula_in_the_downloaded_table():
    listed = [{"video_id": "1", "film": '=1+1 "x", \x1b[31m'}]
    [row] = csv.DictReader(io.StringIO(as_csv(listed)))
    assert row["film"] == '\'=1+1 "x", \\x1b[31m'


def test_the_settings_of_the_quick_look_are_there(home):
    found = load_settings()
    assert (found.monthly_budget_usd, found.quick_describer) == (5, "claude")
