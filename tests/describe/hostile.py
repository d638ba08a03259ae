"""Hostile JSON and texts for tests, and what of them can be stored."""

import json
from typing import Any

from hypothesis import strategies as st

MAX_INTEGER = 2**63 - 1
NESTED = [
    left * depth + right * depth for left, right in (("[", "]"), ('{"a":', "1}")) for depth in (31, 330, 990, 5000)
]
NUMBERS = ["9" * 400, "-" + "9" * 5000, str(2**63), "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "0.1e-400"]
BROKEN = [
    '{"text": ' + "[" * 900,
    "[" * 400,
    "{]}",
    '"',
    '{"a":' * 600,
    '{"text": "\\ud800"}',
    "\x00",
    "\ud800",
]
LEAVES = (
    st.none() | st.booleans() | st.floats() | st.integers() | st.integers(10**18, 10**400) | st.text()
    | st.sampled_from(["\ud800", "\x00", "null", "NaN", "<unused50>", "<|im_end|>", "a man walks"])
)  # fmt: skip
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


def replies(names: list[str]) -> st.SearchStrategy[str]:
    """Texts of replies: objects with these names and any values, whole or cut off; deep, huge or repeated ones."""
    objects = st.dictionaries(st.sampled_from(names), VALUES, max_size=6).map(json.dumps)
    cut = st.builds(lambda text, share: text[: int(len(text) * share)], objects, st.floats(0, 1))
    deep = st.builds(
        lambda name, depth: json.dumps({name: 0}).replace("0", "[" * depth + "]" * depth),
        st.sampled_from(names),
        st.integers(1, 2000),
    )
    repeated = st.builds(
        lambda part, times: part * times,
        st.sampled_from([*',{}[]":\\ \n*<`', "[,", '{"a":', "```", "<think>", "tags:"]),
        st.integers(1, 3000),
    )
    huge = st.builds(lambda name, digits: f'{{"{name}": {"9" * digits}}}', st.sampled_from(names), st.integers(1, 6000))
    wrapped = st.builds("{}{}{}".format, st.text(), objects, st.text())
    return st.one_of(
        objects,
        cut,
        deep,
        repeated,
        huge,
        wrapped,
        st.text(st.characters()),
        st.sampled_from(NESTED + NUMBERS + BROKEN),
    )


def assert_storable(value: Any) -> None:
    """A value that SQLite and PostgreSQL can store, at any depth that code may recurse over."""
    if isinstance(value, str):
        value.encode()
        assert "\x00" not in value
    elif isinstance(value, int):
        assert abs(value) <= MAX_INTEGER
    elif isinstance(value, float):
        assert abs(value) < float("inf")
    elif isinstance(value, dict):
        for name, part in value.items():
            assert_storable(name)
            assert_storable(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            assert_storable(part)


def short_id(value: Any) -> str:
    """A readable part of a test's id, whatever the value."""
    return ascii(value)[:24]
