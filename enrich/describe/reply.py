"""Parses a model's reply into a description and its warnings.

Tolerant: no reply makes it raise. What can be understood is kept, and warnings say what is wrong with it.
"""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from enrich.describe.describer import Call, Description, Problem, PromptStyle, Question, ReplyWarning
from enrich.describe.json_parser import MAX_DEPTH, objects_in, parse_json, storable
from enrich.describe.names import names_in, names_used
from enrich.describe.prompt import FIELDS, LIST_FIELDS, TEXT_FIELDS, prompt_for
from enrich.describe.reply_checks import (
    has_words,
    is_placeholder,
    is_prompt_echo,
    is_repetitive,
    leaks_prompt,
    opens_chat_turn,
    without_special_tokens,
)

MAX_REPLY_CHARACTERS = 64_000  # far beyond any description; what follows is cut off before parsing and storing
MAX_TERMS = 20
MAX_TERM_CHARACTERS = 60
MAX_COMPLETIONS = 40
MAX_ATTEMPTS = 20  # at reading JSON between other words
MIN_WORDS = 3
MAX_TEXT_CHARACTERS = 4_000
MAX_DETAIL_CHARACTERS = 600
# The prompt's names and meanings of the fields, in the parts that a list of terms is split into.
FIELD_WORDS = frozenset((*FIELDS, *(part.strip() for meaning in FIELDS.values() for part in meaning.split(","))))
TEXT_NAMES = ("text", "description", "caption", "summary")
JSON_TYPES = frozenset(("string", "number", "integer", "boolean", "array", "object", "null"))
THINKING = re.compile(r"<(think|thinking|thought)>(.*?)(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"```[a-zA-Z]*\s*+(.*?)(?:```|\Z)", re.DOTALL)
JSON_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)
COMPLETE_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
PARTIAL_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
TAGS_LABEL = re.compile(r"tags?[*_]*[ \t]*:[*_]*", re.IGNORECASE)
TEXT_LABEL = re.compile(r"\W*(?:text|description)\W*:\s*\"?", re.IGNORECASE)


def plain_line(value: Any) -> str:
    """Any JSON value as one line of text. Placeholders, fragments of a JSON schema and special tokens are nothing."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, Mapping):
        return "" if _is_schema(value) else ", ".join(part for part in map(plain_line, value.values()) if part)
    if isinstance(value, (list, tuple)):
        return ", ".join(part for part in map(plain_line, value) if part)
    text = " ".join(without_special_tokens(storable(str(value))).split())
    return "" if is_placeholder(text) else text


def _terms(value: Any) -> list[str]:
    """Any JSON value as a list of terms."""
    if isinstance(value, Mapping):
        if _is_schema(value):
            return []
        named = value.get("name") or value.get("label")
        return [plain_line(named)] if named else [plain_line(part) for part in value.values()]
    if isinstance(value, (list, tuple)):
        return [term for part in value for term in _terms(part)]
    return re.split(r"[,;\n]", "" if value is None or isinstance(value, bool) else str(value))


def _is_schema(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a fragment of a JSON schema, which a model may repeat instead of an answer."""
    kind = value.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return bool(kinds) and all(isinstance(one, str) and one in JSON_TYPES for one in kinds)


def normal_terms(value: Any) -> tuple[str, ...]:
    """Any JSON value as search terms: lower case, without duplicates or overlong terms."""
    terms: dict[str, None] = {}
    for raw in _terms(value):
        term = plain_line(raw).lower().strip(" #*\"'`\u201c\u201d\u201e\u00ab\u00bb.-\u2013\u2022\u00b7")
        if term and not is_placeholder(term) and term not in FIELD_WORDS and len(term) <= MAX_TERM_CHARACTERS:
            terms[term] = None
    return tuple(terms)[:MAX_TERMS]


Text = Annotated[str, BeforeValidator(lambda value: plain_line(value)[:MAX_TEXT_CHARACTERS].strip())]
Detail = Annotated[str, BeforeValidator(lambda value: plain_line(value)[:MAX_DETAIL_CHARACTERS].strip())]
Terms = Annotated[tuple[str, ...], BeforeValidator(normal_terms)]


class Reply(BaseModel):
    """A reply's JSON object. Other names and types of fields are accepted where their meaning is clear."""

    model_config = ConfigDict(extra="ignore")

    text: Text = Field("", validation_alias=AliasChoices("text", "description", "caption", "summary"))
    tags: Terms = Field((), validation_alias=AliasChoices("tags", "keywords"))
    objects: Terms = ()
    people: Detail = ""
    activity: Detail = Field("", validation_alias=AliasChoices("activity", "activities", "action", "actions"))
    mood: Detail = ""
    setting: Detail = Field("", validation_alias=AliasChoices("setting", "place", "location"))
    visible_text: Detail = Field("", validation_alias=AliasChoices("visible_text", "visible text"))


def read_reply(question: Question, call: Call) -> tuple[Description | None, tuple[ReplyWarning, ...]]:
    """Parse a call's reply: the description (None: no text at all) and all warnings, including the host's."""
    cut_off = any(warning.problem is Problem.CUT_OFF for warning in call.warnings)
    raw = answer_in(call.raw_reply)
    text = without_special_tokens(raw).strip()
    found, is_json = _description(text, plain=question.prompt_style is PromptStyle.PLAIN)
    own = _without_echoes(found, question)
    description = own if own.text else replace(own, text=_text_of_details(own))
    warnings = list(call.warnings)
    if not has_words(description.text):
        warnings.append(ReplyWarning(Problem.EMPTY))
        return None, tuple(warnings)
    if not (is_json and found.text) and not cut_off and question.prompt_style is not PromptStyle.PLAIN:
        warnings.append(ReplyWarning(Problem.NOT_JSON))
    if is_repetitive(text):
        warnings.append(ReplyWarning(Problem.REPEATS))
    prompt = prompt_for(replace(question, request=""))  # an answer may repeat the words of the user's request
    if leaks_prompt(found.text, found.tags + found.objects, prompt) or opens_chat_turn(raw):
        warnings.append(ReplyWarning(Problem.LEAKS_PROMPT))
    warnings += [ReplyWarning(Problem.CONTEXT_NAME, name) for name in names_from_context(question, description)]
    return description, tuple(warnings)


def answer_in(raw_reply: str) -> str:
    """The part of a stored reply that answers: what follows its thinking, or else a JSON object in its thinking."""
    whole = storable(raw_reply)
    answer = THINKING.sub("", whole).strip()
    if answer:
        return answer[:MAX_REPLY_CHARACTERS]
    thoughts = "\n".join(match.group(2)[:MAX_REPLY_CHARACTERS] for match in THINKING.finditer(whole))
    described = last_description(thoughts)
    return json.dumps(described, ensure_ascii=False) if described is not None else ""


def last_description(text: str) -> dict[str, Any] | None:
    """The last JSON object with a description among other words; None if there is none."""
    objects = objects_in(text, attempts=MAX_ATTEMPTS)
    described = (value for value in objects if any(plain_line(value.get(name)) for name in TEXT_NAMES))
    return next(iter(deque(described, maxlen=1)), None)


def names_from_context(question: Question, description: Description) -> tuple[str, ...]:
    """Names in the description that come from the context or the request and are not legible in the image."""
    names = names_in(f"{question.context}\n{question.request}", question.language)
    texts = (
        description.text,
        *description.tags,
        *description.objects,
        description.people,
        description.activity,
        description.mood,
        description.setting,
    )
    legible = names_used(names, [description.visible_text, description.visible_text.lower()])
    return tuple(name for name in names_used(names, texts) if name not in legible)


def _without_echoes(found: Description, question: Question) -> Description:
    """The description without what only repeats the prompt, or has no words."""
    prompt = prompt_for(question)
    wording = prompt_for(
        replace(
            question, context=question.context and "…", request=question.request and "…", event=question.event and "…"
        )
    )

    def own(text: str) -> str:
        return "" if text.casefold() in FIELDS or is_prompt_echo(text, prompt, wording) else text

    own_parts: dict[str, Any] = {name: own(getattr(found, name)) for name in TEXT_FIELDS}
    own_parts |= {name: tuple(filter(own, getattr(found, name))) for name in LIST_FIELDS}
    return replace(found, text=own(found.text) if has_words(found.text) else "", **own_parts)


def _text_of_details(found: Description) -> str:
    """A text made of the other fields, for a reply without one; "" if they are empty too."""
    parts = (found.people, found.activity, found.setting, found.mood, ", ".join(found.objects))
    return ". ".join(part for part in parts if part)


def _description(text: str, *, plain: bool) -> tuple[Description, bool]:
    """The description in a reply's text, and whether the reply had the requested form."""
    value = _parsed(text)
    if value is not None:
        return _from_object(value), True
    if "{" in text:
        attempts = map(_whole_object, _completions(text[text.index("{") :]))
        value = next((attempt for attempt in attempts if attempt and _is_reply(attempt)), None)
        if value is None:
            value = last_description(text)
        if value is not None:
            return _from_object(value), False
    return _from_prose(text), plain


def _from_object(value: dict[str, Any]) -> Description:
    return Description(**Reply.model_validate(value).model_dump())


def _parsed(text: str) -> dict[str, Any] | None:
    """The JSON object in a text: alone, in a code fence, or with words before and after it."""
    candidates = [text, *FENCE.findall(text)]
    first, last = text.find("{"), text.rfind("}")
    if 0 <= first < last:
        candidates.append(text[first : last + 1])
    return next((value for value in map(_whole_object, candidates) if value is not None), None)


def _whole_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text consists of, or that is first in its list."""
    try:
        value = parse_json(text)
    except ValueError:
        return None
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else None


def _is_reply(value: Mapping[str, Any]) -> bool:
    return any(name in FIELDS or name in TEXT_NAMES for name in value)


def _completions(text: str) -> Iterator[str]:
    """Ways to close truncated or slightly invalid JSON: at its end, then at commas from the last one backwards.

    The last commas outside all lists come after the last ones of any kind: a whole list may be beyond repair.
    """
    closers: list[str] = []
    commas: deque[tuple[int, str]] = deque(maxlen=MAX_COMPLETIONS)
    outer_commas: deque[tuple[int, str]] = deque(maxlen=MAX_COMPLETIONS)
    end = text
    for match in JSON_TOKEN.finditer(text):
        mark = match.group()
        if mark in ("{", "["):
            closers.append("}" if mark == "{" else "]")
        elif mark in ("}", "]"):
            del closers[-1:]
        elif mark == ",":
            if len(closers) <= MAX_DEPTH:  # nothing deeper can be parsed
                (commas if len(closers) > 1 else outer_commas).append((match.start(), "".join(reversed(closers))))
        elif match.end() == len(text) and not COMPLETE_STRING.fullmatch(mark):
            end = PARTIAL_ESCAPE.sub("", text) + '"'
    if len(closers) <= MAX_DEPTH:
        yield end + "".join(reversed(closers))
    last = sorted([*commas, *outer_commas])[: -MAX_COMPLETIONS - 1 : -1]
    others = [comma for comma in reversed(outer_commas) if comma not in last]
    for position, closing in (*last, *others):
        yield text[:position] + closing


def _from_prose(reply: str) -> Description:
    """A description from plain text, with the tags of its last line if it has any."""
    reply = FENCE.sub(r"\1", reply).strip()
    with suppress(ValueError):
        value = parse_json(reply)
        if not isinstance(value, (list, dict)):  # null, a number, or one text in quotes
            reply = value if isinstance(value, str) else ""
    before, _, last_line = reply.rpartition("\n")
    label = TAGS_LABEL.search(last_line)
    text = f"{before}\n{last_line[: label.start()].rstrip(' *_#' + chr(9))}" if label else reply
    text = text[opening.end() :] if (opening := TEXT_LABEL.match(text)) else text
    if text.startswith(("{", "[")):  # JSON beyond repair: keep its words, if there are any
        words = re.findall(r"[^\W_][\w' ,.-]*", text)
        text = ". ".join(words) if len(set(words)) >= MIN_WORDS else ""
    return Description(
        text=plain_line(text)[:MAX_TEXT_CHARACTERS],
        tags=normal_terms(last_line[label.end() :]) if label else (),
    )
