"""Reading a model's reply: the description in it, whatever its form, and what is doubtful about it.

Nothing a model writes raises here. What can be understood is kept; how sure it is, the doubts say.
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
from enrich.describe.reply_checks import leaks, repeats

MOST_TERMS = 20
LONGEST_TERM = 60
MOST_COMPLETIONS = 40
FEWEST_WORDS = 3
LONGEST_TEXT = 4_000
LONGEST_DETAIL = 600
NOTHING = frozenset(
    ("", "null", "none", "n/a", "na", "nil", "unknown", "not visible", "no text", "undefined", "-", "[]", "{}")
)
THOUGHTS = re.compile(r"<(think|thinking|thought)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
JSON_MARK = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)
WHOLE_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
HALF_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
LAST_TAGS = re.compile(r"\n?[ \t*_#]*tags?[*_]*[ \t]*:[*_]*(?P<tags>[^\n]*)\s*\Z", re.IGNORECASE)


def storable(text: str) -> str:
    """The text without what no database or file takes: half characters, and control characters but white space."""
    whole = text.encode("utf-8", "replace").decode()
    return "".join(
        character if character in "\n\t" or unicodedata.category(character) != "Cc" else " " for character in whole
    )


def plain_line(value: Any) -> str:
    """Any JSON value as a line of text."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, Mapping):
        return ", ".join(part for part in map(plain_line, value.values()) if part)
    if isinstance(value, (list, tuple)):
        return ", ".join(part for part in map(plain_line, value) if part)
    text = " ".join(storable(str(value)).split())
    return "" if text.casefold().rstrip(".") in NOTHING else text


def _terms(value: Any) -> list[str]:
    """Any JSON value as a list of terms."""
    if isinstance(value, Mapping):
        named = value.get("name") or value.get("label")
        return [plain_line(named)] if named else [plain_line(part) for part in value.values()]
    if isinstance(value, (list, tuple)):
        return [term for part in value for term in _terms(part)]
    return re.split(r"[,;\n]", "" if value is None or isinstance(value, bool) else str(value))


def normal_terms(value: Any) -> tuple[str, ...]:
    """Any JSON value as search terms: lower case, each once, none overlong."""
    terms: dict[str, None] = {}
    for raw in _terms(value):
        term = " ".join(storable(raw).lower().split()).strip(
            " #*\"'`\u201c\u201d\u201e\u00ab\u00bb.-\u2013\u2022\u00b7"
        )
        if term and term not in NOTHING and term not in FIELDS and len(term) <= LONGEST_TERM:
            terms[term] = None
    return tuple(terms)[:MOST_TERMS]


Text = Annotated[str, BeforeValidator(lambda value: plain_line(value)[:LONGEST_TEXT].strip())]
Detail = Annotated[str, BeforeValidator(lambda value: plain_line(value)[:LONGEST_DETAIL].strip())]
Terms = Annotated[tuple[str, ...], BeforeValidator(normal_terms)]


class Reply(BaseModel):
    """A reply's JSON object, as tolerant as its readers can afford."""

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
    """The description in the call's reply (None: no text at all), and all doubts, those of the host included."""
    cut_off = any(doubt.problem is Problem.CUT_OFF for doubt in call.warnings)
    said = THOUGHTS.sub("", storable(call.raw_reply)).strip()
    description, is_json = _description(said, plain=question.manner is PromptStyle.PLAIN)
    doubts = list(call.warnings)
    if not description.text:
        doubts.append(ReplyWarning(Problem.EMPTY))
        return None, tuple(doubts)
    if not is_json and not cut_off and question.manner is not PromptStyle.PLAIN:
        doubts.append(ReplyWarning(Problem.NOT_JSON))
    if repeats(said):
        doubts.append(ReplyWarning(Problem.REPEATS))
    ours = prompt_for(replace(question, request=""))  # an answer may well take up the words of what was asked
    if leaks(description.text, description.tags + description.objects, ours):
        doubts.append(ReplyWarning(Problem.LEAKS_PROMPT))
    doubts += [ReplyWarning(Problem.CONTEXT_NAME, name) for name in taken_names(question, description)]
    return description, tuple(doubts)


def taken_names(question: Question, description: Description) -> tuple[str, ...]:
    """Names of the context or the request that are not legible in the picture, and so cannot be known."""
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


def _description(said: str, *, plain: bool) -> tuple[Description, bool]:
    """The description in what a model said, and whether it was the JSON that was asked for."""
    value = _parsed(said)
    whole = value is not None
    if value is None and "{" in said:
        attempts = map(_parsed, _completions(said[said.index("{") :]))
        value = next((attempt for attempt in attempts if attempt and _is_reply(attempt)), None)
    if value is None:
        return _from_prose(said), plain
    reply = Reply.model_validate(value)
    fields = reply.model_dump()
    if not reply.text:  # there may be words all the same
        parts = (reply.people, reply.activity, reply.setting, reply.mood, ", ".join(reply.objects))
        fields["text"] = ". ".join(part for part in parts if part)
        whole = False
    return Description(**fields), whole


def _parsed(said: str) -> dict[str, Any] | None:
    """The JSON object that holds a reply: alone, in a code fence, or with words before and after it."""
    candidates = [said, *FENCE.findall(said)]
    first, last = said.find("{"), said.rfind("}")
    if 0 <= first < last:
        candidates.append(said[first : last + 1])
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


def _completions(said: str) -> Iterator[str]:
    """Ways to close a JSON text that was cut short or is slightly wrong: where it ends, then at ever earlier commas."""
    closers: list[str] = []
    commas: list[tuple[int, str]] = []
    end = said
    for match in JSON_MARK.finditer(said):
        mark = match.group()
        if mark in ("{", "["):
            closers.append("}" if mark == "{" else "]")
        elif mark in ("}", "]"):
            del closers[-1:]
        elif mark == ",":
            commas.append((match.start(), "".join(reversed(closers))))
        elif match.end() == len(said) and not WHOLE_STRING.fullmatch(mark):
            end = HALF_ESCAPE.sub("", said) + '"'
    yield end + "".join(reversed(closers))
    for position, ends in commas[: -MOST_COMPLETIONS - 1 : -1]:
        yield said[:position] + ends


def _from_prose(said: str) -> Description:
    """A description out of plain words, with a last line of tags if there is one."""
    said = FENCE.sub(r"\1", said).strip()
    tags = LAST_TAGS.search(said)
    text = said[: tags.start()] if tags else said
    text = re.sub(r"^\W*(?:text|description)\W*:\s*\"?", "", text, flags=re.IGNORECASE)
    if text.startswith(("{", "[")):  # JSON beyond repair: its words, if there are any
        words = re.findall(r"[^\W_][\w' ,.-]*", text)
        text = ". ".join(words) if len(words) >= FEWEST_WORDS else ""
    words_only = " ".join(text.split())[:LONGEST_TEXT]
    return Description(
        text=words_only if re.search(r"\w", words_only) else "",
        tags=normal_terms(tags.group("tags")) if tags else (),
    )
