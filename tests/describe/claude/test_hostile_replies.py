"""Whatever arrives from Claude's API or a gateway, the quick pass gets results or one of our errors, all storable."""

import json
from dataclasses import astuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from enrich.describe.claude import client
from enrich.describe.claude.batches import BatchPart, ClaudeBatches
from enrich.describe.quick.protocol import ReservedRequest
from enrich.errors import CallFailedError, CallTimeoutError, DescribeError
from tests.describe.hostile import BROKEN, NESTED, NUMBERS, assert_storable, short_id
from tests.describe.labelled_images import labelled

USAGE = {"input_tokens": 9, "output_tokens": 9}
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-5-5", "stop_reason": "end_turn",
    "stop_sequence": None, "usage": USAGE, "content": [{"type": "text", "text": ""}],
}  # fmt: skip
WRONG = [None, 7, "x", [], {}, [7], True, 2**70, -1]
GARBAGE = [
    b"",
    b"null",
    b"7",
    b"[]",
    b"{}",
    b'"x"',
    b"\xff",
    *(text.encode("utf-8", "replace") for text in NESTED + BROKEN),
]


class Gateway(ThreadingHTTPServer):
    """A gateway that sends `body` for every request (None: two megabytes, and then nothing more).

    If `batch` is set, it is the answer about a batch, whose results are `body`.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.body, self.batch, self.finished = b"{}", None, Event()

    def handle_error(self, *_):
        """Ignore clients that disconnect."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        gateway = self.server
        about_batch = gateway.batch is not None and not self.path.endswith("/results")
        body = gateway.batch if about_batch else gateway.body
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(10**9 if body is None else len(body)))
        self.end_headers()
        self.wfile.write(b" " * 2_000_000 if body is None else body)
        if body is None:
            gateway.finished.wait(5)

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def gateway(make_quick, monkeypatch):
    server = Gateway()
    thread = Thread(target=server.serve_forever, args=(0.05,), name="everyframe-gateway")
    thread.start()
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.address)
    yield server
    server.finished.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def batch_results(gateway):
    """The gateway, with a batch that has ended."""
    url = f"{gateway.address}/v1/messages/batches/b1/results"
    gateway.batch = json.dumps({"id": "b1", "type": "message_batch", "results_url": url}).encode()
    return gateway


async def asked(quick):
    """The results of one request; [] if it raised one of our errors."""
    try:
        return await quick.ask(labelled(1))
    except DescribeError:
        return []


@pytest.mark.parametrize("value", [*NESTED, *NUMBERS, *BROKEN, '"\\ud800"', '"a\\u0000b"'], ids=short_id)
async def test_hostile_text_gives_a_storable_result(make_quick, gateway, value):
    item = f'{{"label": "F1", "description": {value}, "tags": [{value}], "event_type": {value}, "excitement": {value}}}'
    quick = make_quick()
    for text in (item, f'{{"pictures": [{item}]}}', value, item.replace(value, '"A cake."', 1)):
        gateway.body = json.dumps(MESSAGE | {"content": [{"type": "text", "text": text}]}).encode("utf-8", "replace")
        (result,) = await asked(quick)
        assert_storable(astuple(result))
        assert (result.answer is None) == (result.problem is not None)


@pytest.mark.parametrize("name", [*MESSAGE, *USAGE, "type of block", "text"])
@pytest.mark.parametrize("wrong", WRONG, ids=short_id)
async def test_wrong_types_in_a_message_are_one_of_our_errors(make_quick, gateway, name, wrong):
    changed = {
        "type of block": {"content": [{"type": wrong, "text": "x"}]},
        "text": {"content": [{"type": "text", "text": wrong}]},
    }.get(name, {"usage": USAGE | {name: wrong}} if name in USAGE else {name: wrong})
    gateway.body = json.dumps(MESSAGE | changed).encode()
    for result in await asked(make_quick()):
        assert_storable(astuple(result))


async def test_garbage_from_the_api_is_one_of_our_errors(make_quick, gateway):
    quick = make_quick()
    batches = ClaudeBatches(quick)
    part = BatchPart("a", tuple(labelled(1)))
    for gateway.body in GARBAGE:
        await asked(quick)
        for call in (
            lambda: quick.count(labelled(1)),
            lambda: batches.submit([part], [ReservedRequest("a", 1.0)]),
            lambda: batches.poll("b1"),
            lambda: batches.find(["a"], since=None),
        ):
            with pytest.raises(DescribeError):
                await call()


@pytest.mark.parametrize(
    "wrong", [*WRONG, {"type": "succeeded"}, {"type": "succeeded", "message": [7]}, {"type": "errored"}]
)
async def test_wrong_types_in_one_result_leave_the_other_results(make_quick, batch_results, wrong):
    good = {"type": "succeeded", "message": MESSAGE}
    lines = [
        {"custom_id": "a", "result": wrong},
        wrong,
        {"custom_id": wrong, "result": good},
        {"custom_id": "b", "result": good},
    ]
    batch_results.body = b"\n".join(json.dumps(line).encode() for line in lines)
    weights = {"a": {"F1": 9}, "b": {"F2": 9}}
    results = {name: entries async for name, entries in ClaudeBatches(make_quick()).results("b1", weights)}
    assert list(results) == ["a", "b"]
    assert results["a"][0].problem
    assert results["b"][0].calls[0].prompt_tokens == 9


@pytest.mark.parametrize("body", [NESTED[2].encode(), b"{", b"\xff"], ids=short_id)
async def test_broken_results_of_a_batch_are_one_of_our_errors(make_quick, batch_results, body):
    batch_results.body = body
    batches = ClaudeBatches(make_quick())
    with pytest.raises(CallFailedError, match="could not be read"):
        _ = [line async for line in batches.results("b1", {"a": {"F1": 9}})]


async def test_response_beyond_the_limit_is_not_read(make_quick, batch_results, monkeypatch):
    batch_results.body = None
    batch, batch_results.batch = batch_results.batch, None
    with pytest.raises(CallFailedError, match="Claude sent more than 1 MB"):
        await make_quick().ask(labelled(1))
    batch_results.batch = batch
    monkeypatch.setattr(client, "MAX_BATCH_RESPONSE_BYTES", 1_500_000)
    with pytest.raises(CallFailedError, match=r"Claude sent more than 1\.5 MB"):
        _ = [line async for line in ClaudeBatches(make_quick()).results("b1", {})]


async def test_response_that_does_not_end_has_a_time_limit(make_quick, gateway, monkeypatch):
    gateway.body = None
    monkeypatch.setattr(client, "MAX_RESPONSE_BYTES", 10**9)
    monkeypatch.setattr(client, "RESPONSE_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(CallTimeoutError):
        await make_quick().ask(labelled(1))
