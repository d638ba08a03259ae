"""Reply checks: repetition, prompt leaks, words that are no answer, and (over a run) duplicate texts and retries.

`ReplyHistory` remembers nothing from before: there is one instance per run, audit or auditioned model. It is used from
one thread.
"""

import re
from collections import Counter, OrderedDict

from enrich.describe.describer import Answer, Description, Problem
from enrich.describe.health_check import normalized_text

# This many repetitions in a row are a fault. Short units may repeat more often: "ha ha ha", "very, very".
REPETITIONS = (
    re.compile(r"([^\W\d_])\1{24,}"),
    re.compile(r"(\S.{1,11}?)\1{5,}"),
    re.compile(r"(\S.{11,160}?)\1{2,}"),
)
LETTER = re.compile(r"[^\W\d_]")  # long numbers and drawn lines are not repetition
MAX_SEARCHED_CHARACTERS = 8_000  # repetition shows long before
MIN_WORDS = 40  # in shorter texts a small vocabulary means nothing
MIN_VOCABULARY_SHARE = 0.2  # share of distinct words; prose of 40 to 300 words has over 0.45
MIN_SENTENCES = 4

SHINGLE_WORDS = 8  # this many words in the prompt's order are no coincidence
SHORT_FIELD_WORDS = 4  # the same for a tag
ECHO_WORDS = 4  # a shorter passage of the prompt may be a coincidence
# With this share of its words in passages of the prompt, a reply is an echo: the rest is too little to be an answer.
# Below SHINGLE_WORDS all must be: "a single frame of a video game" is an answer.
ECHO_SHARE = 0.8
WORDING_SHARE = 0.3  # of them are in passages of our own wording: a true text may repeat the user's context
CHAT_MARKUP = re.compile(r"<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>|^\s*(?:USER|ASSISTANT|SYSTEM)\s*:", re.MULTILINE)
CHAT_TURN = re.compile(
    r"<\|(?:im_start|start_header_id|user|assistant|system)\|>|<\|turn>|\[/?INST\]|<</?SYS>>|<start_of_turn>"
)
# Tokens that models' vocabularies reserve, and the name of a turn or a channel after the token that begins it.
# A broken model or server writes them out.
SPECIAL_TOKENS = re.compile(
    r"(?:<\|(?:im_start|start_header_id|turn|channel)\|?>|<start_of_turn>)\s*"
    r"(?:(?:assistant|user|system|model|tool|analysis|commentary|final|thought)\b)?"
    r"|<\|[^<>|\s]{1,40}\|>|<\uff5c[^<>\uff5c]{1,40}\uff5c>|</?(?:s|pad|unk|bos|eos|mask|cls|sep|eot|eod)>"
    r"|<(?:unused|extra_id_|reserved_token_|loc|seg)_?\d{1,5}>|<0x[0-9a-f]{2}>|<(?:start|end)_of_[a-z_]{2,20}>"
    r"|</?(?:image|img|video|audio)(?:_[a-z]{2,20})?>|<(?:img_context|image_soft_token|fim_[a-z]{2,10})>"
    r"|<\|[a-z_]{2,20}>|<[a-z_]{2,20}\|>|\[(?:PAD|CONTROL_|UNUSED_?)\d{1,6}\]"
    r"|\[/?(?:INST|PAD|UNK|CLS|SEP|MASK|BOS|EOS|IMG|IMG_BREAK|IMG_END|TOOL_CALLS)\]|<</?SYS>>|[\u2581\ufffd]",
    re.IGNORECASE,
)
MARKUP = re.compile(r"<[^<>]*>|<[^<>\s]*\Z|```\w*")  # a long reply may be cut off within a token
# What a chat template or a form puts before an answer.
LABELS = re.compile(
    r"[\W_]*(?:(?:assistant|user|system|model|answer|response|output|json|tags)\b[\W_]*)+", re.IGNORECASE
)
# What models write where they have nothing to say, or copy from a schema.
PLACEHOLDERS = frozenset(
    (
        "", "null", "none", "n/a", "na", "n.a", "nil", "nan", "undefined", "inf", "infinity", "unknown", "not visible",
        "not available", "not applicable", "no text", "no description", "string", "text", "description",
        "your text here", "true", "false",
    )
)  # fmt: skip
PLACEHOLDER_WORDS = frozenset(("null", "none", "na", "nil", "nan", "undefined"))
AROUND_PLACEHOLDERS = " \t\n.,;:!?\u2026\"'`\u201c\u201d()[]{}<>*_-"

MAX_REMEMBERED_TEXTS = 500
DIFFERENT_BITS = 12  # of a 64-bit difference hash; frames further apart than this look different
MAX_FRUITLESS_RETRIES = 5  # in a row, for one problem; after that the problem is taken as the model's habit


def is_repetitive(text: str) -> bool:
    """Whether a text repeats itself."""
    text = " ".join(text[:MAX_SEARCHED_CHARACTERS].split())
    for pattern in REPETITIONS:
        if any(LETTER.search(match.group(1)) for match in pattern.finditer(f"{text} ")):
            return True
    words = re.findall(r"\w+", text.casefold())
    if len(words) >= MIN_WORDS and len(set(words)) / len(words) < MIN_VOCABULARY_SHARE:
        return True
    sentences = [sentence.strip().casefold() for sentence in re.split(r"[.!?。]+", text) if sentence.strip()]
    return len(sentences) >= MIN_SENTENCES and len(set(sentences)) * 2 <= len(sentences)


def without_special_tokens(text: str) -> str:
    """The text without tokens that a model's vocabulary reserves, such as `<unused50>` or `<|endoftext|>`."""
    return SPECIAL_TOKENS.sub(" ", text)


def is_placeholder(text: str) -> bool:
    """Whether a text stands for nothing: null, NaN, a schema's type, or punctuation only."""
    bare = text.casefold().strip(AROUND_PLACEHOLDERS)
    return bare in PLACEHOLDERS or PLACEHOLDER_WORDS.issuperset(re.findall(r"\w+", bare[:MAX_SEARCHED_CHARACTERS]))


def has_words(text: str) -> bool:
    """Whether a text has a word that is no markup or label: numbers and punctuation alone describe nothing."""
    bare = MARKUP.sub(" ", text)
    return LETTER.search(bare) is not None and LABELS.fullmatch(bare[:MAX_SEARCHED_CHARACTERS]) is None


def opens_chat_turn(text: str) -> bool:
    """Whether a reply contains the markup that begins the next turn of a chat."""
    return CHAT_TURN.search(text) is not None


def is_prompt_echo(text: str, prompt: str, wording: str) -> bool:
    """Whether a text is nearly all taken from the prompt, and much of it from our own `wording` of it."""
    words = _words(text)
    if len(words) < ECHO_WORDS:
        return False
    share = ECHO_SHARE if len(words) >= SHINGLE_WORDS else 1
    return _covered(words, prompt) >= share * len(words) and _covered(words, wording) >= WORDING_SHARE * len(words)


def _covered(words: list[str], prompt: str) -> int:
    """How many of the words are in passages of the prompt."""
    prompt_words = f" {' '.join(_words(prompt))} "
    covered: set[int] = set()
    for start in range(len(words) - ECHO_WORDS + 1):
        if f" {' '.join(words[start : start + ECHO_WORDS])} " in prompt_words:
            covered.update(range(start, start + ECHO_WORDS))
    return len(covered)


def leaks_prompt(text: str, short_fields: tuple[str, ...], prompt: str) -> bool:
    """Whether a reply contains a passage of the prompt, or chat markup."""
    if CHAT_MARKUP.search(text):
        return True
    prompt_words = f" {' '.join(_words(prompt))} "
    reply_words = _words(text)
    for start in range(len(reply_words) - SHINGLE_WORDS + 1):
        if f" {' '.join(reply_words[start : start + SHINGLE_WORDS])} " in prompt_words:
            return True
    for field in short_fields:
        words = _words(field)
        if len(words) >= SHORT_FIELD_WORDS and f" {' '.join(words)} " in prompt_words:
            return True
    return False


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


class ReplyHistory:
    """Remembers a run's texts, to find duplicates, and whether retries helped, to stop fruitless ones."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, int] = OrderedDict()
        self._fruitless: Counter[Problem] = Counter()

    def is_same_text(self, description: Description, dhash: int) -> bool:
        """Whether a frame that looks different got the same text before (duplicate-text check)."""
        first = self._texts.get(normalized_text(description.text))
        return first is not None and (first ^ dhash).bit_count() > DIFFERENT_BITS

    def is_worth_retrying(self, problem: Problem) -> bool:
        """Whether a retry has helped against this problem lately. An empty reply is always worth one."""
        return problem is Problem.EMPTY or self._fruitless[problem] < MAX_FRUITLESS_RETRIES

    def learn(self, answer: Answer, dhash: int) -> None:
        """Remember an answer and whether its retry helped."""
        if answer.description is None:
            return
        key = normalized_text(answer.description.text)
        self._texts.setdefault(key, dhash)  # the first image's hash, because small changes add up
        self._texts.move_to_end(key)
        if len(self._texts) > MAX_REMEMBERED_TEXTS:
            self._texts.popitem(last=False)
        self._learn_from_calls(answer)

    def _learn_from_calls(self, answer: Answer) -> None:
        first = {warning.problem for warning in answer.calls[0].warnings}
        remaining = {warning.problem for warning in answer.warnings}
        if Problem.NOT_JSON not in first:
            self._fruitless[Problem.NOT_JSON] = 0
        if len(answer.calls) == 1:
            return
        for problem in first:
            # A model that cannot write JSON says the same in plain text, so the retry gains nothing.
            was_fruitless = problem in remaining or problem is Problem.NOT_JSON
            self._fruitless[problem] = self._fruitless[problem] + 1 if was_fruitless else 0
