import asyncio
import time

import pytest

from enrich.describe.describer import Image, Pass, Problem, PromptStyle, Question, ReplyWarning
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.describe.prompt import PROMPT_VERSION, prompt_for, reply_schema
from enrich.errors import (
    CallFailedError,
    CallTimeoutError,
    DescribeError,
    HostBusyError,
    HostDownError,
    ModelError,
)
from tests.describe.images import numbered_jpeg, question
from tests.standin import ShelfModel, StandIn, Trick


async def test_a_picture_is_described_truthfully(describer, standin):
    call = await describer.describe(question(421), host=standin.address)
    description, warnings = describer.read(question(421), call)
    assert "Frame number 421" in description.text
    assert "squares" in description.tags
    assert warnings == ()


async def test_a_call_is_booked_with_its_model_tokens_and_times(settings, standin):
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


async def test_the_request_is_what_ollama_wants(settings, standin):
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


async def test_the_context_length_is_sent_with_every_call_and_the_user_may_set_it(settings, standin):
    describer = OllamaDescriber(settings(num_ctx=2048))
    await describer.prepare(standin.address)
    await describer.describe(question(), host=standin.address)
    await describer.describe(question(prompt_style=PromptStyle.PLAIN), host=standin.address)
    await describer.close()
    lengths = [request.body["options"]["num_ctx"] for request in standin.history if request.path == "/api/chat"]
    assert lengths == [2048, 2048, 2048]


async def test_the_users_options_win_over_ours(settings, standin):
    describer = OllamaDescriber(settings(ollama_options={"temperature": 0.7, "num_ctx": 1024}))
    await describer.describe(question(), host=standin.address)
    await describer.close()
    options = standin.chats[0].body["options"]
    assert (options["temperature"], options["num_ctx"]) == (0.7, 1024)


async def test_pictures_are_sent_at_the_size_the_model_sees(settings, standin):
    standin.behave(models=(ShelfModel("llava:13b"), ShelfModel("moondream:latest")))
    for model, edges in (("llava:13b", {}), ("moondream", {}), ("llava:13b", {"llava": 200})):
        describer = OllamaDescriber(settings(picture_edges=edges), model=model)
        await describer.describe(question(9, size=(1024, 576)), host=standin.address)
        await describer.close()
    assert [request.sights[0].width for request in standin.chats] == [672, 378, 200]
    assert standin.described == [9, 9, 9]


async def test_several_pictures_go_into_one_call_in_their_order(describer, standin):
    images = tuple(Image(numbered_jpeg(n), n / 10) for n in (5, 3, 8))
    call = await describer.describe(Question(images), host=standin.address)
    assert standin.chats[0].numbers == (5, 3, 8)
    assert "Frame number 3" in call.raw_reply


async def test_the_plain_manner_sends_no_schema_and_throws_other_dice(describer, standin):
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


async def test_asked_without_the_context_nothing_of_it_is_sent(describer, standin):
    await describer.describe(question(context="Erna", prompt_style=PromptStyle.WITHOUT_CONTEXT), host=standin.address)
    (request,) = standin.chats
    assert "Erna" not in request.prompt
    assert request.body["format"] == reply_schema()


async def test_a_reply_at_the_limit_of_tokens_carries_the_warning(settings, standin):
    describer = OllamaDescriber(settings(num_predict=32))
    call = await describer.describe(question(), host=standin.address)
    assert call.warnings == (ReplyWarning(Problem.CUT_OFF),)
    await describer.close()


async def test_thoughts_beside_an_empty_answer_are_kept_but_are_no_description(describer, standin):
    standin.play(Trick.THINKS)
    call = await describer.describe(question(), host=standin.address)
    assert "Let me think" in call.raw_reply
    assert describer.read(question(), call) == (None, (ReplyWarning(Problem.EMPTY),))


FAILURES = [
    (Trick.DIE, HostDownError, "ollama serve"),
    (Trick.BAD_GATEWAY, HostDownError, "ollama serve"),
    (Trick.BUSY, HostBusyError, "too much to do"),
    (Trick.MISSING, ModelError, "ollama pull llava:13b"),
    (Trick.ERROR, CallFailedError, "runner process has terminated"),
    (Trick.HALF, CallFailedError, "broke off"),
    (Trick.HTML, CallFailedError, "no answer that can be understood"),
    (Trick.BROKEN_JSON, CallFailedError, "no answer that can be understood"),
    (Trick.UNDONE, CallFailedError, "half an answer"),
]


@pytest.mark.parametrize(("trick", "error", "words"), FAILURES)
async def test_whatever_goes_wrong_is_told_in_one_line_as_one_of_our_errors(describer, standin, trick, error, words):
    await describer.prepare(standin.address)
    standin.play(trick, times=1)
    with pytest.raises(error) as raised:
        await describer.describe(question(), host=standin.address)
    assert type(raised.value) is error
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "<" not in str(raised.value)
    assert (await describer.describe(question(), host=standin.address)).raw_reply  # and the next call goes through


async def test_a_host_where_nobody_listens_is_down(describer, standin):
    standin.stop()
    with pytest.raises(HostDownError, match="ollama serve"):
        await describer.describe(question(), host=standin.address)


async def test_a_host_that_stops_in_the_middle_of_a_call_is_down_and_welcome_when_it_is_back(describer, standin):
    await describer.prepare(standin.address)
    standin.behave(delay=5)
    call = asyncio.create_task(describer.describe(question(), host=standin.address))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(standin.stop)
    with pytest.raises(HostDownError):
        await call
    standin.behave(delay=0)
    standin.start()
    assert (await describer.describe(question(), host=standin.address)).raw_reply


async def test_a_host_without_a_route_is_given_up_within_the_limit(settings):
    import socket

    with socket.socket() as full:  # a queue of connections that is full answers like a host that is switched off
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


async def test_a_host_that_hangs_is_left_at_the_limit_of_a_call(settings, standin):
    describer = OllamaDescriber(settings(call_seconds=0.3, load_seconds=30))
    await describer.prepare(standin.address)
    standin.play(Trick.HANG)
    start = time.monotonic()
    with pytest.raises(CallTimeoutError, match=r"0\.3 seconds"):
        await describer.describe(question(), host=standin.address)
    assert 0.25 < time.monotonic() - start < 10
    await describer.close()


async def test_the_first_call_which_loads_the_model_has_the_longer_limit(settings, standin):
    standin.behave(load=0.6)
    describer = OllamaDescriber(settings(call_seconds=0.3, load_seconds=30))
    assert (await describer.describe(question(), host=standin.address)).load_seconds == pytest.approx(0.6)
    await describer.close()


async def test_a_cancelled_call_is_simply_cancelled(describer, standin):
    standin.behave(delay=5)
    call = asyncio.create_task(describer.describe(question(), host=standin.address))
    await asyncio.sleep(0.2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_broken_stored_picture_is_an_error_of_this_call(describer, standin):
    with pytest.raises(CallFailedError, match="no JPEG"):
        await describer.describe(Question((Image(b"nothing", 0),)), host=standin.address)


async def test_several_hosts_are_served_by_one_describer_each_with_its_own_fate(settings, standin):
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


async def test_many_calls_at_once_on_one_host_all_get_their_own_answer(describer, standin):
    standin.behave(parallel=16, delay=0.05)
    calls = await asyncio.gather(*(describer.describe(question(n), host=standin.address) for n in range(40)))
    for number, call in enumerate(calls):
        assert f"Frame number {number}:" in call.raw_reply


async def test_nothing_goes_through_a_proxy(describer, standin, monkeypatch):
    with StandIn() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.address)
        monkeypatch.setenv("ALL_PROXY", proxy.address)
        await describer.describe(question(), host=standin.address)
        assert proxy.history == []


async def test_every_error_is_a_describe_error_even_from_a_server_that_is_no_ollama(settings):
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


async def test_ollama_fills_the_deep_columns(describer):
    assert describer.target_pass is Pass.DEEP
    assert describer.name == "ollama"
