"""Tests of the stand-in for Claude's API itself, by raw HTTP."""

import json
import subprocess
import sys
from base64 import b64encode

import cv2
import httpx
import numpy as np
import pytest

from tests.describe.images import numbered_jpeg, plain_jpeg
from tests.standin_claude import KEY
from tests.waiting import wait_until

HTTP = httpx.Client(trust_env=False, timeout=10, limits=httpx.Limits(max_keepalive_connections=0))
HEADERS = {"x-api-key": KEY, "anthropic-version": "2026-10-21"}


def image(number=7, size=(320, 180), **source):
    data = b64encode(numbered_jpeg(number, size)).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": data} | source}


def body(*content, **changes):
    content = list(content) or [{"type": "text", "text": "Picture F7:"}, image()]
    return {
        "model": "claude-haiku-5-5",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": content}],
    } | changes


def post(claude, given, path="/v1/messages", **headers):
    sent = {name: value for name, value in (HEADERS | headers).items() if value is not None}
    return HTTP.post(f"{claude.address}{path}", json=given, headers=sent)


def refused(response):
    error = response.json()
    assert error["type"] == "error"
    assert error["request_id"]
    return response.status_code, error["error"]["type"], error["error"]["message"]


def test_reply_describes_the_image(claude):
    said = post(claude, body()).json()
    assert "number 7:" in said["content"][-1]["text"]
    assert said["stop_reason"] == "end_turn"
    assert said["usage"]["input_tokens"] >= 12 * 7  # of the image


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"x-api-key": None}, 401, "x-api-key header is required"),
        ({"x-api-key": "sk-wrong"}, 401, "invalid x-api-key"),
        ({"x-api-key": None, "authorization": "Bearer sk-wrong"}, 401, "invalid x-api-key"),
        ({"anthropic-version": None}, 400, "anthropic-version: header is required"),
        ({"anthropic-version": "2020-01-01"}, 400, "is not a valid version"),
        ({"content-type": "text/plain"}, 400, "content-type: must be application/json"),
    ],
)
def test_headers_are_checked(claude, headers, status, said):
    code, _, words = refused(post(claude, body(), **headers))
    assert (code, said in words) == (status, True)
    assert claude.bills == []


def test_bearer_key_is_accepted(claude):
    assert post(claude, body(), **{"x-api-key": None, "authorization": f"Bearer {KEY}"}).status_code == 200


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"model": "claude-2"}, 404, "model: claude-2"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": 128_001}, 400, "which is the maximum"),
        ({"temperature": 0}, 400, "temperature: this parameter is not supported"),
        ({"pictures": []}, 400, "pictures: Extra inputs are not permitted"),
        ({"messages": []}, 400, "at least one message"),
        ({"messages": [{"role": "assistant", "content": "{"}]}, 400, "prefill"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, 400, "thinking.type.enabled"),
        ({"model": "claude-sonnet-5-5", "thinking": {"type": "disabled"}}, 400, "thinking.type.disabled"),
        ({"model": "claude-opus-5-5", "thinking": {"type": "disabled"}}, 400, "thinking.type.disabled"),
        ({"model": "claude-haiku-4-5", "output_config": {"effort": "low"}}, 400, "effort"),
        ({"output_config": {"form": {}}}, 400, "output_config.form"),
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, 400, "additionalProperties"),
        (
            {
                "output_config": {
                    "format": {
                        "type": "json_schema",
                        "schema": SCHEMA
                        | {"additionalProperties": False, "properties": {"a": {"type": "integer", "maximum": 10}}},
                    }
                }
            },
            400,
            "'maximum' is not supported",
        ),
    ],
)
def test_parameters_are_checked(claude, changes, status, said):
    code, _, words = refused(post(claude, body(**changes)))
    assert (code, said in words) == (status, True), words
    assert claude.bills == []


def png():
    return cv2.imencode(".png", np.zeros((20, 20, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([image(media_type="image/bmp")], "media_type"),
        ([image(media_type="image/png")], "appears to be JPEG"),
        ([image(data=b64encode(png()).decode())], "appears to be PNG"),
        ([image(data="no base64!")], "invalid base64 data"),
        ([image(data=b64encode(b"no picture").decode())], "Could not process image"),
        ([image(data="A" * (10 * 1024 * 1024 + 4))], "image exceeds 10 MB"),
        ([image(size=(8001, 16))], "8000 pixels"),
        ([*[image(size=(32, 16))] * 20, image(size=(2001, 16))], "many-image requests: 2000 pixels"),
        ([*[image(size=(32, 16))] * 601], "Too many images: 601"),
        ([{"type": "text", "text": " "}], "non-empty"),
        ([{"type": "video"}], "does not match"),
        ([image(url="https://x")], "takes base64 only"),
    ],
)
def test_images_are_checked(claude, content, said):
    code, kind, words = refused(post(claude, body(*content)))
    assert (code, kind) == (400, "invalid_request_error")
    assert said in words


def test_requests_at_the_limits_are_accepted(claude):
    assert post(claude, body(*[image(size=(2000, 16))] * 21)).status_code == 200
    assert post(claude, body(*[image(size=(8000, 16))] * 20)).status_code == 200
    assert post(claude, body(*[image(size=(32, 16))] * 100, model="claude-haiku-4-5")).status_code == 200
    assert refused(post(claude, body(*[image(size=(32, 16))] * 101, model="claude-haiku-4-5")))[0] == 400


def test_request_above_32_megabytes_is_too_large(claude):
    assert refused(post(claude, body({"type": "text", "text": "a" * 33 * 1024 * 1024})))[:2] == (
        413,
        "request_too_large",
    )


def test_prompt_that_fills_the_context_is_too_long(claude):
    text = {"type": "text", "text": "word " * 150_000}
    assert "prompt is too long" in refused(post(claude, body(text, model="claude-haiku-4-5")))[2]


def test_counting_is_free_and_matches_the_bill(claude):
    given = body()
    del given["max_tokens"]
    counted = post(claude, given, "/v1/messages/count_tokens").json()["input_tokens"]
    assert claude.bills == []
    assert post(claude, body()).json()["usage"]["input_tokens"] == counted
    assert refused(post(claude, body(), "/v1/messages/count_tokens"))[0] == 400  # max_tokens is not one of its fields


def test_thinking_is_billed_as_output(claude):
    quiet = post(claude, body(thinking={"type": "disabled"})).json()
    loud = post(claude, body()).json()
    assert [block["type"] for block in loud["content"]] == ["thinking", "text"]
    assert loud["usage"]["output_tokens"] > quiet["usage"]["output_tokens"]


def test_reply_ends_at_max_tokens(claude):
    said = post(claude, body(max_tokens=3)).json()
    assert said["stop_reason"] == "max_tokens"
    assert len(said["content"][-1]["text"]) == 12


def batch(*requests):
    return {"requests": [{"custom_id": name, "params": params} for name, params in requests]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"requests": []}, "Field required"),
        (batch(("a b", body())), "pattern"),
        (batch(("a" * 65, body())), "pattern"),
        (batch(("a", body()), ("a", body())), "unique"),
    ],
)
def test_batches_are_checked(claude, given, said):
    code, _, words = refused(post(claude, given, "/v1/messages/batches"))
    assert (code, said in words) == (400, True)


def test_bad_request_in_a_batch_fails_alone_at_the_end(claude):
    given = batch(("good", body()), ("bad", body(temperature=1)))
    made = post(claude, given, "/v1/messages/batches").json()
    assert (made["processing_status"], made["results_url"]) == ("in_progress", None)
    assert HTTP.get(f"{claude.address}/v1/messages/batches/{made['id']}/results", headers=HEADERS).status_code == 404
    claude.finish()
    seen = HTTP.get(f"{claude.address}/v1/messages/batches/{made['id']}", headers=HEADERS).json()
    lines = HTTP.get(seen["results_url"], headers=HEADERS).text.splitlines()
    assert [(line["custom_id"], line["result"]["type"]) for line in map(json.loads, lines)] == [
        ("bad", "errored"),
        ("good", "succeeded"),
    ]
    assert len(claude.bills) == 1


def test_batch_ends_by_itself_or_is_cancelled(claude):
    claude.behave(batch_seconds=0.3)
    made = post(claude, batch(("a", body())), "/v1/messages/batches").json()
    where = f"{claude.address}/v1/messages/batches/{made['id']}"
    assert HTTP.get(where, headers=HEADERS).json()["processing_status"] == "in_progress"
    wait_until(lambda: HTTP.get(where, headers=HEADERS).json()["processing_status"] == "ended", "the batch ends")
    claude.behave(batch_seconds=None)
    other = post(claude, batch(("b", body())), "/v1/messages/batches").json()
    stopped = post(claude, {}, f"/v1/messages/batches/{other['id']}/cancel").json()
    assert stopped["request_counts"]["canceled"] == 1
    assert HTTP.get(f"{claude.address}/v1/messages/batches/none", headers=HEADERS).status_code == 404


def test_batches_survive_a_restart(claude):
    made = post(claude, batch(("a", body())), "/v1/messages/batches").json()
    claude.stop()
    claude.start()
    assert HTTP.get(f"{claude.address}/v1/messages/batches/{made['id']}", headers=HEADERS).status_code == 200


def test_image_without_number_is_described_by_colour(claude):
    content = {"type": "image", "source": image()["source"] | {"data": b64encode(plain_jpeg((40, 60, 200))).decode()}}
    assert "blue" in post(claude, body(content)).json()["content"][-1]["text"]


def test_process_prints_its_address_and_is_controlled_over_http(tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "tests.standin_claude"], stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        assert HTTP.post(f"{address}/v1/messages", json=body(), headers=HEADERS).status_code == 200
        assert [bill["labels"] for bill in HTTP.get(f"{address}/standin/bills").json()] == [["F7"]]
        HTTP.post(f"{address}/standin/play", json={"trick": "no credit", "times": 1})
        assert HTTP.post(f"{address}/v1/messages", json=body(), headers=HEADERS).status_code == 402
        assert [seen["status"] for seen in HTTP.get(f"{address}/standin/history").json()] == [200, 402]
        HTTP.post(f"{address}/standin/forget", json={})
        assert HTTP.get(f"{address}/standin/history").json() == []
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
