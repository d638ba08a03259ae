"""Names that a reply may have taken from the context instead of the image.

"Grandma Erna's 80th birthday in Graz" tempts a model to call every old woman Erna. An image cannot show a name unless
the name can be read in it, so a name that occurs in both the context and the reply is flagged.

A name is a capitalised word of the context, with these exceptions:
- the first word of a sentence, unless another capitalised word follows it or it is a possessive ("Erna's cake");
- capitalised words that are not names (ORDINARY_WORDS): sentence openers, kinship, titles, months and days, holidays,
  occasions, parts of place names and words about videos, in English, German, French, Spanish and Italian; also every
  word that the context spells in lower case elsewhere;
- abbreviations of up to three capitals (TV, DJ);
- in languages that capitalise every noun (German, Luxembourgish), words that do not follow another capitalised word.

Known limits: names in scripts without capitals are missed. A name that is also a word ("Rose") counts as the name at
the start of a sentence. Places are treated like people on purpose: "in Graz" cannot be seen either. Words like
"Grandma" are kept because people search for them.
"""

import re
from collections.abc import Iterable, Sequence

ENGLISH = """
i a an the and or of in on at by with from for to my our your his her their its we he she it they this that these
those all no not then later there here now today after before when
where while first finally also new old big little last part day days night morning evening
grandma grandpa grandmother grandfather granny nana mom mum mommy mummy mother dad daddy father aunt auntie uncle
cousin sister brother son daughter baby family friend friends kids children bride groom
mr mrs ms miss dr prof sir lady saint st pastor king queen president captain coach
january february march april may june july august september october november december
monday tuesday wednesday thursday friday saturday sunday spring summer autumn fall winter
christmas easter halloween thanksgiving hanukkah ramadan eid year years eve
wedding birthday party anniversary baptism christening confirmation communion graduation funeral engagement
holiday holidays vacation trip tour visit concert ceremony speech dinner lunch breakfast festival reunion
lake mount mountain river sea beach street road park garden church castle house home school north south east west
video film movie clip tape reel camera footage archive scan interview
"""
GERMAN = """
oma opa großmutter großvater mama papa mutter vater tante onkel bruder schwester sohn tochter familie freunde
herr frau der die das ein eine und im am zum zur von mit bei unser unsere mein meine
hochzeit geburtstag taufe kommunion konfirmation weihnachten ostern silvester urlaub reise ferien feier fest
januar februar märz mai juni juli oktober dezember frühling sommer herbst
montag dienstag mittwoch donnerstag freitag samstag sonntag
"""
FRENCH = """
mamie papi maman papy tonton tata mémé pépé grand-mère grand-père le la les un une des du et de en à au aux
mariage anniversaire noël pâques vacances voyage fête baptême
"""
SPANISH = """
abuela abuelo mamá papá tía tío el los las y del al boda cumpleaños navidad vacaciones viaje fiesta
"""
ITALIAN = """
nonna nonno zia zio il lo gli e di da nel nella matrimonio compleanno natale pasqua vacanze viaggio festa
"""
NAMES_THAT_ARE_WORDS = """
amber angel art baker bell berry bill black brown bush carpenter cook daisy dawn faith field fisher forest frank
gardener gray green grey hazel heather hill hope hunter iris ivy jade jasmine joy king lane lily mark mason
miller olive page park pearl pepper pierce poppy rich robin rose ruby sandy sky star stone sunny violet waters
white will willow wood woods young
"""
# Names that are also words. In lower-case text, such as tags, they count as the word.
ALSO_WORDS = frozenset(NAMES_THAT_ARE_WORDS.split())
ORDINARY_WORDS = frozenset((ENGLISH + GERMAN + FRENCH + SPANISH + ITALIAN).split())
CAPITALIZED_NOUN_LANGUAGES = ("german", "deutsch", "de", "luxembourgish", "lëtzebuergesch", "lb")
MAX_ABBREVIATION_LETTERS = 3
WORD = re.compile(r"[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*")
POSSESSIVE = re.compile(r"(?:['\u2019]s?|(?<=s)['\u2019])$")
SENTENCE_END = re.compile(r"[.!?:;\n\"\u201c\u201d\u201e\u00ab\u00bb(]\s*$|[-\u2013\u2014\u2022]\s+$")
NO_SENTENCE_END = re.compile(r"(?:^|\s)(?:[^\W\d_]|Dr|Mr|Mrs|Ms|St|Prof|\d+)\.\s*$", re.IGNORECASE)


def names_in(context: str, language: str = "English") -> tuple[str, ...]:
    """The words of a context that look like names, in order, without possessive endings."""
    words = list(WORD.finditer(context))
    lower_case = {match.group().lower() for match in words if match.group().islower()}
    capitalized = [match.group()[0].isupper() for match in words]
    every_noun = language.strip().lower().startswith(CAPITALIZED_NOUN_LANGUAGES)
    found: dict[str, None] = {}
    for place, match in enumerate(words):
        if not capitalized[place]:
            continue
        word = match.group()
        bare = POSSESSIVE.sub("", word)
        if bare.lower() in ORDINARY_WORDS | lower_case or (bare.isupper() and len(bare) <= MAX_ABBREVIATION_LETTERS):
            continue
        if len(bare) == 1:
            continue
        follows_one = place > 0 and capitalized[place - 1] and _adjacent(context, words[place - 1], match)
        has_next = place + 1 < len(words) and capitalized[place + 1]
        precedes_one = has_next and _adjacent(context, match, words[place + 1])
        if every_noun:
            if follows_one:
                found[bare] = None
        elif not _starts_sentence(context, match.start()) or precedes_one or word != bare:
            found[bare] = None
    return tuple(found)


def names_used(names: Iterable[str], texts: Sequence[str]) -> tuple[str, ...]:
    """The names that occur in any of the texts, possessives and plurals included."""
    return tuple(name for name in names if any(_occurs(name, text) for text in texts))


def without_names(text: str, names: Iterable[str]) -> str:
    """The text without these names, their possessives and plurals, for the search index."""
    for name in names:
        if _occurs(name, text):
            text = _pattern(name, text).sub(" ", text)
    return re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))


def _occurs(name: str, text: str) -> bool:
    if name.lower() in ALSO_WORDS and text == text.lower():
        return False
    return _pattern(name, text).search(text) is not None


def _pattern(name: str, text: str) -> re.Pattern[str]:
    """Matches a name in a text. Lower-case text, such as tags, is compared without regard to case."""
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
    return not between.strip(" .&") and not ("." in between and len(left.group()) > MAX_ABBREVIATION_LETTERS)
