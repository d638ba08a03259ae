"""Signs that a reply is no description: it turns in circles, or it hands the prompt back."""

import re

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
