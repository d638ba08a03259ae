"""Parses a model's reply into a description and its warnings.

Tolerant: no reply makes it raise. What can be understood is kept, and warnings say what is wrong with it.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from enrich.describe.describer import Call, Description, Problem, PromptStyle, Question, ReplyWarning
from enrich.describe.names import names_in, names_used
from enrich.describe.prompt import FIELDS, prompt_for
from enrich.describe.reply_checks import is_repetitive, leaks_prompt

MAX_TERMS = 20
MAX_TERM_CHARACTERS = 60
MAX_COMPLETIONS = 40
MIN_WORDS = 3
MAX_TEXT_CHARACTERS = 4_000
MAX_DETAIL_CHARACTERS = 600
EMPTY_VALUES = frozenset(
    ("", "null", "none", "n/a", "na", "nil", "unknown", "not visible", "no text", "undefined", "-", "[]", "{}")
)
THINKING = re.compile(r"<(think|thinking|thought)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)
COMPLETE_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
PARTIAL_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
LAST_TAGS = re.compile(r"\n?[ \t*_#]*tags?[*_]*[ \t]*:[*_]*(?P<tags>[^\n]*)\s*\Z", re.IGNORECASE)


def storable(text: str) -> str:
    """The text without what databases and files reject: lone surrogates, and control characters but white space."""
    whole = text.encode("utf-8", "replace").decode()
    return "".join(
        character if character in "\n\t" or unicodedata.category(character) != "Cc" else " " for character in whole
    )


def plain_line(value: Any) -> str:
    """Any JSON value as one line of text."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, Mapping):
        return ", ".join(part for part in map(plain_line, value.values()) if part)
    if isinstance(value, (list, tuple)):
        return ", ".join(part for part in map(plain_line, value) if part)
    text = " ".join(storable(str(value)).split())
    return "" if text.casefold().rstrip(".") in EMPTY_VALUES else text


def _terms(value: Any) -> list[str]:
    """Any JSON value as a list of terms."""
    if isinstance(value, Mapping):
        named = value.get("name") or value.get("label")
        return [plain_line(named)] if named else [plain_line(part) for part in value.values()]
    if isinstance(value, (list, tuple)):
        return [term for part in value for term in _terms(part)]
    return re.split(r"[,;\n]", "" if value is None or isinstance(value, bool) else str(value))


def normal_terms(value: Any) -> tuple[str, ...]:
    """Any JSON value as search terms: lower case, without duplicates or overlong terms."""
    terms: dict[str, None] = {}
    for raw in _terms(value):
        term = " ".join(storable(raw).lower().split()).strip(
            " #*\"'`\u201c\u201d\u201e\u00ab\u00bb.-\u2013\u2022\u00b7"
        )
        if term and term not in EMPTY_VALUES and term not in FIELDS and len(term) <= MAX_TERM_CHARACTERS:
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
    text = THINKING.sub("", storable(call.raw_reply)).strip()
    description, is_json = _description(text, plain=question.prompt_style is PromptStyle.PLAIN)
    warnings = list(call.warnings)
    if not description.text:
        warnings.append(ReplyWarning(Problem.EMPTY))
        return None, tuple(warnings)
    if not is_json and not cut_off and question.prompt_style is not PromptStyle.PLAIN:
        warnings.append(ReplyWarning(Problem.NOT_JSON))
    if is_repetitive(text):
        warnings.append(ReplyWarning(Problem.REPEATS))
    prompt = prompt_for(replace(question, request=""))  # an answer may repeat the words of the user's request
    if leaks_prompt(description.text, description.tags + description.objects, prompt):
        warnings.append(ReplyWarning(Problem.LEAKS_PROMPT))
    warnings += [ReplyWarning(Problem.CONTEXT_NAME, name) for name in names_from_context(question, description)]
    return description, tuple(warnings)


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


def _description(text: str, *, plain: bool) -> tuple[Description, bool]:
    """The description in a reply's text, and whether the reply had the requested form."""
    value = _parsed(text)
    is_valid = value is not None
    if value is None and "{" in text:
        attempts = map(_parsed, _completions(text[text.index("{") :]))
        value = next((attempt for attempt in attempts if attempt and _is_reply(attempt)), None)
    if value is None:
        return _from_prose(text), plain
    reply = Reply.model_validate(value)
    fields = reply.model_dump()
    if not reply.text:  # the other fields may hold words
        parts = (reply.people, reply.activity, reply.setting, reply.mood, ", ".join(reply.objects))
        fields["text"] = ". ".join(part for part in parts if part)
        is_valid = False
    return Description(**fields), is_valid


def _parsed(text: str) -> dict[str, Any] | None:
    """The JSON object in a text: alone, in a code fence, or with words before and after it."""
    candidates = [text, *FENCE.findall(text)]
    first, last = text.find("{"), text.rfind("}")
    if 0 <= first < last:
        candidates.append(text[first : last + 1])
    for candidate in candidates:
        try:
            value = json.loads(candidate, strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):
            return value
    return None


def _is_reply(value: Mapping[str, Any]) -> bool:
    return any(str(key) in FIELDS or str(key) in ("description", "caption", "summary") for key in value)


def _completions(text: str) -> Iterator[str]:
    """Ways to close truncated or slightly invalid JSON: at its end, then at each comma from the last one backwards."""
    closers: list[str] = []
    commas: list[tuple[int, str]] = []
    end = text
    for match in JSON_TOKEN.finditer(text):
        mark = match.group()
        if mark in ("{", "["):
            closers.append("}" if mark == "{" else "]")
        elif mark in ("}", "]"):
            del closers[-1:]
        elif mark == ",":
            commas.append((match.start(), "".join(reversed(closers))))
        elif match.end() == len(text) and not COMPLETE_STRING.fullmatch(mark):
            end = PARTIAL_ESCAPE.sub("", text) + '"'
    yield end + "".join(reversed(closers))
    for position, closing in commas[: -MAX_COMPLETIONS - 1 : -1]:
        yield text[:position] + closing


def _from_prose(reply: str) -> Description:
    """A description from plain text, with the tags of its last line if it has any."""
    reply = FENCE.sub(r"\1", reply).strip()
    tags = LAST_TAGS.search(reply)
    text = reply[: tags.start()] if tags else reply
    text = re.sub(r"^\W*(?:text|description)\W*:\s*\"?", "", text, flags=re.IGNORECASE)
    if text.startswith(("{", "[")):  # JSON beyond repair: keep its words, if there are any
        words = re.findall(r"[^\W_][\w' ,.-]*", text)
        text = ". ".join(words) if len(words) >= MIN_WORDS else ""
    words_only = " ".join(text.split())[:MAX_TEXT_CHARACTERS]
    return Description(
        text=words_only if re.search(r"\w", words_only) else "",
        tags=normal_terms(tags.group("tags")) if tags else (),
    )
