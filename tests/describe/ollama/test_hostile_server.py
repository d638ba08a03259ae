"""Whatever a server sends, a call ends soon, in little memory, with one of our errors or a reply that can be stored."""

import asyncio
import gzip
import json
import time
import tracemalloc
from contextlib import suppress
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from enrich.describe.describer import Problem, ReplyWarning
from enrich.describe.ollama import client
from enrich.describe.ollama.client import MAX_RESPONSE_BYTES, ResponseStatusError
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.describe.reply import MAX_REPLY_CHARACTERS
from enrich.errors import CallFailedError, CallTimeoutError, DescribeError, HostBusyError, ModelError
from enrich.settings import load_settings
from tests.describe.hostile import BROKEN, NESTED, NUMBERS, VALUES, assert_storable, short_id
from tests.describe.images import question
from tests.describe.ollama.raw_server import CHAT, GOOD, MODEL, header, raw_server

QUESTION = question()
WRONG = [None, 7, "x", [], {}, [7], [[]], True, "9" * 400, 2**70, -1, float("nan")]
GARBAGE = [
    b"",
    b"null",
    b"7",
    b"[]",
    b"{}",
    b'"x"',
    b"\xff\xfe\x00",
    b"<html>",
    *(text.encode("utf-8", "replace") for text in NESTED + BROKEN),
]


@pytest.fixture
async def server():
    async with raw_server() as made:
        yield made


@pytest.fixture
async def asked(server, tmp_path):
    """A describer of the server."""
    settings = load_settings(
        home=tmp_path, ollama_hosts=server.address, model="llava:13b", call_seconds=3, load_seconds=3
    )
    made = OllamaDescriber(settings)
    yield made
    await made.close()


async def outcomes(describer, host):
    """What each method returns; None where it raised one of our errors. Any other error ends the test."""
    results = []
    for call in (describer.prepare, describer.check, describer.installed):
        results.append(None)
        with suppress(DescribeError):
            results[-1] = await call(host)
    results.append(None)
    with suppress(DescribeError):
        results[-1] = await describer.describe(QUESTION, host=host)
    return results


@pytest.mark.parametrize("path", GOOD)
async def test_garbage_is_one_of_our_errors(server, asked, path):
    for body in GARBAGE:
        server.answers[path] = body
        for result in await outcomes(asked, server.address):
            assert_storable(astuple(result) if hasattr(result, "__slots__") else "")
    with suppress(DescribeError):
        _ = [part async for part in asked.pull(server.address, "llava:13b")]


@pytest.mark.parametrize("path", ["/api/tags", "/api/ps", "/api/show"])
@pytest.mark.parametrize("wrong", WRONG, ids=short_id)
async def test_wrong_types_in_lists_of_models_count_as_not_said(server, asked, path, wrong):
    known = GOOD[path]
    server.answers[path] = json.dumps(dict.fromkeys(known, wrong)).encode()
    await outcomes(asked, server.address)
    if path == "/api/show":
        return
    for name in MODEL:
        server.answers[path] = json.dumps({"models": [wrong, MODEL | {name: wrong}, MODEL]}).encode()
        result = (await outcomes(asked, server.address))[3]
        assert result.raw_reply
        assert_storable(astuple(result))


@pytest.mark.parametrize(
    "name", ["message", "content", "thinking", "done", "done_reason", "eval_count", "load_duration"]
)
@pytest.mark.parametrize("wrong", WRONG, ids=short_id)
async def test_wrong_types_in_a_reply_fail_only_its_call(server, asked, name, wrong):
    inner = name in ("content", "thinking")
    reply = CHAT | {"message": CHAT["message"] | {name: wrong}} if inner else CHAT | {name: wrong}
    server.answers["/api/chat"] = json.dumps(reply).encode()
    try:
        call = await asked.describe(QUESTION, host=server.address)
    except CallFailedError:
        pass
    else:
        assert_storable(astuple(call))
        assert call.load_seconds <= call.latency_seconds
        asked.read(QUESTION, call)
    server.answers.clear()
    assert (await asked.describe(QUESTION, host=server.address)).raw_reply


@pytest.mark.parametrize("number", NUMBERS, ids=short_id)
async def test_numbers_no_database_holds_are_unknown(server, asked, number):
    reply = (
        json.dumps(CHAT)[:-1] + f', "eval_count": {number}, "prompt_eval_count": {number}, "load_duration": {number}}}'
    )
    server.answers["/api/chat"] = reply.encode()
    with suppress(CallFailedError):
        assert_storable(astuple(await asked.describe(QUESTION, host=server.address)))


@pytest.mark.parametrize("content", ["A\x00 man", "\ud800 A man", json.dumps({"text": "\udfff A man"})])
async def test_texts_are_storable_where_they_enter(server, asked, content):
    server.answers["/api/chat"] = json.dumps(CHAT | {"message": {"role": "assistant", "content": content}}).encode()
    call = await asked.describe(QUESTION, host=server.address)
    assert_storable(astuple(call))
    description, _ = asked.read(QUESTION, call)
    assert_storable(astuple(description))
    assert description.text.endswith("man")


async def test_long_reply_is_cut_and_flagged(server, asked):
    said = {"role": "assistant", "content": "A man walks. " * 20_000}
    server.answers["/api/chat"] = json.dumps(CHAT | {"message": said}).encode()
    call = await asked.describe(QUESTION, host=server.address)
    assert len(call.raw_reply) == MAX_REPLY_CHARACTERS
    assert ReplyWarning(Problem.CUT_OFF) in call.warnings


async def endless(writer):
    """A response that does not end."""
    writer.write(header("Transfer-Encoding: chunked"))
    for _ in range(4_000):
        writer.write(b"10000\r\n" + b"," * 65536 + b"\r\n")
        await writer.drain()


async def drip(writer):
    """A response that comes a byte at a time."""
    writer.write(header("Transfer-Encoding: chunked"))
    while not writer.is_closing():
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def compressed(writer):
    """A small response that would become a gigabyte."""
    body = gzip.compress(b"," * 10_000_000)
    writer.write(header(f"Content-Length: {len(body)}", "Content-Encoding: gzip") + body)
    await writer.drain()


async def page_of_angle_brackets(writer):
    """An error whose page is slow to search for a message."""
    body = b"<" * 900_000
    writer.write(header(f"Content-Length: {len(body)}", status=500) + body)
    await writer.drain()


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("answer", [endless, compressed, page_of_angle_brackets, b"[" + b"," * 990_000])
async def test_huge_responses_end_soon_and_take_little_memory(server, asked, path, answer):
    server.answers[path] = answer
    start = time.process_time()
    tracemalloc.start()
    try:
        await outcomes(asked, server.address)
        assert tracemalloc.get_traced_memory()[1] < 20 * MAX_RESPONSE_BYTES
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 5


async def test_reply_beyond_the_limit_is_a_failed_call(server, asked):
    server.answers["/api/chat"] = endless
    with pytest.raises(CallFailedError, match=r"sent more than 1 MB$"):
        await asked.describe(QUESTION, host=server.address)
    server.answers["/api/chat"] = compressed
    with pytest.raises(CallFailedError, match="compressed response"):
        await asked.describe(QUESTION, host=server.address)


async def test_dripping_reply_ends_at_the_call_limit(server, asked):
    server.answers["/api/chat"] = drip
    with pytest.raises(CallTimeoutError, match="within 3 seconds"):
        await asked.describe(QUESTION, host=server.address)


async def test_dripping_list_of_models_ends_at_its_limit(server, asked):
    host = client.OllamaHost(server.address, connect_seconds=2)
    server.answers["/api/tags"] = drip
    with pytest.raises(CallTimeoutError, match=r"within 0\.3 seconds"):
        await host.get("/api/tags", seconds=0.3)
    with pytest.raises(CallTimeoutError):
        _ = [part async for part in host.lines("/api/tags", {}, max_gap=0.3)]
    server.answers["/api/tags"] = endless
    with pytest.raises(CallFailedError, match="a line of more than 1 MB"):
        _ = [part async for part in host.lines("/api/tags", {}, max_gap=3)]
    await host.close()


@pytest.mark.parametrize(
    "body", [b"[]", b"7", b'{"error": {"a": [7]}}', b"{", b"\xff", b"[" * 9999, b'{"error": null}', b""]
)
async def test_status_counts_whatever_its_body_holds(server, asked, body):
    for status, error in ((503, HostBusyError), (500, ResponseStatusError), (403, ModelError)):

        async def refuse(writer, status=status):
            writer.write(header(f"Content-Length: {len(body)}", status=status) + body)
            await writer.drain()

        server.answers["/api/chat"] = refuse
        with pytest.raises(error):
            await asked.describe(QUESTION, host=server.address)


@hypothesis_settings(max_examples=8, deadline=None)
@given(
    st.dictionaries(st.sampled_from(list(GOOD)), VALUES | st.fixed_dictionaries({"models": VALUES, "message": VALUES}))
)
def test_any_json_from_any_endpoint_is_one_of_our_errors(answers):
    async def ask():
        async with raw_server() as server:
            server.answers |= {path: json.dumps(value).encode() for path, value in answers.items()}
            describer = OllamaDescriber(load_settings(ollama_hosts=server.address, model="llava:13b", call_seconds=5))
            for result in await outcomes(describer, server.address):
                assert_storable(astuple(result) if hasattr(result, "__slots__") else "")
            await describer.close()

    asyncio.run(ask())
