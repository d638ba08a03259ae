"""How alike two descriptions are."""

import pytest

from enrich.audit.agreement import WordWeights, content_words, stem
from enrich.describe.describer import Description

STREET = "A street with parked cars in front of a shop."
DESCRIPTIONS = [content_words(Description(text)) for text in (
    f"{STREET} A woman in a red coat walks by.", f"{STREET} A man pushes a bicycle.", f"{STREET} Nobody is there.",
    f"{STREET} Two children run across.",
)]  # fmt: skip


def alike(one: str, other: str) -> float:
    return WordWeights(DESCRIPTIONS).likeness(content_words(Description(one)), content_words(Description(other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [("dancing", "dances"), ("danced", "dance"), ("running", "run"), ("cars", "car"), ("flies", "flying")],
)
def test_forms_of_one_word_have_one_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_short_words_and_numbers_are_not_stemmed() -> None:
    assert [stem(word) for word in ("bus", "12", "red", "sing", "ring")] == ["bus", "12", "red", "sing", "ring"]


def test_stop_words_are_ignored_and_every_field_counts() -> None:
    description = Description(
        "There is a cat on the mat.", tags=("cat",), objects=("lamp",), people="nobody", setting="kitchen",
        visible_text="EXIT", mood="calm",
    )  # fmt: skip
    assert content_words(description) == {stem(word) for word in ("cat", "mat", "lamp", "nobody", "kitchen", "exit")}


def test_the_number_of_people_counts() -> None:
    assert content_words(Description("One person.")) != content_words(Description("Two persons."))


def test_scripts_without_spaces_are_compared_too() -> None:
    one, other = (content_words(Description(text)) for text in ("一个女人在跳舞", "一个女人在唱歌"))
    assert 0 < len(one & other) < len(one)


def test_word_likeness_ignores_order_and_form() -> None:
    assert alike("A woman walks by in a red coat.", "Walking by: a woman in red coats.") > 0.8
    assert alike(STREET, STREET) == 1.0
    assert alike("", "") == 1.0


def test_words_in_every_description_have_little_weight() -> None:
    same = alike(f"{STREET} A woman walks by.", f"{STREET} A woman is walking by.")
    different = alike(f"{STREET} A woman walks by.", f"{STREET} A man pushes a bicycle.")
    assert different < 0.2
    assert same > 0.95


def test_nothing_in_common_is_not_alike() -> None:
    assert alike("A red coat.", "A bicycle.") == 0.0
