"""Errors of Claude's API: clear messages, bounded backoff, nothing paid twice."""

import ast
import asyncio
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
from tests.house.source import CODE, parsed, relative
from tests.standin_claude import KEY
from tests.standin_claude.request import Refusal
from tests.waiting import until

OTHER_KEY = "sk-ant-other-0123456789"


async def problem_of(quick, images=None):
    with pytest.raises(EveryFrameError) as caught:
        await quick.ask(images or labelled(1, 2))
    return caught.value


@pytest.mark.parametrize(
    ("trick", "kind", "said"),
    [
        ("no credit", AccountError, "the Claude account has no credit left: add credit at https://"),
        ("low balance", AccountError, "the Claude account has no credit left: add credit at https://"),
        ("spend limit", AccountError, "the Claude account has reached its spend limit: raise it at https://"),
        ("forbidden", AccountError, "this API key may not use claude-haiku-5-5: Your API key does not have permission"),
    ],
)
async def test_account_problems_are_reported_without_retry(make_quick, claude, trick, kind, said):
    claude.play(trick)
    problem = await problem_of(make_quick())
    assert isinstance(problem, kind)
    assert str(problem).startswith(said)
    assert len(claude.history) == 1
    assert claude.bills == []


async def test_wrong_key_error_says_how_to_set_it(make_quick, claude, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", OTHER_KEY)
    problem = await problem_of(make_quick())
    assert isinstance(problem, AccountError)
    assert "set ANTHROPIC_API_KEY in the environment" in str(problem)
    assert OTHER_KEY not in str(problem)


async def test_unknown_model_is_reported(make_quick, claude, monkeypatch):
    quick = make_quick(model="claude-haiku-4-5-20251001")  # unknown to the stand-in
    problem = await problem_of(quick)
    assert isinstance(problem, ModelError)
    assert "Claude has no model claude-haiku-4-5-20251001" in str(problem)


def test_model_without_a_price_is_refused(make_quick):
    with pytest.raises(SettingsError, match="no price is known for claude-9"):
        make_quick(model="claude-9")


@pytest.mark.parametrize(("trick", "retry_after"), [("rate limit", "0.2"), ("overloaded", "0.2")])
async def test_busy_api_is_retried_after_its_retry_after(make_quick, claude, trick, retry_after):
    claude.play(trick, times=2, retry_after=retry_after)
    heard = []
    entries = await make_quick(on_wait=heard.append).ask(labelled(1, 2))
    assert all(entry.answer for entry in entries)
    assert heard == ["Claude is busy; retrying in under 1 s"] * 2
    first, second, third = (request.at for request in claude.history)
    assert second - first >= 0.2
    assert third - second >= 0.2
    assert len(claude.bills) == 1


async def test_backoff_doubles_without_retry_after(make_quick, claude, monkeypatch):
    monkeypatch.setattr(client, "INITIAL_BACKOFF_SECONDS", 0.1)
    claude.play("fault", times=2)
    entries = await make_quick().ask(labelled(1))
    assert entries[0].answer
    first, second, third = (request.at for request in claude.history)
    assert second - first >= 0.1
    assert third - second >= 0.2


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        ("rate limit", "Claude's rate limit is reached: try again in a few minutes"),
        ("overloaded", "Claude is overloaded (https://status.claude.com): try again in a few minutes"),
    ],
)
async def test_backoff_has_a_limit(make_quick, claude, trick, said):
    claude.play(trick, retry_after="3600")
    problem = await problem_of(make_quick())
    assert isinstance(problem, HostBusyError)
    assert str(problem) == said
    assert len(claude.history) == 1
    claude.calm()
    claude.play(trick, retry_after="0.1")
    await problem_of(make_quick(max_wait_seconds=0.35))
    assert len(claude.history) == 1 + 4


@pytest.mark.parametrize("said", ["", "soon", "-5", "inf", "nan"])
def test_invalid_retry_after_is_ignored(said):
    class Response:
        headers = {"retry-after": said}  # noqa: RUF012  # a stub

    error = type("Error", (), {"response": Response()})()
    assert client.retry_after_seconds(error) is None


async def test_broken_connection_is_not_retried(make_quick, claude):
    claude.play("die paid")
    problem = await problem_of(make_quick())
    assert isinstance(problem, HostDownError)
    assert str(problem).startswith("Claude cannot be reached: check the internet connection")
    assert len(claude.history) == 1  # it may have been charged


async def test_missing_network_is_reported(make_quick, claude, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    problem = await problem_of(make_quick())
    assert isinstance(problem, HostDownError)


async def test_missing_reply_times_out(make_quick, claude, monkeypatch):
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_SECONDS", 0.5)
    claude.play("hang")
    problem = await problem_of(make_quick())
    assert isinstance(problem, CallTimeoutError)
    assert "did not answer in time" in str(problem)


async def test_rejected_request_gives_the_reason(make_quick, claude, monkeypatch):
    monkeypatch.setattr("enrich.describe.claude.request.max_output_tokens", lambda *_: 200_000)
    problem = await problem_of(make_quick())
    assert isinstance(problem, CallFailedError)
    assert str(problem).startswith("Claude rejected the request: max_tokens: 200000 > 128000")
    assert claude.bills == []


@pytest.mark.parametrize("status", [400, 403, 404])
def test_control_characters_of_the_api_are_escaped(status):
    problem = client.error_for_response(status, "", "bad \x1b[31mmodel\u202e" + " a" * 200, model="claude-haiku-5-5")
    assert "bad \\x1b[31mmodel\\u202e a a" in str(problem)
    assert len(str(problem)) < 300


async def test_missing_key_sends_nothing_and_says_how_to_set_it(make_quick, claude, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    problem = await problem_of(make_quick())
    assert isinstance(problem, AccountError)
    assert str(problem) == (
        "no Claude API key found: set ANTHROPIC_API_KEY in the environment, or put the key into the system's "
        "keyring: `keyring set everyframe anthropic`"
    )
    assert claude.history == []


def test_estimate_needs_no_key(make_quick, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert make_quick().estimate(labelled(1, 2)).usd > 0


async def test_missing_sdk_error_says_how_to_install_it(make_quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "anthropic", None)
    problem = await problem_of(make_quick())
    assert isinstance(problem, SettingsError)
    assert "pip install 'everyframe[claude]'" in str(problem)


async def test_keyring_key_is_used_and_the_environment_wins(make_quick, claude, monkeypatch):
    asked = []

    def password(service, user):
        asked.append((service, user))
        return KEY

    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setattr("keyring.get_password", password)
    assert (await make_quick().ask(labelled(1)))[0].answer
    assert asked == [("everyframe", "anthropic")]
    monkeypatch.setenv("ANTHROPIC_API_KEY", f" {OTHER_KEY}\n")
    assert client.api_key().get_secret_value() == OTHER_KEY


@pytest.mark.parametrize("error", ["NoKeyringError", "KeyringLocked", "InitError"])
def test_unusable_keyring_counts_as_none(monkeypatch, error):
    import keyring.errors

    def password(*_):
        raise getattr(keyring.errors, error)("no")

    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setattr("keyring.get_password", password)
    assert client.find_key() is None


async def test_key_is_never_shown_or_logged(make_quick, claude, caplog, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTHROPIC_LOG", "debug")
    caplog.set_level(logging.DEBUG)
    said = []
    claude.play("rate limit", times=1, retry_after="0.05")
    quick = make_quick(on_wait=said.append)
    entries = await quick.ask(labelled(1))
    said += [repr(entries), repr(quick), repr(quick.client), repr(vars(quick)), str(vars(quick.client))]
    claude.behave(keys=["sk-ant-another"])
    try:
        await quick.ask(labelled(1))
    except DescribeError as error:
        said += [repr(error), "".join(traceback.format_exception(error))]
    said += [record.getMessage() for record in caplog.records]
    assert any("Picture F1" in text or "messages" in text for text in said)
    assert KEY not in "\n".join(said)
    assert KEY not in load_settings(home=tmp_path).model_dump_json()
    assert not any("key" in name and "key_frames" not in name for name in Settings.model_fields)
    assert isinstance(client.find_key(), SecretStr)


def test_quick_describer_needs_no_key_or_network_to_exist(monkeypatch, tmp_path):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert ClaudeQuick(load_settings(home=tmp_path)).model == "claude-haiku-5-5"


@pytest.mark.parametrize(
    "trick", ["no credit", "low balance", "spend limit", "forbidden", "rate limit", "overloaded", "fault"]
)
async def test_refused_request_releases_its_money(make_quick, claude, trick):
    claude.play(trick, retry_after="3600")
    quick = make_quick(max_wait_seconds=0.0)
    await problem_of(quick)
    assert [step for step, _ in quick.payments.log] == ["reserved", "released"]


@pytest.mark.parametrize("trick", ["die", "die paid", "hang"])
async def test_request_that_may_have_been_charged_is_uncertain(make_quick, claude, trick, monkeypatch):
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_SECONDS", 0.3)
    claude.play(trick)
    quick = make_quick()
    await problem_of(quick)
    assert quick.payments.log == [("reserved", ("F1", "F2")), ("uncertain", ("F1", "F2"))]
    assert len(claude.history) == 1


async def test_cancelled_request_is_uncertain(make_quick, claude):
    claude.play("hang")
    quick = make_quick()
    task = asyncio.create_task(quick.ask(labelled(1, 2)))
    await until(lambda: claude.sent, "it is sent")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [step for step, _ in quick.payments.log] == ["reserved", "uncertain"]


async def test_refused_connection_releases_the_money(make_quick, claude):
    claude.stop()
    quick = make_quick()
    assert isinstance(await problem_of(quick), client.NotSentError)
    assert [step for step, _ in quick.payments.log] == ["reserved", "released"]


@pytest.mark.parametrize(
    ("status", "is_uncertain"), [(400, False), (404, False), (408, True), (413, False), (429, False), (500, True),
                                 (502, True), (503, True), (504, True), (529, True)],
)  # fmt: skip
async def test_errors_of_a_gateway_prove_nothing_from_500_on(make_quick, claude, monkeypatch, status, is_uncertain):
    def refuse(*_, **__):
        raise Refusal(status, None, "<html>Bad Gateway</html>")

    monkeypatch.setattr(claude, "read", refuse)
    quick = make_quick(max_wait_seconds=0.0)
    await problem_of(quick)
    assert {step for step, _ in quick.payments.log} >= {"uncertain" if is_uncertain else "released"}
    if is_uncertain:
        assert len(claude.history) == 1  # not sent again


async def test_every_request_is_reserved_before_and_settled_after_it(make_quick, claude):
    claude.play("missing", times=1)
    quick = make_quick()
    estimate = quick.estimate(labelled(1, 2, 3))
    await quick.ask(labelled(1, 2, 3))
    assert quick.payments.log == [
        ("reserved", ("F1", "F2", "F3")), ("settled", ("F1", "F2", "F3")), ("retried", ("F1",)), ("settled", ("F1",)),
    ]  # fmt: skip
    assert claude.usd <= quick.payments.most_usd <= estimate.most_usd


async def test_nothing_can_be_sent_without_a_reservation(make_quick, claude):
    quick = make_quick()
    parameters = quick.request(labelled(1), context="", language="English")
    for nothing in (None, "request 1", 7):
        with pytest.raises(TypeError, match="reservation"):
            await quick.client.create_message(parameters, nothing, str, model=quick.model)
        with pytest.raises(TypeError, match="reservation"):
            await quick.client.create_batch([{"custom_id": "a", "params": parameters}], [], model=quick.model)
    assert claude.history == []


def test_only_the_client_creates_messages_and_batches():
    """And nothing else makes an SDK client, with which it could."""
    found = set()
    for path in CODE:
        for node in ast.walk(parsed(path)):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name.endswith(("messages.create", "messages.stream", "messages.parse", "batches.create", "Anthropic")):
                found.add((relative(path), name))
    assert found == {
        ("enrich/describe/claude/client.py", name)
        for name in ("sdk.messages.create", "sdk.messages.batches.create", "sdk.AsyncAnthropic")
    }
