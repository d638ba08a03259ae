"""What Claude's API says no with: plain sentences, waits that are bounded and told, nothing paid twice."""

import logging
import socket
import sys
import traceback

import pytest
from pydantic import SecretStr

from enrich.describe.claude import client
from enrich.describe.claude.describer import ClaudeQuick
from enrich.errors import (
    AccountError,
    CallFailedError,
    CallTimeoutError,
    DescribeError,
    EveryFrameError,
    HostBusyError,
    HostDownError,
    ModelError,
    SettingsError,
)
from enrich.settings import Settings, load_settings
from tests.describe.labelled_images import labelled
from tests.standin_claude import KEY

OTHER_KEY = "sk-ant-other-0123456789"


async def problem_of(looks, images=None):
    with pytest.raises(EveryFrameError) as caught:
        await looks.ask(images or labelled(1, 2))
    return caught.value


@pytest.mark.parametrize(
    ("trick", "kind", "said"),
    [
        ("no credit", AccountError, "the Claude account has no credit left: add some at https://"),
        ("low balance", AccountError, "the Claude account has no credit left: add some at https://"),
        ("spend limit", AccountError, "the Claude account has reached its own spend limit: raise it at https://"),
        ("forbidden", AccountError, "this key may not use claude-haiku-5-5: Your API key does not have permission"),
    ],
)
async def test_what_a_person_must_mend_is_said_at_once(looker, claude, trick, kind, said):
    claude.play(trick)
    problem = await problem_of(looker())
    assert isinstance(problem, kind)
    assert str(problem).startswith(said)
    assert len(claude.history) == 1
    assert claude.bills == []


async def test_a_wrong_key_is_said_with_the_remedy(looker, claude, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", OTHER_KEY)
    problem = await problem_of(looker())
    assert isinstance(problem, AccountError)
    assert "set ANTHROPIC_API_KEY in the environment" in str(problem)
    assert OTHER_KEY not in str(problem)


async def test_an_unknown_model_is_said(looker, claude, monkeypatch):
    looks = looker(model="claude-haiku-4-5-20251001")  # which the stand-in does not know
    problem = await problem_of(looks)
    assert isinstance(problem, ModelError)
    assert "Claude knows no model claude-haiku-4-5-20251001" in str(problem)


def test_a_model_without_a_price_is_not_asked_at_all(looker):
    with pytest.raises(SettingsError, match="no price is known for claude-9"):
        looker(model="claude-9")


@pytest.mark.parametrize(("trick", "retry_after"), [("rate limit", "0.2"), ("overloaded", "0.2")])
async def test_a_busy_api_is_waited_for_as_long_as_it_asks_and_said(looker, claude, trick, retry_after):
    claude.play(trick, times=2, retry_after=retry_after)
    heard = []
    entries = await looker(on_wait=heard.append).ask(labelled(1, 2))
    assert all(entry.answer for entry in entries)
    assert heard == ["Claude is busy; the request is sent again in under 1 s"] * 2
    first, second, third = (request.at for request in claude.history)
    assert second - first >= 0.2
    assert third - second >= 0.2
    assert len(claude.bills) == 1


async def test_without_a_word_of_how_long_it_waits_longer_each_time(looker, claude, monkeypatch):
    monkeypatch.setattr(client, "INITIAL_BACKOFF_SECONDS", 0.1)
    claude.play("fault", times=2)
    entries = await looker().ask(labelled(1))
    assert entries[0].answer
    first, second, third = (request.at for request in claude.history)
    assert second - first >= 0.1
    assert third - second >= 0.2


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        ("rate limit", "Claude allows no more requests for now (rate limit): ask again in a few minutes"),
        ("overloaded", "Claude is overloaded (https://status.claude.com): ask again in a few minutes"),
    ],
)
async def test_waiting_has_an_end(looker, claude, trick, said):
    claude.play(trick, retry_after="3600")
    problem = await problem_of(looker())
    assert isinstance(problem, HostBusyError)
    assert str(problem) == said
    assert len(claude.history) == 1
    claude.calm()
    claude.play(trick, retry_after="0.1")
    await problem_of(looker(max_wait_seconds=0.35))
    assert len(claude.history) == 1 + 4


@pytest.mark.parametrize("said", ["", "soon", "-5", "inf", "nan"])
def test_a_strange_retry_after_is_as_none(said):
    class Response:
        headers = {"retry-after": said}  # noqa: RUF012  # a stub

    error = type("Error", (), {"response": Response()})()
    assert client.retry_after_seconds(error) is None


async def test_a_connection_that_breaks_is_not_tried_again_by_itself(looker, claude):
    claude.play("die paid")
    problem = await problem_of(looker())
    assert isinstance(problem, HostDownError)
    assert str(problem).startswith("Claude cannot be reached: check the connection to the internet")
    assert len(claude.history) == 1  # it may have been paid


async def test_without_a_network_it_is_said(looker, claude, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    problem = await problem_of(looker())
    assert isinstance(problem, HostDownError)


async def test_a_reply_that_does_not_come_is_given_up(looker, claude, monkeypatch):
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_SECONDS", 0.5)
    claude.play("hang")
    problem = await problem_of(looker())
    assert isinstance(problem, CallTimeoutError)
    assert "no answer in time" in str(problem)


async def test_a_request_that_is_refused_as_it_is_says_why(looker, claude, monkeypatch):
    monkeypatch.setattr("enrich.describe.claude.request.max_output_tokens", lambda *_: 200_000)
    problem = await problem_of(looker())
    assert isinstance(problem, CallFailedError)
    assert str(problem).startswith("Claude did not take the request: max_tokens: 200000 > 128000")
    assert claude.bills == []


async def test_without_a_key_nothing_is_sent_and_the_remedy_is_said(looker, claude, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    problem = await problem_of(looker())
    assert isinstance(problem, AccountError)
    assert str(problem) == (
        "there is no key for Claude: set ANTHROPIC_API_KEY in the environment, or put the key into the system's "
        "keyring: `keyring set everyframe anthropic`"
    )
    assert claude.history == []


def test_the_estimate_needs_no_key(looker, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert looker().estimate(labelled(1, 2)).usd > 0


async def test_without_the_package_it_is_said_how_to_get_it(looker, monkeypatch):
    monkeypatch.setitem(sys.modules, "anthropic", None)
    problem = await problem_of(looker())
    assert isinstance(problem, SettingsError)
    assert "pip install 'everyframe[claude]'" in str(problem)


async def test_a_key_in_the_keyring_is_used_and_the_environments_wins(looker, claude, monkeypatch):
    asked = []

    def password(service, user):
        asked.append((service, user))
        return KEY

    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setattr("keyring.get_password", password)
    assert (await looker().ask(labelled(1)))[0].answer
    assert asked == [("everyframe", "anthropic")]
    monkeypatch.setenv("ANTHROPIC_API_KEY", f" {OTHER_KEY}\n")
    assert client.api_key().get_secret_value() == OTHER_KEY


@pytest.mark.parametrize("error", ["NoKeyringError", "KeyringLocked", "InitError"])
def test_a_keyring_that_does_not_open_is_as_none(monkeypatch, error):
    import keyring.errors

    def password(*_):
        raise getattr(keyring.errors, error)("no")

    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setattr("keyring.get_password", password)
    assert client.find_key() is None


async def test_the_key_is_shown_nowhere(looker, claude, caplog, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTHROPIC_LOG", "debug")
    caplog.set_level(logging.DEBUG)
    said = []
    claude.play("rate limit", times=1, retry_after="0.05")
    looks = looker(on_wait=said.append)
    entries = await looks.ask(labelled(1))
    said += [repr(entries), repr(looks), repr(looks.client), repr(vars(looks)), str(vars(looks.client))]
    claude.behave(keys=["sk-ant-another"])
    try:
        await looks.ask(labelled(1))
    except DescribeError as error:
        said += [repr(error), "".join(traceback.format_exception(error))]
    said += [record.getMessage() for record in caplog.records]
    assert any("Picture F1" in text or "messages" in text for text in said)
    assert KEY not in "\n".join(said)
    assert KEY not in load_settings(home=tmp_path).model_dump_json()
    assert not any("key" in name and "key_frames" not in name for name in Settings.model_fields)
    assert isinstance(client.find_key(), SecretStr)


def test_a_quick_describer_can_be_made_without_a_key_or_network(monkeypatch, tmp_path):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert ClaudeQuick(load_settings(home=tmp_path)).model == "claude-haiku-5-5"
