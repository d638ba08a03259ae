"""Words that are no names though a context writes them large: `names` keeps its hands off them.

Small words that begin a sentence, kinship, titles, months and days, feasts and occasions, parts of place names and
words about films, in English, German, French, Spanish and Italian, as far as home videos have them.
"""

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
