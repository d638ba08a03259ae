"""Names a reply may have taken from the context instead of the picture.

"Grandma Erna's 80th birthday in Graz" tempts a model to call every old woman Erna. A picture cannot show a
name, unless it can be read in it, so a name that stands in the context and in the reply is doubtful.

A name is a capitalised word of the context, with these exceptions:
- the first word of a sentence, unless another capitalised word follows it or it is a possessive ("Erna's cake");
- words that are no names though written large: kinship, titles, months, feasts, occasions (ORDINARY, in the
  languages we know something of), and whatever the context also writes small;
- capitals alone of up to three letters (TV, DJ);
- in languages that write every noun large (German, Luxembourgish) only words that follow another capitalised word.

Known limits: names in scripts without capitals are not noticed; a name that is also a word ("Rose") is taken for
the name where a sentence begins with it; a place is treated like a person, on purpose: "in Graz" is not
seen either. Words like "Grandma" are kept, since they are what people search for.
"""

import re
from collections.abc import Iterable, Sequence

from enrich.describe.ordinary import ALSO_WORDS, ORDINARY

NOUNS_WRITTEN_LARGE = ("german", "deutsch", "de", "luxembourgish", "lëtzebuergesch", "lb")
LONGEST_ABBREVIATION = 3

WORD = re.compile(r"[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*")
POSSESSIVE = re.compile(r"(?:['\u2019]s?|(?<=s)['\u2019])$")
SENTENCE_END = re.compile(r"[.!?:;\n\"\u201c\u201d\u201e\u00ab\u00bb(]\s*$|[-\u2013\u2014\u2022]\s+$")
NO_SENTENCE_END = re.compile(r"(?:^|\s)(?:[^\W\d_]|Dr|Mr|Mrs|Ms|St|Prof|\d+)\.\s*$", re.IGNORECASE)


def names_in(context: str, language: str = "English") -> tuple[str, ...]:
    """The words of a context that look like names, in order, without their possessive endings."""
    words = list(WORD.finditer(context))
    small = {match.group().lower() for match in words if match.group().islower()}
    large = [match.group()[0].isupper() for match in words]
    every_noun = language.strip().lower().startswith(NOUNS_WRITTEN_LARGE)
    found: dict[str, None] = {}
    for place, match in enumerate(words):
        if not large[place]:
            continue
        word = match.group()
        bare = POSSESSIVE.sub("", word)
        if bare.lower() in ORDINARY | small or (bare.isupper() and len(bare) <= LONGEST_ABBREVIATION):
            continue
        if len(bare) == 1:
            continue
        follows_large = place > 0 and large[place - 1] and _adjacent(context, words[place - 1], match)
        leads_large = place + 1 < len(words) and large[place + 1] and _adjacent(context, match, words[place + 1])
        if every_noun:
            if follows_large:
                found[bare] = None
        elif not _starts_sentence(context, match.start()) or leads_large or word != bare:
            found[bare] = None
    return tuple(found)


def names_used(names: Iterable[str], texts: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that stand in any of the texts, possessives and plurals included."""
    return tuple(name for name in names if any(_stands_in(name, text) for text in texts))


def without_names(text: str, names: Iterable[str]) -> str:
    """The text with these names, their possessives and plurals taken out: what a search index may know."""
    for name in names:
        if _stands_in(name, text):
            text = _pattern(name, text).sub(" ", text)
    return re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))


def _stands_in(name: str, text: str) -> bool:
    if name.lower() in ALSO_WORDS and text == text.lower():
        return False
    return _pattern(name, text).search(text) is not None


def _pattern(name: str, text: str) -> re.Pattern[str]:
    """Where a name stands in a text. Text without any capital, such as tags, is compared without regard to them."""
    word = re.escape(name)
    spelled = re.escape(name.lower()) if text == text.lower() else f"{word}|{re.escape(name.upper())}"
    return re.compile(rf"(?<![^\W_])(?:{spelled})(?:['\u2019]?s|['\u2019])?(?![^\W_])")


def _starts_sentence(context: str, position: int) -> bool:
    before = context[:position]
    if not before.strip():
        return True
    return bool(SENTENCE_END.search(before)) and not NO_SENTENCE_END.search(before)


def _adjacent(context: str, left: re.Match[str], right: re.Match[str]) -> bool:
    between = context[left.end() : right.start()]
    return not between.strip(" .&") and not ("." in between and len(left.group()) > LONGEST_ABBREVIATION)
