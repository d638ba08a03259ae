import asyncio
import time
from http import HTTPStatus

import pytest

from enrich.describe.describer import Image, Pass, Problem, PromptStyle, Question, ReplyWarning
from enrich.describe.ollama.client import OllamaHost, ResponseStatusError, RunnerStatusError
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.describe.prompt import PROMPT_VERSION, prompt_for, reply_schema
from enrich.errors import (
    CallFailedError,
    CallTimeoutError,
    ConnectionLostError,
    DescribeError,
    HostBusyError,
    HostDownError,
    ImageTooLargeError,
    ModelError,
    RunnerCrashedError,
)
from tests.describe.images import numbered_jpeg, question
from tests.standin import ShelfModel, StandIn, Trick
from tests.standin.tricks import REFUSALS
from tests.waiting import until


async def test_image_is_described_truthfully(describer, standin):
    call = await describer.describe(question(421), host=standin.address)
    description, warnings = describer.read(question(421), call)
    assert "Frame number 421" in description.text
    assert "squares" in description.tags
    assert warnings == ()


async def test_call_records_model_tokens_and_times(settings, standin):
    standin.behave(delay=0.1, load=0.2)
    describer = OllamaDescriber(settings())
    call = await describer.describe(question(), host=standin.address)
    await describer.close()
    assert (call.describer, call.model, call.host) == ("ollama", "llava:13b", standin.address)
    assert call.model_digest == ShelfModel().digest
    assert call.prompt_version == PROMPT_VERSION
    assert 0.3 <= call.latency_seconds < 2
    assert call.load_seconds == pytest.approx(0.2)
    assert call.prompt_tokens > 576
    assert 0 < call.output_tokens < 200
    assert call.cost_usd == 0
    assert "Frame number 7" in call.raw_reply


async def test_request_has_the_form_ollama_expects(settings, standin):
    describer = OllamaDescriber(
        settings(num_predict=300, keep_alive="9m", ollama_options={"num_thread": 3, "top_k": 5})
    )
    await describer.describe(question(context="a party"), host=standin.address)
    await describer.close()
    (request,) = standin.chats
    assert request.body["model"] == "llava:13b"
    assert request.body["stream"] is False
    assert request.body["think"] is False
    assert request.body["keep_alive"] == "9m"
    assert request.body["format"] == reply_schema()
    assert request.body["options"] == {
        "temperature": 0,
        "num_predict": 300,
        "num_ctx": 4096,
        "num_thread": 3,
        "top_k": 5,
    }
    assert request.prompt == prompt_for(question(context="a party"))


async def test_num_ctx_is_sent_with_every_call(settings, standin):
    describer = OllamaDescriber(settings(num_ctx=2048))
    await describer.prepare(standin.address)
    await describer.describe(question(), host=standin.address)
    await describer.describe(question(prompt_style=PromptStyle.PLAIN), host=standin.address)
    await describer.close()
    lengths = [request.body["options"]["num_ctx"] for request in standin.history if request.path == "/api/chat"]
    assert lengths == [2048, 2048, 2048]


async def test_user_options_override_defaults(settings, standin):
    describer = OllamaDescriber(settings(ollama_options={"temperature": 0.7, "num_ctx": 1024}))
    await describer.describe(question(), host=standin.address)
    await describer.close()
    options = standin.chats[0].body["options"]
    assert (options["temperature"], options["num_ctx"]) == (0.7, 1024)


async def test_images_are_sent_at_the_models_edge(settings, standin):
    standin.behave(models=(ShelfModel("llava:13b"), ShelfModel("moondream:latest")))
    for model, edges in (("llava:13b", {}), ("moondream", {}), ("llava:13b", {"llava": 200})):
        describer = OllamaDescriber(settings(picture_edges=edges), model=model)
        await describer.describe(question(9, size=(1024, 576)), host=standin.address)
        await describer.close()
    assert [request.sights[0].width for request in standin.chats] == [672, 378, 200]
    assert standin.described == [9, 9, 9]


async def test_several_images_go_into_one_call_in_order(describer, standin):
    images = tuple(Image(numbered_jpeg(n), n / 10) for n in (5, 3, 8))
    call = await describer.describe(Question(images), host=standin.address)
    assert standin.chats[0].numbers == (5, 3, 8)
    assert "Frame number 3" in call.raw_reply


async def test_plain_style_sends_no_schema_and_samples_differently(describer, standin):
    await describer.describe(question(prompt_style=PromptStyle.PLAIN), host=standin.address)
    (request,) = standin.chats
    assert not request.body.get("format")
    assert request.body["options"]["temperature"] > 0
    description, warnings = describer.read(
        question(prompt_style=PromptStyle.PLAIN),
        await describer.describe(question(prompt_style=PromptStyle.PLAIN), host=standin.address),
    )
    assert "squares" in description.tags
    assert warnings == ()


async def test_style_without_context_sends_no_context(describer, standin):
    await describer.describe(question(context="Erna", prompt_style=PromptStyle.WITHOUT_CONTEXT), host=standin.address)
    (request,) = standin.chats
    assert "Erna" not in request.prompt
    assert request.body["format"] == reply_schema()


async def test_reply_at_the_token_limit_is_flagged_as_cut_off(settings, standin):
    describer = OllamaDescriber(settings(num_predict=32))
    call = await describer.describe(question(), host=standin.address)
    assert call.warnings == (ReplyWarning(Problem.CUT_OFF),)
    await describer.close()


async def test_thinking_without_an_answer_is_stored_but_empty(describer, standin):
    standin.play(Trick.THINKS)
    call = await describer.describe(question(), host=standin.address)
    assert "Let me think" in call.raw_reply
    assert describer.read(question(), call) == (None, (ReplyWarning(Problem.EMPTY),))


FAILURES = [
    (Trick.DIE, ConnectionLostError, "ollama serve"),
    (Trick.BAD_GATEWAY, ConnectionLostError, "is not responding"),
    (Trick.BUSY, HostBusyError, "is overloaded"),
    (Trick.MISSING, ModelError, "ollama pull llava:13b"),
    (Trick.ERROR, RunnerStatusError, "runner process has terminated"),
    (Trick.CRASH, RunnerStatusError, "model runner has unexpectedly stopped"),
    (Trick.REFUSE, ResponseStatusError, "unable to make an embedding"),
    (Trick.HALF, CallFailedError, "closed the connection"),
    (Trick.HTML, CallFailedError, "unreadable response"),
    (Trick.BROKEN_JSON, CallFailedError, "unreadable response"),
    (Trick.UNDONE, CallFailedError, "incomplete reply"),
]


@pytest.mark.parametrize(("trick", "error", "words"), FAILURES)
async def test_every_failure_is_one_of_our_errors_in_one_line(describer, standin, trick, error, words):
    await describer.prepare(standin.address)
    standin.play(trick, times=1)
    with pytest.raises(error) as raised:
        await describer.describe(question(), host=standin.address)
    assert type(raised.value) is error
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "<" not in str(raised.value)
    assert (await describer.describe(question(), host=standin.address)).raw_reply  # the next call succeeds


@pytest.mark.parametrize(
    "words",
    [
        (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "<html><h1>413 Request Entity Too Large</h1></html>"),
        (HTTPStatus.INTERNAL_SERVER_ERROR, "prompt too long; exceeds maximum context length"),
        (HTTPStatus.BAD_REQUEST, "the input length exceeds the context length"),
        (HTTPStatus.INTERNAL_SERVER_ERROR, "the request exceeds the available context size, try increasing it"),
        (HTTPStatus.INTERNAL_SERVER_ERROR, "image too large"),
    ],
)
async def test_image_too_large_for_a_host_is_sent_smaller(describer, standin, monkeypatch, caplog, words):
    monkeypatch.setitem(REFUSALS, Trick.TOO_LARGE, words)
    standin.play(Trick.TOO_LARGE, edge=400)
    for number in (1, 2):
        call = await describer.describe(question(number, size=(1024, 576)), host=standin.address)
        assert f"number {number}" in call.raw_reply
    assert [one.sights[0].width for one in standin.chats] == [672, 336, 336]
    assert len(caplog.records) == 1
    assert "336 pixels from now on" in caplog.text


async def test_image_too_large_at_any_size_fails_after_a_few_calls(describer, standin):
    standin.play(Trick.TOO_LARGE)
    with pytest.raises(ImageTooLargeError, match="413"):
        await describer.describe(question(size=(1024, 576)), host=standin.address)
    assert [one.sights[0].width for one in standin.chats] == [672, 336, 168]
    standin.calm()
    await describer.describe(question(size=(1024, 576)), host=standin.address)
    assert standin.chats[-1].sights[0].width == 672  # the size was not the reason


async def test_smaller_images_start_no_new_time_limit(settings, standin, monkeypatch):
    async def refuse_slowly(*_, **__):
        await asyncio.sleep(0.6)
        raise ImageTooLargeError("prompt too long")

    describer = OllamaDescriber(settings(call_seconds=1, load_seconds=1))
    monkeypatch.setattr(OllamaHost, "chat", refuse_slowly)
    with pytest.raises(CallTimeoutError, match="within 1 seconds"):
        await describer.describe(question(size=(1024, 576)), host=standin.address)
    await describer.close()


@pytest.mark.parametrize(
    "words",
    [
        'Post "http://127.0.0.1:40123/completion": EOF',
        "model runner has unexpectedly stopped, this may be due to resource limitations",
        "llama runner process has terminated: signal: aborted (core dumped)",
        "read tcp 127.0.0.1:5->127.0.0.1:6: wsarecv: An existing connection was forcibly closed by the remote host.",
        "dial tcp 127.0.0.1:40123: connect: connection refused",
    ],
)
async def test_ended_model_runner_is_recognized(describer, standin, monkeypatch, words):
    monkeypatch.setitem(REFUSALS, Trick.ERROR, (HTTPStatus.INTERNAL_SERVER_ERROR, words))
    standin.play(Trick.ERROR)
    with pytest.raises(RunnerCrashedError, match="returned an error"):
        await describer.describe(question(), host=standin.address)


@pytest.mark.parametrize(
    "words",
    [
        "net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
        "the request exceeded its time limit",
        "request failed: context deadline exceeded",
    ],
)
async def test_exceeded_time_limit_is_no_image_too_large(describer, standin, monkeypatch, words):
    await describer.prepare(standin.address)
    monkeypatch.setitem(REFUSALS, Trick.ERROR, (HTTPStatus.INTERNAL_SERVER_ERROR, words))
    standin.play(Trick.ERROR)
    with pytest.raises(ResponseStatusError):
        await describer.describe(question(size=(1024, 576)), host=standin.address)
    assert len(standin.chats) == 1


async def test_control_characters_of_a_server_are_not_shown(describer, standin, monkeypatch):
    hostile = (HTTPStatus.INTERNAL_SERVER_ERROR, "bad \x1b[31mmodel\u202e")
    monkeypatch.setitem(REFUSALS, Trick.ERROR, hostile)
    standin.play(Trick.ERROR)
    with pytest.raises(CallFailedError, match=r"bad \[31mmodel\\u202e$"):
        await describer.describe(question(), host=standin.address)


async def test_host_that_does_not_listen_is_down(describer, standin):
    standin.stop()
    with pytest.raises(HostDownError, match="ollama serve"):
        await describer.describe(question(), host=standin.address)


async def test_host_that_stops_during_a_call_is_down_until_it_returns(describer, standin):
    await describer.prepare(standin.address)
    standin.behave(delay=5)
    call = asyncio.create_task(describer.describe(question(), host=standin.address))
    await until(lambda: standin.chats, "the request has arrived")
    await asyncio.to_thread(standin.stop)
    with pytest.raises(HostDownError):
        await call
    standin.behave(delay=0)
    standin.start()
    assert (await describer.describe(question(), host=standin.address)).raw_reply


async def test_unreachable_host_times_out_within_the_limit(settings):
    import socket

    with socket.socket() as full:  # a full backlog behaves like a host that is switched off
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = f"http://127.0.0.1:{full.getsockname()[1]}"
        others = []
        for _ in range(4):
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(full.getsockname())
            others.append(other)
        describer = OllamaDescriber(settings(ollama_hosts=address, connect_seconds=0.3))
        start = time.monotonic()
        with pytest.raises(HostDownError):
            await describer.describe(question(), host=address)
        assert time.monotonic() - start < 10
        await describer.close()
        for other in others:
            other.close()


async def test_hanging_host_times_out_at_the_call_limit(settings, standin):
    describer = OllamaDescriber(settings(call_seconds=0.3, load_seconds=30))
    await describer.prepare(standin.address)
    standin.play(Trick.HANG)
    start = time.monotonic()
    with pytest.raises(CallTimeoutError, match=r"0\.3 seconds"):
        await describer.describe(question(), host=standin.address)
    assert 0.25 < time.monotonic() - start < 10
    await describer.close()


async def test_first_call_has_the_loading_time_limit(settings, standin):
    standin.behave(load=0.6)
    describer = OllamaDescriber(settings(call_seconds=0.3, load_seconds=30))
    assert (await describer.describe(question(), host=standin.address)).load_seconds == pytest.approx(0.6)
    await describer.close()


async def test_cancelled_call_raises_cancelled_error(describer, standin):
    standin.behave(delay=5)
    call = asyncio.create_task(describer.describe(question(), host=standin.address))
    await until(lambda: standin.chats, "the request has arrived")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_broken_stored_image_fails_the_call_only(describer, standin):
    with pytest.raises(CallFailedError, match="cannot be decoded as JPEG"):
        await describer.describe(Question((Image(b"nothing", 0),)), host=standin.address)


async def test_hosts_of_one_describer_fail_independently(settings, standin):
    with StandIn() as other:
        describer = OllamaDescriber(settings(ollama_hosts=f"{standin.address},{other.address}"))
        assert describer.hosts == (standin.address, other.address)
        await describer.describe(question(1), host=standin.address)
        await describer.describe(question(2), host=other.address)
        standin.stop()
        with pytest.raises(HostDownError):
            await describer.describe(question(3), host=standin.address)
        await describer.describe(question(4), host=other.address)
        await describer.close()
        assert (standin.described, other.described) == ([1], [2, 4])


async def test_concurrent_calls_get_their_own_answers(describer, standin):
    standin.behave(parallel=16, delay=0.05)
    calls = await asyncio.gather(*(describer.describe(question(n), host=standin.address) for n in range(40)))
    for number, call in enumerate(calls):
        assert f"Frame number {number}:" in call.raw_reply


async def test_proxy_settings_are_ignored(describer, standin, monkeypatch):
    with StandIn() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        monkeypatch.setenv("ALL_PROXY", proxy.address)
        await describer.describe(question(), host=standin.address)
        assert proxy.history == []


async def test_other_servers_responses_are_describe_errors(settings):
    for answer in (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"\x00\x01garbage\r\n",
        b"",
    ):
        server = await asyncio.start_server(lambda reader, writer, a=answer: _answer(reader, writer, a), "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        describer = OllamaDescriber(settings(ollama_hosts=address))
        with pytest.raises(DescribeError):
            await describer.describe(question(), host=address)
        with pytest.raises(DescribeError):
            await describer.prepare(address)
        await describer.close()
        server.close()
        await server.wait_closed()


async def _answer(reader, writer, answer):
    await reader.read(1000)
    writer.write(answer)
    writer.close()


async def test_ollama_describes_for_the_deep_pass(describer):
    assert describer.target_pass is Pass.DEEP
    assert describer.name == "ollama"
