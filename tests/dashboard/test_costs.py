"""The Costs page on every library, and quick scans: quote, consent, and progress."""

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
from pages.parts.costs import quick_pass
from pages.parts.costs.figures import to_csv
from tests.dashboard.conftest import STATES, metrics, said

ESTIMATE = {
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
IN_BATCH = {"answered": 0, "unanswered": 0, "on_the_way": 50}


def record_quick_pass(home, video_id, *, frames=4, usd=0.0002):
    """Record a quick pass by Claude over a video's first frames."""
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
def quotes(monkeypatch):
    """A fake `quick --estimate`: its answer, the commands it got, and the jobs that were started."""
    steps = [{"step": "looking", "text": "Looking at party …"}, {"step": "planned", "pictures": 50, "usd": 0.01}]
    asked = SimpleNamespace(answer=CommandResult(0, [*steps, ESTIMATE], ""), words=[], jobs=[], answers={})

    def run(settings, *words, seconds):
        asked.words.append(words)
        return asked.answers.get(words[-1], asked.answer)

    monkeypatch.setattr(quick_pass, "run_command", run)
    monkeypatch.setattr(quick_pass.jobs, "start_job", lambda _, *words: asked.jobs.append(words))
    return asked


def button(app, label):
    [found] = [one for one in app.button if one.label == label]
    return found


@pytest.mark.parametrize("state", STATES)
def test_every_library_state_has_a_costs_page(launch, request, state):
    request.getfixturevalue(state)
    app = launch("costs")
    assert not app.exception
    assert metrics(app)["Quick scan"] == r"\$0\.00"


def test_empty_library_has_no_costs(launch, empty):
    app = launch("costs")
    assert "No costs yet" in said(app)
    assert not app.multiselect


def test_both_passes_are_compared_with_real_numbers(launch, finished):
    record_quick_pass(finished, 1)
    app = launch("costs")
    assert not app.exception
    assert r"4 frames @ \$0.0008, 20 frames @ \$0.00, 5x more analysis for the same price" in said(app)
    assert metrics(app)["Quick scan"] == r"\$0\.0008"
    [table] = app.dataframe
    rows = table.value.set_index("film")
    assert list(rows.index) == ["party", "speech", "All videos"]
    assert list(rows["quick_frames"]) == [4, 0, 4]
    assert list(rows["quick_tokens"]) == [5800, 0, 5800]
    assert list(rows["deep_frames"]) == [12, 8, 20]
    assert rows.loc["All videos", "claude-haiku-5-5_usd"] > 0


def test_frame_page_shows_both_passes_and_the_rating(launch, finished):
    record_quick_pass(finished, 1)
    with closing(sqlite3.connect(finished / "library.db")) as connection, connection:
        connection.execute(
            "UPDATE frames SET quick_description = 'They dance.', event_type = 'first dance', excitement = 7.5 "
            "WHERE id = 1"
        )
    app = launch("frames", video="1", frame="1")
    assert not app.exception
    text = said(app).replace("\\", "")
    assert "**Description**" in text
    assert "They dance." in text
    assert "First dance, excitement 7.5 of 10" in text
    assert "Line: excitement from 0 to 10" in text
    assert "Line: excitement" not in said(launch("frames", video="2")), "that video has no ratings"


def test_electricity_is_included_if_its_price_is_set(launch, finished, monkeypatch):
    app = launch("costs")
    assert "Electricity is not included" in said(app)
    monkeypatch.setenv("EVERYFRAME_POWER_WATTS", "360000000")
    monkeypatch.setenv("EVERYFRAME_KWH_PRICE", "0.5")
    app = launch("costs")
    assert "Electricity for descriptions" in said(app)
    assert list(app.dataframe[0].value["deep_electricity"])[-1] > 0


def test_invalid_price_list_shows_an_error(launch, finished):
    (finished / "prices.toml").write_text("models = 3", encoding="utf-8")
    app = launch("costs")
    assert not app.exception
    assert "The price list cannot be read" in said(app)


def test_dialog_shows_recipient_and_price(launch, finished, quotes):
    app = button(launch("costs"), "Estimate cost").click().run()
    assert not app.exception
    text = said(app)
    assert r"50 images are sent to Anthropic \(Claude\) and scanned by claude\-haiku\-5\-5" in text
    assert r"Estimated cost\: \$0\.010\, at most \$0\.016" in text
    assert r"Spent this month\: \$0\.250 of \$5\.00" in text
    assert quotes.words == [("quick", "1", "--estimate")]
    assert quotes.jobs == []


def test_cancelling_sends_nothing(launch, finished, quotes):
    app = button(launch("costs"), "Estimate cost").click().run()
    app = button(app, "Cancel").click().run()
    assert not app.exception
    assert quotes.jobs == []
    assert "are sent to" not in said(app.run())


def test_accepting_starts_the_scan_with_the_agreed_limit(launch, finished, quotes):
    app = button(launch("costs"), "Estimate cost").click().run()
    app = button(app, "Send 50 images").click().run()
    assert not app.exception
    [words] = quotes.jobs
    assert words[:3] == ("quick", "quick", "1")
    assert words[3:] == ("--describer", "claude", "--model", "claude-haiku-5-5", "--yes", "--most-usd", "0.016500")


def test_batch_has_its_own_quote(launch, finished, quotes):
    app = launch("costs")
    app.session_state["quick-batch"] = True  # AppTest would close the dialog on a click
    app = button(app, "Estimate cost").click().run()
    assert quotes.words[-1] == ("quick", "1", "--estimate", "--batch")
    app = button(app, "Send 50 images").click().run()
    assert quotes.jobs[0][-1] == "--batch"


def test_images_without_an_answer_are_sent_again_only_on_request(launch, finished, quotes):
    left = {"answered": 38, "unanswered": 0, "on_the_way": 0, "uncertain": 12, "uncertain_usd": 0.0071}
    quotes.answer = CommandResult(0, ESTIMATE | {"pictures": 0, "videos": [left]}, "")
    app = button(launch("costs"), "Estimate cost").click().run()
    assert "12 images may have been paid for without an answer arriving" in said(app)
    assert [(box.label.replace("\\", ""), box.value) for box in app.checkbox if "again" in box.label] == [
        ("Send 12 images again, for up to $0.0071", False)
    ]
    assert not [one for one in app.button if one.label.startswith("Send")]
    app = launch("costs")
    app.session_state["quick-unanswered"] = True  # AppTest would close the dialog on a click
    quotes.answers["--unanswered"] = CommandResult(0, ESTIMATE | {"pictures": 12}, "")
    app = button(app, "Estimate cost").click().run()
    app = button(app, "Send 12 images").click().run()
    assert quotes.jobs[0][-1] == "--unanswered"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem": "it does not fit into this month's budget"}, "does not fit into this month"),
        ({"pictures": 0, "videos": [KNOWN]}, "All 50 key frames have been scanned already"),
        ({"pictures": 0, "videos": [IN_BATCH]}, "50 key frames pending in a batch"),
    ],
)
def test_quote_with_a_problem_cannot_be_accepted(launch, finished, quotes, changes, words):
    quotes.answer = CommandResult(1, ESTIMATE | changes, "")
    app = button(launch("costs"), "Estimate cost").click().run()
    assert words in said(app).replace("\\", "")
    assert not [one for one in app.button if one.label.startswith("Send")]


def test_failed_quote_shows_its_error(launch, finished, quotes):
    quotes.answer = CommandResult(1, None, "there is no key for Claude")
    app = button(launch("costs"), "Estimate cost").click().run()
    assert "there is no key for Claude" in said(app)
    assert button(app, "Close")


def test_local_scan_is_free_and_sends_nothing(launch, finished, quotes):
    quotes.answer = CommandResult(0, ESTIMATE | {"recipient": "", "describer": "ollama", "model": "moondream"}, "")
    app = button(launch("costs"), "Estimate cost").click().run()
    assert "Nothing is sent anywhere" in said(app)
    app = button(app, "Start scan").click().run()
    assert "--most-usd" not in quotes.jobs[0]


def test_library_page_quotes_a_quick_scan(launch, finished, quotes):
    app = launch("library", video="2")
    app = button(app, "Quick scan").click().run()
    assert not app.exception
    assert quotes.words == [("quick", "2", "--estimate")]
    assert "speech" in said(app)


def test_finished_scan_is_shown_in_every_tab(launch, finished, monkeypatch):
    lines = [{"step": "asking", "done": 4, "pictures": 12}, {"step": "done", "answered": 12, "usd": 0.0024}]
    job = jobs.Job("1", "quick", ("quick", "1"), datetime.now(UTC), False, lines, 0, "")
    monkeypatch.setattr(jobs, "jobs", lambda _, kind=None: [job] if kind == "quick" else [])
    assert r"finished\. Cost\: \$0\.0024" in said(launch("costs"))
    assert "finished" in said(launch("library", video="1"))
    assert "finished" not in said(launch("library", video="2"))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "Selecting key frames"),
        ([{"step": "asking", "done": 4, "pictures": 12, "text": "4 of 12 pictures"}], "4 of 12 pictures"),
        ([{"step": "sent", "text": "12 pictures of [a](b) sent as a batch."}], "Batch sent"),
        ([{"step": "waiting", "text": "Claude is [busy](x)."}], r"\[busy\]"),
    ],
)
def test_running_scan_shows_its_step(launch, finished, monkeypatch, lines, words):
    job = jobs.Job("1", "quick", ("quick", "1"), datetime.now(UTC), True, lines, None, "")
    monkeypatch.setattr(jobs, "jobs", lambda _, kind=None: [job] if kind == "quick" else [])
    app = launch("costs")
    assert not app.exception
    assert any(words in one.proto.text for one in app.get("progress"))
    assert button(app, "Stop quick scan")


def test_failed_scan_shows_error_and_results(launch, finished, monkeypatch):
    lines = [{"step": "done", "answered": 10, "usd": 0.0024, "error": "no credit"}]
    job = jobs.Job("1", "quick", ("quick", "1"), datetime.now(UTC), False, lines, 1, "your account has no credit")
    monkeypatch.setattr(jobs, "jobs", lambda _, kind=None: [job] if kind == "quick" else [])
    text = said(launch("costs"))
    assert r"10 images scanned\. Cost\: \$0\.0024" in text
    assert "your account has no credit" in text


def test_csv_titles_are_never_formulas():
    listed = [{"video_id": "1", "film": '=1+1 "x", \x1b[31m'}]
    [row] = csv.DictReader(io.StringIO(to_csv(listed)))
    assert row["film"] == '\'=1+1 "x", \\x1b[31m'


def test_quick_scan_settings_have_defaults(home):
    found = load_settings()
    assert (found.monthly_budget_usd, found.quick_describer) == (5, "claude")
