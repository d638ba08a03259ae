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

Words that are no names though a context writes them large: `names` keeps its hands off them.

Small words that begin a sentence, kinship, titles, months and days, feasts and occasions, parts of place names and
words about films, in English, German, French, Spanish and Italian, as far as home videos have them.
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
NAMES = """
amber angel art baker bell berry bill black brown bush carpenter cook daisy dawn faith field fisher forest frank
gardener gray green grey hazel heather hill hope hunter iris ivy jade jasmine joy king lane lily mark mason
miller olive page park pearl pepper pierce poppy rich robin rose ruby sandy sky star stone sunny violet waters
white will willow wood woods young
"""
# Names that are words as well: written small, as in tags, they are taken for the word.
ALSO_WORDS = frozenset(NAMES.split())
ORDINARY = frozenset((ENGLISH + GERMAN + FRENCH + SPANISH + ITALIAN).split())
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
