"""Tests of the Ollama stand-in itself."""

import json
import subprocess
import sys
import threading
import time
from base64 import b64encode
from http import HTTPStatus

import httpx
import pytest

from enrich.describe.prompt import reply_schema
from tests.describe.images import numbered_jpeg, plain_jpeg, progressive
from tests.standin import ShelfModel, StandIn, Trick
from tests.standin.sight import read_image
from tests.waiting import wait_until

# No keep-alive, because the servers are restarted.
HTTP = httpx.Client(trust_env=False, timeout=10, limits=httpx.Limits(max_keepalive_connections=0))


def body(number=7, **changes):
    image = b64encode(numbered_jpeg(number)).decode()
    message = {"role": "user", "content": "What is this?", "images": [image]}
    return {"model": "llava:13b", "messages": [message], "stream": False, "format": reply_schema()} | changes


def chat(standin, number=7, **changes):
    return HTTP.post(f"{standin.address}/api/chat", json=body(number, **changes))


def content(response):
    return json.loads(response.json()["message"]["content"])


@pytest.mark.parametrize("size", [(320, 180), (336, 189), (1024, 576), (189, 336), (160, 90)])
def test_number_and_colour_of_a_numbered_image_are_read(size):
    for number in (0, 1, 25, 421, 13_075, 65_535):
        sight = read_image(b64encode(numbered_jpeg(number, size)).decode())
        assert sight.number == number
        assert (sight.width, sight.height) == size


def test_other_images_are_described_by_colour_only():
    for colour, name in [((20, 20, 20), "black"), ((40, 60, 200), "blue"), ((245, 245, 245), "white")]:
        sight = read_image(b64encode(plain_jpeg(colour)).decode())
        assert sight.number is None
        assert name in sight.text


def test_progressive_jpeg_is_read():
    assert read_image(b64encode(progressive(numbered_jpeg(77))).decode()).number == 77


def test_call_takes_exactly_the_given_time(standin):
    standin.behave(delay=0.25)
    times = []
    for number in range(5):
        start = time.monotonic()
        chat(standin, number)
        times.append(time.monotonic() - start)
    assert min(times) >= 0.25
    assert min(times) < 0.3  # the others may have waited for a busy machine


def test_calls_beyond_the_limit_queue_and_then_are_refused(standin):
    standin.behave(delay=1, parallel=2, queue=1)
    answers = []

    def ask(number):
        start = time.monotonic()
        answers.append((chat(standin, number).status_code, time.monotonic() - start))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for place, thread in enumerate(threads, 1):
        thread.start()
        wait_until(lambda place=place: len(standin.history) >= place, "the request has arrived")
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [200, 200, 200, 503]
    assert max(took for _, took in answers) > 1.5


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"model": "nope"}, 404, "not found"),
        ({"format": {"type": 5}}, 500, "invalid JSON schema"),
        ({"options": {"num_predict": "a"}}, 500, "must be of type integer"),
        ({"options": {"num_predictx": 5}}, 400, "unknown option"),
        ({"bogus": 1}, 400, "unknown fields"),
        ({"think": True}, 400, "does not support thinking"),
        ({"messages": [{"role": "user", "content": "x", "images": ["!!"]}]}, 400, "illegal base64"),
        ({"messages": [{"role": "user", "content": "x", "images": ["bm90anBlZw=="]}]}, 500, "embedding from image"),
    ],
)
def test_stand_in_refuses_what_ollama_refuses(standin, changes, status, words):
    response = chat(standin, **changes)
    assert response.status_code == status
    assert words in response.json()["error"]


def test_every_request_is_recorded_with_its_numbers(standin):
    chat(standin, 5)
    chat(standin, 6, options={"num_predict": 1})
    chat(standin, 7, model="nope")
    assert [request.numbers for request in standin.history] == [(5,), (6,), (7,)]
    assert [request.status for request in standin.history] == [200, 200, 404]
    assert standin.described == [5]


def test_trick_applies_to_given_images_and_times_only(standin):
    standin.play(Trick.ERROR, frames=[6], times=2)
    assert [chat(standin, number).status_code for number in (5, 6, 6, 6)] == [200, 500, 500, 200]


def test_calm_releases_a_hanging_call(standin):
    standin.play(Trick.HANG)
    threading.Timer(0.3, standin.calm).start()
    with pytest.raises(httpx.RemoteProtocolError):
        chat(standin)
    assert chat(standin).status_code == 200


def test_restart_keeps_the_port(standin):
    address = standin.address
    chat(standin)
    standin.stop()
    with pytest.raises(httpx.ConnectError):
        chat(standin)
    standin.start()
    assert standin.address == address
    assert chat(standin).status_code == 200


def test_reply_has_the_schemas_fields_and_is_true(standin):
    reply = content(chat(standin, 25))
    assert set(reply) == set(reply_schema()["properties"])
    assert "25" in reply["text"]
    assert "blue" in reply["tags"]


@pytest.fixture(scope="module")
def process():
    command = [sys.executable, "-m", "tests.standin", "--delay", "0.05", "--parallel", "4", "--model", "llava:7b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        address = started.stdout.readline().strip()
        yield address
        started.terminate()
        assert started.wait(30) == 0


def test_process_is_controlled_over_http(process):
    def post(path, payload):
        return HTTP.post(f"{process}{path}", json=payload)

    assert "11" in content(post("/api/chat", body(11, model="llava:7b")))["text"]
    assert post("/standin/play", {"trick": "error", "frames": [3]}).status_code == 200
    assert post("/api/chat", body(3, model="llava:7b")).status_code == 500
    post("/standin/calm", {})
    post("/standin/behave", {"delay": 0.3})
    start = time.monotonic()
    assert post("/api/chat", body(3, model="llava:7b")).status_code == 200
    assert time.monotonic() - start >= 0.3
    history = HTTP.get(f"{process}/standin/history").json()
    assert [entry["numbers"] for entry in history] == [[11], [3], [3]]


def test_process_can_refuse_connections_for_a_while(process):
    def answer():
        """The status of the response, or the type of the error."""
        try:
            return HTTP.get(f"{process}/api/version").status_code
        except httpx.TransportError as error:
            return type(error)

    HTTP.post(f"{process}/standin/refuse", json={"seconds": 1.0})
    wait_until(lambda: answer() is httpx.ConnectError, "it refuses connections")
    wait_until(lambda: answer() == HTTPStatus.OK, "it accepts them again")


def test_known_model_can_be_pulled(standin):
    with StandIn(pullable=("moondream:latest",), models=(ShelfModel(),)) as other:
        lines = HTTP.post(f"{other.address}/api/pull", json={"model": "moondream"}).text.splitlines()
        assert json.loads(lines[-1]) == {"status": "success"}
        assert "moondream:latest" in HTTP.get(f"{other.address}/api/tags").text
