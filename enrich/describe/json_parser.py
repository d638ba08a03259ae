"""Parses JSON from a model or a server, neither of which can be trusted: within limits, into values that can be stored.

Guarantees, whatever the text: the only error is ValueError; time and memory are linear in its length; values are nested
at most MAX_DEPTH deep, so that code may recurse over them; texts can be stored (see `storable`); a number that the
database cannot hold (NaN, infinite, or an integer beyond 64 bits) is None. The caller limits the length.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 32
MAX_INTEGER = 2**63 - 1
MAX_INTEGER_DIGITS = 19
MAX_TOKENS = 10_000_000  # of one call; no context window is as large, and the database's column holds 32 bits
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def storable(text: str) -> str:
    """The text without what databases and files reject: lone surrogates, and control characters but white space."""
    return CONTROL_CHARACTERS.sub(" ", text.encode("utf-8", "replace").decode())


def parse_json(text: str) -> Any:
    """The value of a JSON text; line breaks in strings are accepted. Raises ValueError."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:  # at about a thousand levels
        raise _too_deep() from None
    return _storable_value(value)


def objects_in(text: str, *, attempts: int) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text with other words around them. Gives up after `attempts` braces that begin none."""
    place = text.find("{")
    while place >= 0 and attempts > 0:
        end = place + 1
        try:
            value, end = _DECODER.raw_decode(text, place)
            yield _storable_value(value)
        except (ValueError, RecursionError):
            attempts -= 1
        place = text.find("{", end)


def token_count(value: Any) -> int | None:
    """A number of tokens as a server reports it; None if it is not a credible number."""
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def _integer(digits: str) -> int | None:
    value = int(digits) if len(digits) <= MAX_INTEGER_DIGITS + 1 else None
    return value if value is not None and -MAX_INTEGER <= value <= MAX_INTEGER else None


def _number(digits: str) -> float | None:
    value = float(digits)
    return value if abs(value) < float("inf") else None


_DECODER = json.JSONDecoder(strict=False, parse_int=_integer, parse_float=_number, parse_constant=lambda _: None)


def _storable_value(value: Any, levels: int = MAX_DEPTH) -> Any:
    """The value with storable texts. Raises ValueError if it is nested deeper than this many levels."""
    if isinstance(value, str):
        return storable(value)
    if not isinstance(value, (list, dict)):
        return value
    if levels == 0:
        raise _too_deep()
    if isinstance(value, list):
        return [_storable_value(part, levels - 1) for part in value]
    return {storable(name): _storable_value(part, levels - 1) for name, part in value.items()}


def _too_deep() -> ValueError:
    return ValueError(f"JSON is nested more than {MAX_DEPTH} levels deep")
