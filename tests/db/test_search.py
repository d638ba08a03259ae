"""Search: frames by words, ranked by source and relevance, with an index that matches its documents."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, select, text, update
from sqlalchemy.exc import DatabaseError

from db import editing, store
from db.engine import make_engine
from db.models import DEEP, QUICK, Frame, Video
from db.search import MARK_END, MARK_START, SearchDocument, match_expression, moments, search
from tests.db.library import NOW, add, describe, extract


@pytest.fixture
def frames(library):
    """Five frames without descriptions."""
    return extract(library, add(library), 5, passes=(QUICK, DEEP))


def found(library, words, **options):
    return [hit.frame_id for hit in search(library, words, **options).hits]


def check_index(connection: Connection) -> None:
    """Check the index itself (rank 0) and against the documents (rank 1). Raises DatabaseError."""
    for rank in (0, 1):
        connection.execute(
            text("INSERT INTO search_index(search_index, rank) VALUES ('integrity-check', :r)"), {"r": rank}
        )


# hits


def test_hit_has_the_position_of_its_frame(library, frames):
    describe(library, frames[1], "a child blows out the candles")

    [hit] = search(library, "candles").hits

    assert (hit.frame_id, hit.video_id, hit.title, hit.path) == (frames[1], 1, "wedding", "/films/wedding.mp4")
    assert (hit.index, hit.timestamp, hit.stands_for, hit.image_path, hit.source) == (3, 0.1, 3, "1.jpg", "deep")


def test_every_word_must_occur_in_text_or_tags(library, frames):
    describe(library, frames[0], "a dog runs", tags=["beach"])
    describe(library, frames[1], "a dog sleeps", tags=["sofa"])

    assert found(library, "dog beach") == [frames[0]]
    assert search(library, "dog beach").every_word


def test_search_falls_back_to_any_word_and_reports_it(library, frames):
    describe(library, frames[0], "a dog runs")
    describe(library, frames[1], "a cat sleeps")

    result = search(library, "dog cat elephant")

    assert {hit.frame_id for hit in result.hits} == set(frames[:2])
    assert not result.every_word


def test_better_match_ranks_higher(library, frames):
    describe(library, frames[0], "a dog beside a very long table with flowers and glasses and many people in the sun")
    describe(library, frames[1], "a dog, a dog, a dog")

    hits = search(library, "dog").hits

    assert [hit.frame_id for hit in hits] == [frames[1], frames[0]]
    assert hits[0].score < hits[1].score


def test_match_in_tags_ranks_above_match_in_text(library, frames):
    describe(library, frames[0], "a dog", tags=["garden"])
    describe(library, frames[1], "a garden", tags=["dog"])
    for frame_id in frames[2:]:
        describe(library, frame_id, "nothing", tags=["nothing"])

    assert found(library, "dog") == [frames[1], frames[0]]


def test_hits_are_ranked_by_source_person_deep_quick(library, frames):
    quick, deep, mine, *_ = frames
    describe(library, quick, "dog", pass_=QUICK)
    describe(library, deep, "a dog in a wide and long and green meadow")
    editing.edit_frame(
        library, mine, description="after a long search through the garden, here is our old dog Rex", tags=None, now=NOW
    )

    hits = search(library, "dog").hits

    assert [(hit.frame_id, hit.source) for hit in hits] == [(mine, "person"), (deep, "deep"), (quick, "quick")]


def test_equal_hits_are_in_time_order_and_limited(library, frames):
    for frame_id in reversed(frames):
        describe(library, frame_id, "a dog")

    assert found(library, "dog", limit=3) == frames[:3]


def test_one_video_can_be_searched_alone(library, frames):
    other = add(library, "other")
    [theirs] = extract(library, other, 1)
    for frame_id in (frames[0], theirs):
        describe(library, frame_id, "a dog")

    assert found(library, "dog", video_ids=[other]) == [theirs]
    assert set(found(library, "dog")) == {frames[0], theirs}


def test_matches_are_marked_in_the_snippet(library, frames):
    describe(library, frames[0], "The  dog\nruns after a ball")

    [hit] = search(library, "runs ball").hits

    assert hit.snippet == f"The dog {MARK_START}runs{MARK_END} after a {MARK_START}ball{MARK_END}"
    assert hit.marked("<b>", "</b>") == "The dog <b>runs</b> after a <b>ball</b>"


def test_snippet_of_a_long_text_is_the_matching_part(library, frames):
    describe(library, frames[0], f"{'before ' * 60}balloon {'after ' * 60}")

    [hit] = search(library, "balloon").hits

    assert f"{MARK_START}balloon{MARK_END}" in hit.snippet
    assert hit.snippet.startswith("…")
    assert len(hit.snippet.split()) < 30


def test_quoted_phrase_matches_as_a_whole(library, frames):
    describe(library, frames[0], "a red car before a house")
    describe(library, frames[1], "a car before a red house")

    assert found(library, '"red car"') == [frames[0]]
    assert found(library, '"red car" house') == [frames[0]]
    assert set(found(library, "red car")) == set(frames[:2])


def test_star_is_a_prefix_search(library, frames):
    describe(library, frames[0], "a grandmother")
    describe(library, frames[1], "the grandstand")
    describe(library, frames[2], "a mother")

    assert set(found(library, "grand*")) == set(frames[:2])
    assert found(library, "grand") == []


@pytest.mark.parametrize("words", ["laughing", "laughs", "LAUGH", "laughed"])
def test_forms_of_an_english_word_find_each_other(library, frames, words):
    describe(library, frames[0], "Grandma laughing at the speech")

    assert found(library, words) == [frames[0]]


@pytest.mark.parametrize("words", ["café", "cafe", "CAFÉ", "cafe\u0301", "vélo", "ve\u0301lo", "velo"])
@pytest.mark.parametrize("written", ["un vélo devant le café", "un ve\u0301lo devant le cafe\u0301"])
def test_accents_make_no_difference_however_they_are_typed(library, frames, words, written):
    describe(library, frames[0], written)

    assert found(library, words) == [frames[0]]


@pytest.mark.parametrize("words", ["свадьба", "don't", "AND", "OR", "NOT", "NEAR", "4:3", "e-mail", "snake_case"])
def test_words_of_any_script_and_operators_are_plain_words(library, frames, words):
    describe(library, frames[0], f"there is {words} in it")
    describe(library, frames[1], "there is nothing in it")

    assert found(library, words) == [frames[0]]


def test_names_left_out_of_the_search_text_are_not_found(library, frames):
    describe(library, frames[0], "Anna laughs", search_text="a woman laughs")

    assert found(library, "Anna") == []
    assert found(library, "woman laughs") == [frames[0]]


# no input is a syntax error

# fmt: off
TYPED = [
    "", " ", '"', '""', '"""', "*", "**", "(", ")", "((", "a AND", "OR b", "NOT", "NEAR(a b, 2)", "text:dog", "^dog",
    "-dog", "+dog", "dog'", "dog;", "{dog}", "a\x00b", '"dog', 'dog"', '" "', "___", "___*", '"_"*', "\ud800", "%",
    "search_index", "rank:1", "dog*cat*", "…", "\U0001f415", "\u0301", "\x02\x03", "a " * 3000, "x" * 50_000,
    '"' + "a " * 3000 + '"', " ".join(f"w{number}" for number in range(3000)),
]
# fmt: on


@pytest.mark.parametrize(
    "words",
    TYPED,
    ids=lambda words: ascii(words[:12]),
)
def test_bad_syntax_is_no_error(library, frames, words):
    describe(library, frames[0], "a dog runs")

    search(library, words)


@pytest.mark.parametrize("words", ["", " ", '"', "*", "()", "___", "…", "!?"])
def test_input_without_words_finds_nothing(library, frames, words):
    describe(library, frames[0], "a dog runs")

    assert search(library, words).hits == []


@pytest.fixture(scope="module")
def searchable(empty_library):
    """A library that no test writes to."""
    engine = make_engine(f"sqlite:///{empty_library}")
    yield engine
    engine.dispose()


@contextlib.contextmanager
def undone(engine: Engine):
    """A write transaction that is always rolled back."""
    with engine.connect().execution_options(everyframe_writes=True) as connection:
        transaction = connection.begin()
        try:
            yield connection
        finally:
            transaction.rollback()


typed = st.text() | st.text(alphabet='ab "*():^-+{}_,.ANDORT\x00\u0301é\n', max_size=40)


def test_no_input_is_an_error(searchable):
    with undone(searchable) as connection:
        [frame_id] = extract(connection, add(connection), 1)
        describe(connection, frame_id, "a dog runs b")

        @settings(max_examples=300, deadline=None)
        @given(words=typed)
        def no_error(words):
            search(connection, words)
            search(connection, words, video_ids=[1])

        no_error()


@given(words=typed, any_word=st.booleans())
def test_input_stays_inside_quotes_of_the_expression(words, any_word):
    expression = match_expression(words, any_word=any_word)

    outside = expression.split('"')[::2]
    assert set("".join(outside).replace("OR", "")) <= {" ", "*"}


# the index matches the documents


def test_removed_video_disappears_from_the_index(library, frames):
    describe(library, frames[0], "a dog runs")

    store.remove_video(library, 1)

    assert found(library, "dog") == []
    assert library.execute(text("SELECT count(*) FROM search_index WHERE search_index MATCH 'dog'")).scalar_one() == 0
    check_index(library)


def test_index_check_detects_drift(library, frames):
    describe(library, frames[0], "a dog runs")
    check_index(library)
    library.execute(text("DROP TRIGGER search_documents_updated"))
    library.execute(update(SearchDocument).values(text="a cat"))

    with pytest.raises(DatabaseError, match="malformed"):
        check_index(library)


WORDS = ("dog", "cat", "red", "tree")
FRAMES = 3
texts = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
tags = st.lists(st.sampled_from(WORDS), max_size=2)
which = st.integers(0, 2 * FRAMES - 1)
changes = st.one_of(
    st.tuples(st.sampled_from([DEEP, QUICK]), which, texts, tags),
    st.tuples(st.just("edit"), which, st.none() | texts, st.none() | tags),
    st.tuples(st.just("remove"), st.sampled_from(["first", "second"]), st.none(), st.none()),
    st.tuples(st.just("forget"), which, st.none(), st.none()),
)


def change(connection, frames, action):
    """Apply one change to a library."""
    kind, target, words, labels = action
    if kind == "remove":
        video_id = connection.scalar(select(Video.id).where(Video.title == target))
        if video_id is not None:
            store.remove_video(connection, video_id)
        return
    frame_id = frames[target]
    if connection.scalar(select(Frame.id).where(Frame.id == frame_id)) is None:
        return
    if kind == "edit":
        editing.edit_frame(connection, frame_id, description=words, tags=labels, now=NOW)
    elif kind == "forget":
        connection.execute(delete(Frame).where(Frame.id == frame_id))
    else:
        with contextlib.suppress(KeyError):  # it is described already
            describe(connection, frame_id, words, tags=labels, pass_=kind)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(changes, max_size=20))
def test_search_finds_exactly_what_the_documents_contain(searchable, actions):
    with undone(searchable) as connection:
        frames = [
            frame_id
            for name in ("first", "second")
            for frame_id in extract(connection, add(connection, name), FRAMES, passes=(QUICK, DEEP))
        ]
        for action in actions:
            change(connection, frames, action)

        check_index(connection)
        documents = connection.execute(select(SearchDocument.frame_id, SearchDocument.text, SearchDocument.tags)).all()
        for word in WORDS:
            says = {row.frame_id for row in documents if word in f"{row.text} {row.tags}".split()}
            assert set(found(connection, word, limit=99)) == says


# filters and moments


def test_search_can_be_limited_to_videos_a_time_range_or_a_tag(library):
    one, other = add(library), add(library, "other")
    frames, theirs = extract(library, one, 3), extract(library, other, 1)
    for frame_id, tags in zip([*frames, *theirs], (["joy"], ["big dog"], [], ["joy"]), strict=True):
        describe(library, frame_id, "a dog runs", tags=tags)

    assert sorted(found(library, "dog", video_ids=[one, other])) == sorted([*frames, *theirs])
    assert found(library, "dog", video_ids=[]) == []
    assert found(library, "dog", start=0.1, end=0.1) == [frames[1]]
    assert sorted(found(library, "runs", tag="joy")) == sorted([frames[0], *theirs])
    assert found(library, "", tag="Big Dog") == [frames[1]]
    assert found(library, "runs", tag="runs") == [], "a word of the text is not a tag"
    assert found(library, "", tag="!?") == []


def test_adjacent_hits_are_one_moment_ranked_by_the_best_hit(library):
    one, other = add(library), add(library, "other")
    frames, theirs = extract(library, one, 60), extract(library, other, 1)
    for number in (0, 20, 59):
        describe(library, frames[number], "a dog" + " and a cat" * number)
    describe(library, theirs[0], "a dog, a dog, a dog")
    hits = search(library, "dog").hits

    joined = moments(hits, gap_seconds=3.0)

    assert [[hit.frame_id for hit in moment.hits] for moment in joined] == [
        [theirs[0]],
        [frames[0], frames[20]],
        [frames[59]],
    ]
    assert [(moment.start, moment.end) for moment in joined] == [(0.0, 0.0), (0.0, 2.0), (5.9, 5.9)]
    assert joined[1].best.frame_id == frames[0]
    assert moments([]) == []
