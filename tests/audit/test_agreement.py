"""When words may judge, and what makes a pair disagree."""

import random

import pytest

from enrich.audit.agreement import PairLikeness, WordCalibration, calibrate, judge_pair

ABLE = WordCalibration(same=10, different=100, separation=1.0, cut=0.5)
UNABLE = WordCalibration(same=10, different=100, separation=0.5, cut=0.5)


def test_the_cut_lies_where_one_picture_and_two_are_told_apart() -> None:
    judge = calibrate([0.8, 0.9, 1.0, 0.7], [0.1, 0.2, 0.3, 0.4])
    assert judge.can_judge
    assert judge.separation == 1.0
    assert judge.cut == pytest.approx(0.55)


def test_one_odd_likeness_does_not_move_the_cut() -> None:
    judge = calibrate([0.1] + [0.9] * 19, [0.2] * 50)
    assert 0.2 < judge.cut < 0.9
    assert judge.can_judge


def test_a_constant_text_cannot_judge() -> None:
    judge = calibrate([1.0] * 20, [1.0] * 50)
    assert judge.separation == 0.5
    assert not judge.can_judge


def test_noise_cannot_judge() -> None:
    dice = random.Random(1)
    judge = calibrate([dice.random() for _ in range(20)], [dice.random() for _ in range(500)])
    assert judge.separation == pytest.approx(0.5, abs=0.2)
    assert not judge.can_judge


def test_a_few_pictures_are_too_few() -> None:
    for same, different in (([1.0] * 3, [0.0] * 50), ([1.0] * 50, [0.0] * 3), ([], [])):
        assert calibrate(same, different).separation is None
        assert not calibrate(same, different).can_judge


def test_what_moved_soon_after_its_kept_frame_is_judged_by_words_alone() -> None:
    for words, judge, agrees in ((0.9, ABLE, True), (0.1, ABLE, False), (0.1, UNABLE, True)):
        verdict = judge_pair(PairLikeness(0.70, 60, words), judge, threshold=0.88, is_soon=True)
        assert (verdict.moved, verdict.agrees) == (True, agrees)
    assert not judge_pair(PairLikeness(0.95, 60, 0.9), ABLE, threshold=0.88, is_soon=True).moved


@pytest.mark.parametrize(
    ("picture", "change", "words", "judge", "by_picture", "by_words"),
    [
        (0.95, 60, 0.9, ABLE, True, True),
        (0.95, 60, 0.1, ABLE, True, False),
        (0.99, 5, 0.1, ABLE, True, True),  # all but the same picture: the model's fault
        (0.70, 60, 0.9, ABLE, False, True),
        (0.70, 60, 0.1, ABLE, False, False),
        (0.95, 60, 0.1, UNABLE, True, None),
        (0.70, 60, 0.9, UNABLE, False, None),
        (0.95, 60, None, ABLE, True, None),
    ],
)
def test_a_pair_is_judged_by_picture_and_by_words(picture, change, words, judge, by_picture, by_words) -> None:
    verdict = judge_pair(PairLikeness(picture, change, words), judge, threshold=0.88)
    assert (verdict.by_image, verdict.by_words) == (by_picture, by_words)
    assert verdict.agrees is (by_picture and by_words is not False)
