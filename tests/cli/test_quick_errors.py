"""Errors of `quick`: Claude refuses, is busy, or is unreachable. One-line errors, nothing lost, deep pass unchanged."""

import json

import pytest

from db.errors import DatabaseLockedError
from enrich.quick import run as quick_run
from enrich.worker import database_thread
from tests.cli.terminal import COMMAND, ask, running
from tests.cli.test_quick import KEY_FRAMES, PAID, deep_pass, done, quick_described
from tests.waiting import wait_until

SECRET = "sk-ant-wrong-secret"  # noqa: S105  # not a real key


@pytest.fixture
def untouched(video):
    """Assert that the test does not change the deep pass."""
    before = deep_pass(video)
    yield
    assert deep_pass(video) == before


def assert_error(said, *words):
    """Assert that a command failed with one-line errors that contain these words."""
    assert said.code == 1, said
    assert "Traceback" not in said.err
    assert all(line.startswith("everyframe: ") for line in said.err.splitlines()), said.err
    for word in words:
        assert word in said.err


@pytest.mark.parametrize(
    ("trick", "words"),
    [("no credit", "no credit left"), ("low balance", "no credit left"), ("spend limit", "spend limit")],
)
@pytest.mark.usefixtures("untouched")
def test_account_problem_is_reported_and_recoverable(cli, video, claude, trick, words):
    claude.play(trick)
    assert_error(cli("quick", "moments", "--yes"), words, "https://platform.claude.com/settings/billing")
    assert quick_described(video) == []
    claude.calm()
    assert cli("quick", "moments", "--yes").code == 0
    assert len(quick_described(video)) == 5


@pytest.mark.usefixtures("untouched")
def test_key_without_model_access_is_reported(cli, video, claude):
    claude.play("forbidden")
    assert_error(cli("quick", "moments", "--yes"), "this API key may not use claude-haiku-5-5")


@pytest.mark.usefixtures("untouched")
def test_missing_key_says_where_to_put_it(cli, video, claude, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert_error(cli("quick", "moments", "--yes"), "no Claude API key found", "ANTHROPIC_API_KEY", "keyring set")
    assert claude.history == []


@pytest.mark.usefixtures("untouched")
def test_wrong_key_is_never_shown_or_stored(cli, video, claude, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    said = cli("quick", "moments", "--yes")
    assert_error(said, "rejected the API key")
    assert SECRET not in said.err + said.out
    assert claude.sent == []  # the token count already failed
    assert not [path for path in video.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.usefixtures("untouched")
def test_unknown_model_is_reported_before_sending(cli, video, claude):
    assert_error(cli("quick", "moments", "--model", "claude-nonesuch", "--yes"), "claude-nonesuch")
    assert claude.sent == []


@pytest.mark.usefixtures("untouched")
def test_no_network_loses_nothing(cli, video, claude):
    claude.stop()
    assert_error(cli("quick", "moments", "--yes"), "cannot be reached")
    assert quick_described(video) == []
    claude.start()
    assert cli("quick", "moments", "--yes").code == 0
    assert len(quick_described(video)) == 5


@pytest.mark.usefixtures("untouched")
def test_broken_connection_keeps_received_replies(cli, video, claude, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_KEY_FRAMES", "12")  # two requests
    cli("quick", "moments", "--estimate")
    last = ask(video, KEY_FRAMES.format("id"))[-1][0]
    claude.play("die", labels=[f"F{last}"])
    assert_error(cli("quick", "moments", "--yes"), "cannot be reached")
    first = quick_described(video)
    assert len(first) == 6
    claude.calm()
    claude.forget()
    said = cli("quick", "moments", "--yes")  # the request may have arrived: nobody agreed to pay for it twice
    assert said.code == 0
    assert "6 images may have been paid for without an answer arriving" in said.out
    assert claude.sent == []
    assert cli("quick", "moments", "--unanswered", "--yes").code == 0
    assert len(quick_described(video)) == 12
    assert not {f"F{frame}" for frame in first} & {label for bill in claude.bills for label in bill.labels}


@pytest.mark.parametrize(("trick", "words"), [("rate limit", "busy"), ("overloaded", "busy"), ("fault", "busy")])
@pytest.mark.usefixtures("untouched")
def test_retry_after_is_respected(cli, video, claude, trick, words):
    claude.play(trick, times=1, retry_after="1")
    said = cli("quick", "moments", "--yes")
    assert said.code == 0, said
    assert f"Claude is {words}; retrying in" in said.out
    assert len(quick_described(video)) == 5
    sent = [request.at for request in claude.sent]
    assert len(sent) == 2
    assert sent[1] - sent[0] >= 1


@pytest.mark.parametrize(("trick", "words"), [("rate limit", "rate limit"), ("overloaded", "overloaded")])
@pytest.mark.usefixtures("untouched")
def test_long_retry_after_is_an_error(cli, video, claude, trick, words):
    claude.play(trick, retry_after="3600")
    assert_error(cli("quick", "moments", "--yes"), words, "try again in a few minutes")
    assert quick_described(video) == []
    assert len(claude.sent) == 1


@pytest.mark.parametrize(
    ("trick", "words"), [("refusal", "declined"), ("cut off", "was cut off"), ("empty", "no answer")]
)
@pytest.mark.usefixtures("untouched")
def test_image_without_a_reply_has_its_reason(cli, video, claude, trick, words):
    cli("quick", "moments", "--estimate")
    frame = ask(video, KEY_FRAMES.format("id"))[-1][0]
    claude.play(trick, labels=[f"F{frame}"])
    said = cli("quick", "moments", "--yes", "--json")
    assert_error(said, "1 image not described", words)
    assert [one["label"] for one in done(said)["problems"]] == [f"F{frame}"]
    assert len(quick_described(video)) == 4
    assert ask(video, PAID)[0][1] == pytest.approx(claude.usd, rel=1e-9)


@pytest.mark.usefixtures("untouched")
def test_unanswered_images_are_retried_on_request_only(cli, video, claude):
    cli("quick", "moments", "--estimate")
    frame = ask(video, KEY_FRAMES.format("id"))[0][0]
    claude.play("refusal", labels=[f"F{frame}"])
    assert cli("quick", "moments", "--yes").code == 1
    claude.calm()
    claude.forget()
    again = cli("quick", "moments", "--yes", "--json")
    assert again.code == 0
    assert claude.sent == []
    assert json.loads(again.out.splitlines()[0])["unanswered"] == 1
    assert cli("quick", "moments", "--unanswered", "--yes").code == 0
    assert [bill.labels for bill in claude.bills] == [(f"F{frame}",)]
    assert len(quick_described(video)) == 5


def test_stop_does_not_wait_for_a_busy_claude(video, claude):
    claude.play("overloaded", retry_after="60")
    with running(COMMAND, "quick", "moments", "--yes") as process:
        wait_until(lambda: claude.sent, "Claude was asked", process)
        process.terminate()
        process.wait(60)
    assert quick_described(video) == []


def test_paid_answers_wait_for_a_locked_database(cli, video, claude, monkeypatch):
    monkeypatch.setattr(database_thread, "RETRY_SECONDS", 0.02)
    save, tries = quick_run.save_results, []

    def locked_at_first(*arguments, **named):
        tries.append(1)
        if len(tries) < 3:
            raise DatabaseLockedError("the library is locked by another process")
        return save(*arguments, **named)

    monkeypatch.setattr(quick_run, "save_results", locked_at_first)
    assert cli("quick", "moments", "--yes").code == 0
    assert ask(video, "SELECT count(*) FROM frames WHERE event_type IS NOT NULL") == [(5,)]
    assert len(tries) >= 3
