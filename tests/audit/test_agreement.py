"""When words can judge, and what makes a pair disagree."""

import random

import pytest

from enrich.audit.agreement import PairLikeness, WordCalibration, calibrate, judge_pair

ABLE = WordCalibration(same=10, different=100, separation=1.0, cutoff=0.5)
UNABLE = WordCalibration(same=10, different=100, separation=0.5, cutoff=0.5)


def test_the_cutoff_separates_same_from_different_images() -> None:
    calibration = calibrate([0.8, 0.9, 1.0, 0.7], [0.1, 0.2, 0.3, 0.4])
    assert calibration.can_judge
    assert calibration.separation == 1.0
    assert calibration.cutoff == pytest.approx(0.55)


def test_one_outlier_does_not_move_the_cutoff() -> None:
    calibration = calibrate([0.1] + [0.9] * 19, [0.2] * 50)
    assert 0.2 < calibration.cutoff < 0.9
    assert calibration.can_judge


def test_a_constant_text_cannot_judge() -> None:
    calibration = calibrate([1.0] * 20, [1.0] * 50)
    assert calibration.separation == 0.5
    assert not calibration.can_judge


def test_noise_cannot_judge() -> None:
    dice = random.Random(1)
    calibration = calibrate([dice.random() for _ in range(20)], [dice.random() for _ in range(500)])
    assert calibration.separation == pytest.approx(0.5, abs=0.2)
    assert not calibration.can_judge


def test_few_measurements_are_not_enough() -> None:
    for same, different in (([1.0] * 3, [0.0] * 50), ([1.0] * 50, [0.0] * 3), ([], [])):
        assert calibrate(same, different).separation is None
        assert not calibrate(same, different).can_judge


def test_movement_soon_after_the_kept_frame_is_judged_by_words_only() -> None:
    for words, calibration, agrees in ((0.9, ABLE, True), (0.1, ABLE, False), (0.1, UNABLE, True)):
        verdict = judge_pair(PairLikeness(0.70, 60, words), calibration, threshold=0.88, is_soon=True)
        assert (verdict.moved, verdict.agrees) == (True, agrees)
    assert not judge_pair(PairLikeness(0.95, 60, 0.9), ABLE, threshold=0.88, is_soon=True).moved


@pytest.mark.parametrize(
    ("image", "change", "words", "calibration", "by_image", "by_words"),
    [
        (0.95, 60, 0.9, ABLE, True, True),
        (0.95, 60, 0.1, ABLE, True, False),
        (0.99, 5, 0.1, ABLE, True, True),  # nearly the same image: the model's fault
        (0.70, 60, 0.9, ABLE, False, True),
        (0.70, 60, 0.1, ABLE, False, False),
        (0.95, 60, 0.1, UNABLE, True, None),
        (0.70, 60, 0.9, UNABLE, False, None),
        (0.95, 60, None, ABLE, True, None),
    ],
)
def test_a_pair_is_judged_by_image_and_by_words(image, change, words, calibration, by_image, by_words) -> None:
    verdict = judge_pair(PairLikeness(image, change, words), calibration, threshold=0.88)
    assert (verdict.by_image, verdict.by_words) == (by_image, by_words)
    assert verdict.agrees is (by_image and by_words is not False)
