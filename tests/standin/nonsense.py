"""Nonsense replies: everything a model or a server has been seen to send instead of a description, and worse.

Each kind takes the good reply and returns the bytes of a response. A kind whose name is in `TRUTHFUL` carries the true
description in a form that can be read; all others contain no usable word.
"""

import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

Good = dict[str, Any]  # the envelope of a good reply; its content is the JSON of a description
Builder = Callable[[Good, str, random.Random], bytes]

LONG_COMMAS = 1_500_000
LONG_BYTES = 4_000_000
CHUNK_BYTES = 64_000
RARE = 0.05  # the weight of a kind that takes seconds to send or to read, relative to the others
TRUTHFUL = frozenset(
    (
        "huge counts", "odd counts", "wrong counts", "thinking", "control characters", "lone surrogate", "stray tokens",
        "deep envelope",
    )
)  # fmt: skip


def _with_content(good: Good, content: str, **more: Any) -> bytes:
    return _dumped(good | more | {"message": good["message"] | {"content": content}})


def _dumped(reply: Any) -> bytes:
    return json.dumps(reply).encode()


def _description(good: Good) -> dict[str, Any]:
    content = good["message"]["content"]
    return dict(json.loads(content)) if content.startswith("{") else {"text": content, "tags": []}


def _nested_list(good: Good, _: str, rng: random.Random) -> bytes:
    depth = rng.randrange(200, 1200)
    return _with_content(good, '{"text": ' + "[" * depth + "]" * depth + "}")


def _nested_object(good: Good, _: str, rng: random.Random) -> bytes:
    depth = rng.randrange(200, 1200)
    return _with_content(good, '{"":' * depth + "0" + "}" * depth)


def _nested_tags(good: Good, _: str, rng: random.Random) -> bytes:
    depth = rng.randrange(200, 1200)
    return _with_content(good, '{"text": null, "tags": ' + "[" * depth + "]" * depth + "}")


def _cut_off_list(good: Good, _: str, rng: random.Random) -> bytes:
    return _with_content(good, '{"text": ' + "[" * rng.choice((5, 400, 900, 2000)), done_reason="length")


def _cut_off(good: Good, _: str, __: random.Random) -> bytes:
    return _with_content(good, '{"text": "', done_reason="length")


def _deep_envelope(good: Good, _: str, rng: random.Random) -> bytes:
    depth = rng.randrange(300, 3000)
    return _dumped(good)[:-1] + b', "more": ' + b"[" * depth + b"]" * depth + b"}"


def _commas(good: Good, _: str, rng: random.Random) -> bytes:
    return _with_content(good, "{" + "," * rng.randrange(1000, 20_000))


def _long_commas(good: Good, _: str, __: random.Random) -> bytes:
    return _with_content(good, "{" + "," * LONG_COMMAS)


def _long_integer(good: Good, _: str, rng: random.Random) -> bytes:
    return _with_content(good, '{"text": null, "tags": ' + "9" * rng.choice((20, 400, 5000)) + "}")


def _not_a_number(good: Good, _: str, rng: random.Random) -> bytes:
    value = rng.choice(("NaN", "-Infinity", "1e999", "null", "true", "{}", "[]", "-0.0e-999"))
    return _with_content(good, f'{{"text": {value}, "tags": [{value}]}}')


def _wrong_types(good: Good, _: str, __: random.Random) -> bytes:
    return _with_content(good, '{"text": {"": [{"": {}}]}, "tags": {"": null}, "objects": [[[]]], "people": [{}]}')


def _special_tokens(good: Good, _: str, rng: random.Random) -> bytes:
    token = rng.choice(("<unused50>", "<pad>", "<|im_end|>", "<s>", "<0x0A>", "<|endoftext|>"))
    content = token * rng.randrange(1, 90)
    return _with_content(good, rng.choice((content, json.dumps({"text": content, "tags": [token]}))))


def _stray_tokens(good: Good, _: str, __: random.Random) -> bytes:
    return _with_content(good, f"<|im_start|>{good['message']['content']}<|im_end|><unused1>")


def _prompt_echo(good: Good, prompt: str, __: random.Random) -> bytes:
    return _with_content(good, prompt)


def _empty(good: Good, _: str, rng: random.Random) -> bytes:
    return _with_content(good, rng.choice(("", " \n\t" * 50, "{}", "[]", "null", '""', "```json\n```", '{"text": ""}')))


def _control_characters(good: Good, _: str, __: random.Random) -> bytes:
    description = _description(good)
    return _with_content(good, json.dumps(description | {"text": f"\x00\x1b[31m {description['text']}\x00 \u202e"}))


def _lone_surrogate(good: Good, _: str, __: random.Random) -> bytes:
    description = _description(good)
    return _with_content(good, json.dumps(description | {"text": f"{description['text']} \ud800", "tags": ["\udfff"]}))


def _thinking(good: Good, _: str, __: random.Random) -> bytes:
    return _dumped(good | {"message": {"role": "assistant", "content": "", "thinking": good["message"]["content"]}})


def _huge_counts(good: Good, _: str, rng: random.Random) -> bytes:
    huge = 10 ** rng.choice((19, 30, 400))
    names = ("eval_count", "prompt_eval_count", "load_duration", "total_duration", "eval_duration")
    return _dumped(good | dict.fromkeys(names, huge))


def _odd_counts(good: Good, _: str, rng: random.Random) -> bytes:
    return _dumped(good | {"eval_count": rng.choice((-1, None, 0)), "load_duration": rng.choice((-(10**18), None, 0))})


def _wrong_counts(good: Good, _: str, rng: random.Random) -> bytes:
    return _dumped(good | {"eval_count": rng.choice(("many", [], {}, math.nan, math.inf, True))})


def _wrong_envelope(good: Good, _: str, rng: random.Random) -> bytes:
    wrong: list[Any] = [
        [], "", 7, None, math.nan, {}, [{}], {"response": "x"}, {"error": {"message": "x"}},
        {"done": True, "message": None}, {"done": True, "message": []}, {"done": True, "message": {"content": 7}},
        {"done": True, "message": {"role": 5, "content": None}}, {"done": "yes", "message": {"content": {}}},
    ]  # fmt: skip
    return _dumped(rng.choice(wrong))


def _not_text(_: Good, __: str, rng: random.Random) -> bytes:
    return rng.choice((b"\xff\xfe\x00\x01" * 50, b"", b"<html><h1>502</h1></html>", b"\x00", b'{"message": {"con'))


def _long_text(good: Good, _: str, __: random.Random) -> bytes:
    return _with_content(good, json.dumps({"text": "\n" * LONG_BYTES}))


NONSENSE: dict[str, tuple[Builder, float]] = {
    "nested list": (_nested_list, 1),
    "nested object": (_nested_object, 1),
    "nested tags": (_nested_tags, 1),
    "cut-off list": (_cut_off_list, 1),
    "cut off": (_cut_off, 1),
    "deep envelope": (_deep_envelope, 1),
    "commas": (_commas, 1),
    "long commas": (_long_commas, RARE),
    "long integer": (_long_integer, 1),
    "not a number": (_not_a_number, 1),
    "wrong types": (_wrong_types, 1),
    "special tokens": (_special_tokens, 1),
    "stray tokens": (_stray_tokens, 1),
    "prompt echo": (_prompt_echo, 1),
    "empty": (_empty, 1),
    "control characters": (_control_characters, 1),
    "lone surrogate": (_lone_surrogate, 1),
    "thinking": (_thinking, 1),
    "huge counts": (_huge_counts, 1),
    "odd counts": (_odd_counts, 1),
    "wrong counts": (_wrong_counts, 1),
    "wrong envelope": (_wrong_envelope, 1),
    "not text": (_not_text, 1),
    "long text": (_long_text, RARE),
}


def kind_for(seed: int, number: int, share: float, kinds: tuple[str, ...] = tuple(NONSENSE)) -> str | None:
    """The kind of nonsense with which the first reply about an image is replaced; None: it is good."""
    rng = random.Random(f"{seed} {number}")
    if rng.random() >= share:
        return None
    return rng.choices(kinds, [NONSENSE[kind][1] for kind in kinds])[0]


def nonsense(kind: str, good: bytes, prompt: str, *, seed: int) -> bytes:
    """The response of a kind."""
    builder, _ = NONSENSE[kind]
    return builder(json.loads(good), prompt, random.Random(seed))


def chunks(payload: bytes) -> Iterator[bytes]:
    """The payload in the chunked transfer encoding."""
    for start in range(0, len(payload), CHUNK_BYTES):
        part = payload[start : start + CHUNK_BYTES]
        yield f"{len(part):x}\r\n".encode() + part + b"\r\n"
    yield b"0\r\n\r\n"
