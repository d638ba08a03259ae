"""quick when Claude says no, is busy, or cannot be reached: a sentence, nothing lost, and the deep pass undisturbed."""

import json

import pytest

from tests.cli.terminal import COMMAND, ask, running, until
from tests.cli.test_quick import KEY_FRAMES, PAID, deep_pass, done, looked_at

SECRET = "sk-ant-wrong-secret"  # noqa: S105  # of nobody


@pytest.fixture
def untouched(film):
    """The deep pass is the same at the end as it was before."""
    before = deep_pass(film)
    yield
    assert deep_pass(film) == before


def sentence(said, *words):
    """Assert that a command failed with plain sentences that have these words."""
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
def test_what_the_owner_of_the_account_must_mend_is_said_and_then_it_goes_on(cli, film, claude, trick, words):
    claude.play(trick)
    sentence(cli("quick", "moments", "--yes"), words, "https://platform.claude.com/settings/billing")
    assert looked_at(film) == []
    claude.calm()
    assert cli("quick", "moments", "--yes").code == 0
    assert len(looked_at(film)) == 5


@pytest.mark.usefixtures("untouched")
def test_a_key_that_may_not_use_the_model_is_said(cli, film, claude):
    claude.play("forbidden")
    sentence(cli("quick", "moments", "--yes"), "this API key may not use claude-haiku-5-5")


@pytest.mark.usefixtures("untouched")
def test_without_a_key_it_says_where_to_put_one(cli, film, claude, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    sentence(cli("quick", "moments", "--yes"), "no Claude API key found", "ANTHROPIC_API_KEY", "keyring set")
    assert claude.history == []


@pytest.mark.usefixtures("untouched")
def test_a_wrong_key_is_said_and_never_shown_nor_stored(cli, film, claude, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    said = cli("quick", "moments", "--yes")
    sentence(said, "rejected the API key")
    assert SECRET not in said.err + said.out
    assert claude.sent == []  # it was found out when counting
    assert not [path for path in film.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.usefixtures("untouched")
def test_a_model_that_nobody_knows_is_said_before_anything_is_sent(cli, film, claude):
    sentence(cli("quick", "moments", "--model", "claude-nonesuch", "--yes"), "claude-nonesuch")
    assert claude.sent == []


@pytest.mark.usefixtures("untouched")
def test_no_network_is_said_and_nothing_is_lost(cli, film, claude):
    claude.stop()
    sentence(cli("quick", "moments", "--yes"), "cannot be reached")
    assert looked_at(film) == []
    claude.start()
    assert cli("quick", "moments", "--yes").code == 0
    assert len(looked_at(film)) == 5


@pytest.mark.usefixtures("untouched")
def test_a_connection_that_breaks_in_the_middle_leaves_what_was_answered(cli, film, claude, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_KEY_FRAMES", "12")  # two requests
    cli("quick", "moments", "--estimate")
    last = ask(film, KEY_FRAMES.format("id"))[-1][0]
    claude.play("die", labels=[f"F{last}"])
    sentence(cli("quick", "moments", "--yes"), "cannot be reached")
    first = looked_at(film)
    assert len(first) == 6
    claude.calm()
    claude.forget()
    assert cli("quick", "moments", "--yes").code == 0
    assert len(looked_at(film)) == 12
    assert not {f"F{frame}" for frame in first} & {label for bill in claude.bills for label in bill.labels}


@pytest.mark.parametrize(("trick", "words"), [("rate limit", "busy"), ("overloaded", "busy"), ("fault", "busy")])
@pytest.mark.usefixtures("untouched")
def test_a_busy_claude_is_waited_for_as_long_as_it_asks(cli, film, claude, trick, words):
    claude.play(trick, times=1, retry_after="1")
    said = cli("quick", "moments", "--yes")
    assert said.code == 0, said
    assert f"Claude is {words}; retrying in" in said.out
    assert len(looked_at(film)) == 5
    sent = [request.at for request in claude.sent]
    assert len(sent) == 2
    assert sent[1] - sent[0] >= 1


@pytest.mark.parametrize(("trick", "words"), [("rate limit", "rate limit"), ("overloaded", "overloaded")])
@pytest.mark.usefixtures("untouched")
def test_a_wait_beyond_reason_is_not_waited_for(cli, film, claude, trick, words):
    claude.play(trick, retry_after="3600")
    sentence(cli("quick", "moments", "--yes"), words, "try again in a few minutes")
    assert looked_at(film) == []
    assert len(claude.sent) == 1


@pytest.mark.parametrize(
    ("trick", "words"), [("refusal", "declined"), ("cut off", "was cut off"), ("empty", "no answer")]
)
@pytest.mark.usefixtures("untouched")
def test_a_picture_without_an_answer_has_its_reason_and_the_others_their_answers(cli, film, claude, trick, words):
    cli("quick", "moments", "--estimate")
    frame = ask(film, KEY_FRAMES.format("id"))[-1][0]
    claude.play(trick, labels=[f"F{frame}"])
    said = cli("quick", "moments", "--yes", "--json")
    sentence(said, "1 picture without an answer", words)
    assert [one["label"] for one in done(said)["problems"]] == [f"F{frame}"]
    assert len(looked_at(film)) == 4
    assert ask(film, PAID)[0][1] == pytest.approx(claude.usd, rel=1e-9)


@pytest.mark.usefixtures("untouched")
def test_what_was_paid_without_an_answer_is_asked_for_again_only_when_told_to(cli, film, claude):
    cli("quick", "moments", "--estimate")
    frame = ask(film, KEY_FRAMES.format("id"))[0][0]
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
    assert len(looked_at(film)) == 5


def test_whoever_stops_it_does_not_wait_for_a_busy_claude(film, claude):
    claude.play("overloaded", retry_after="60")
    with running(COMMAND, "quick", "moments", "--yes") as process:
        until(lambda: claude.sent, "Claude was asked", process)
        process.terminate()
        process.wait(20)
    assert looked_at(film) == []
