import pytest

from enrich.describe.names import names_in, names_used, without_names


@pytest.mark.parametrize(
    ("context", "names"),
    [
        ("Grandma Erna's 80th birthday in Graz", ("Erna", "Graz")),
        ("the wedding of Anna and Ben Huber", ("Anna", "Ben", "Huber")),
        ("Erna's birthday", ("Erna",)),
        ("Erna Huber turns 80", ("Erna", "Huber")),
        ("We visit Tom. Later we eat cake. Then Lisa sings", ("Tom", "Lisa")),
        ("with Dr. Maier and Jean-Luc", ("Maier", "Jean-Luc")),
        ("Birthday party, Christmas 1987, with Grandpa", ()),
        ("Summer holiday", ()),
        ("Skiing in the mountains", ()),
        ("a concert on TV with a DJ", ()),
        ("my trip to São Paulo with Zoë", ("São", "Paulo", "Zoë")),
        ("our cat FELIX", ("FELIX",)),
        ("お祖母ちゃんの誕生日", ()),
        ("", ()),
    ],
)
def test_capitalised_words_are_names_with_exceptions(context, names):
    assert names_in(context) == names


def test_word_also_in_lower_case_is_no_name():
    assert names_in("the Rose garden, where every rose has a label") == ()


def test_german_names_must_follow_a_capitalised_word():
    assert names_in("Feier mit Oma Erna, Kuchen und Musik", "German") == ("Erna",)
    assert names_in("Feier mit Kuchen und Musik", "Deutsch") == ()


@pytest.mark.parametrize(
    "text",
    [
        "Erna is smiling.",
        "This is Erna’s cake.",
        "It is Erna's.",
        "all the Ernas here",
        "ERNA!",
        "grandma erna",
        "(Erna)",
    ],
)
def test_name_is_found_in_all_its_forms(text):
    assert names_used(["Erna"], [text]) == ("Erna",)


@pytest.mark.parametrize("text", ["Ernadine laughs.", "A modErna box", "An old woman erna-ted things", "Internal"])
def test_name_inside_another_word_is_not_found(text):
    assert names_used(["Erna"], [text]) == ()


def test_lower_case_word_in_a_sentence_is_not_the_name():
    assert names_used(["Rose"], ["A rose lies on the Table."]) == ()


def test_lower_case_tag_that_is_a_word_is_not_the_name():
    assert names_used(["Brown", "Erna"], ["brown dog", "erna"]) == ("Erna",)
    assert names_used(["Brown"], ["Mr Brown laughs."]) == ("Brown",)
    assert without_names("brown dog", ["Brown"]) == "brown dog"


def test_names_are_removed_with_their_possessives():
    assert without_names("Erna is smiling at Erna's cake, with Ben.", ["Erna", "Ben"]) == "is smiling at cake, with."
    assert without_names("erna, cake", ["Erna"]) == ", cake"
    assert without_names("nothing to do", []) == "nothing to do"


def test_removing_names_leaves_other_words_intact():
    assert without_names("Benjamin bends", ["Ben"]) == "Benjamin bends"
