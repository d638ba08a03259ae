"""Signs that a reply is no description: it turns in circles, or it hands the prompt back.

The reply guard: notices the same text for frames that look different, and when asking again does not pay.

It remembers only what this run has seen. One guard serves one worker, from one thread.
"""

import re
from collections import Counter, OrderedDict

from enrich.describe.describer import Answer, Description, Problem
from enrich.describe.health_check import normal

# So many times in a row is no longer style. Short units need more: "ha ha ha", "very, very".
CIRCLES = (
    re.compile(r"([^\W\d_])\1{24,}"),
    re.compile(r"(\S.{1,11}?)\1{5,}"),
    re.compile(r"(\S.{11,160}?)\1{2,}"),
)
LETTER = re.compile(r"[^\W\d_]")  # long numbers and drawn lines are no circles
LONGEST_SEARCHED = 8_000  # characters; a circle shows long before
FEWEST_WORDS = 40  # below this a small vocabulary means nothing
SMALLEST_VOCABULARY = 0.2  # share of different words; prose of 40 to 300 words has over 0.45
FEWEST_SENTENCES = 4
SHINGLE_WORDS = 8  # so many words in the prompt's order are no coincidence
SHORT_FIELD_WORDS = 4  # whereas a tag is a leak from here on
CHAT_MARKS = re.compile(r"<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>|^\s*(?:USER|ASSISTANT|SYSTEM)\s*:", re.MULTILINE)
PLACEHOLDERS = frozenset(("string", "text", "...", "…", "null", "description", "your text here"))
REMEMBERED_TEXTS = 500
DIFFERENT_BITS = 12  # of a 64-bit difference hash: frames further apart than this look different
FRUITLESS_RETRIES = 5  # in a row, for one problem: then the model is simply like that, and asking twice is waste


def repeats(text: str) -> bool:
    """Whether a text says the same over and over."""
    text = " ".join(text[:LONGEST_SEARCHED].split())
    for pattern in CIRCLES:
        if any(LETTER.search(match.group(1)) for match in pattern.finditer(f"{text} ")):
            return True
    words = re.findall(r"\w+", text.casefold())
    if len(words) >= FEWEST_WORDS and len(set(words)) / len(words) < SMALLEST_VOCABULARY:
        return True
    sentences = [sentence.strip().casefold() for sentence in re.split(r"[.!?。]+", text) if sentence.strip()]
    return len(sentences) >= FEWEST_SENTENCES and len(set(sentences)) * 2 <= len(sentences)


def leaks(text: str, short_fields: tuple[str, ...], prompt: str) -> bool:
    """Whether a reply contains a stretch of the prompt, marks of the chat's own format, or a placeholder for text."""
    if CHAT_MARKS.search(text) or text.strip().casefold() in PLACEHOLDERS:
        return True
    asked = f" {' '.join(_words(prompt))} "
    said = _words(text)
    for start in range(len(said) - SHINGLE_WORDS + 1):
        if f" {' '.join(said[start : start + SHINGLE_WORDS])} " in asked:
            return True
    for field in short_fields:
        words = _words(field)
        if len(words) >= SHORT_FIELD_WORDS and f" {' '.join(words)} " in asked:
            return True
    return False


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


class ReplyHistory:
    def __init__(self) -> None:
        self._texts: OrderedDict[str, int] = OrderedDict()
        self._fruitless: Counter[Problem] = Counter()

    def is_same_text(self, description: Description, dhash: int) -> bool:
        """Whether a frame that looks different was given this very text before."""
        before = self._texts.get(normal(description.text))
        return before is not None and (before ^ dhash).bit_count() > DIFFERENT_BITS

    def is_worth_retrying(self, problem: Problem) -> bool:
        """Whether asking once more has helped against this problem lately. An empty reply is always asked again."""
        return problem is Problem.EMPTY or self._fruitless[problem] < FRUITLESS_RETRIES

    def learn(self, answer: Answer, dhash: int) -> None:
        """Remember an answer that is kept, and whether its second call helped."""
        if answer.description is None:
            return
        key = normal(answer.description.text)
        self._texts.setdefault(key, dhash)  # the first picture's: small changes add up
        self._texts.move_to_end(key)
        if len(self._texts) > REMEMBERED_TEXTS:
            self._texts.popitem(last=False)
        self._learn_from_calls(answer)

    def _learn_from_calls(self, answer: Answer) -> None:
        first = {warning.problem for warning in answer.calls[0].warnings}
        left = {warning.problem for warning in answer.warnings}
        if Problem.NOT_JSON not in first:
            self._fruitless[Problem.NOT_JSON] = 0
        if len(answer.calls) == 1:
            return
        for problem in first:
            # A model that cannot do JSON says the same again in plain words: nothing is gained by that either.
            in_vain = problem in left or problem is Problem.NOT_JSON
            self._fruitless[problem] = self._fruitless[problem] + 1 if in_vain else 0
