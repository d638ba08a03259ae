"""What is made of all pairs of an audit."""

import numpy as np

from db.checks import StoredFrame
from enrich.audit.pairs import SkippedFrame
from enrich.audit.report import DescribedPair, KnownFrame, Report, build_report, different_pairs
from enrich.describe.describer import Description

WORDS = ("cat", "dog", "horse", "bird", "fish", "snake", "sheep", "goat", "cow", "duck")


def known(number: int, words: Description, *, seconds: float | None = None, level: int | None = None) -> KnownFrame:
    luma = np.full((180, 320), 10 + 24 * number if level is None else level, np.uint8)
    return KnownFrame(float(number) if seconds is None else seconds, luma, words)


def report(tell, *, sampling: str = "distinct:normal") -> Report:
    """The report on ten pairs, the last of which changed; `tell` gives the description of each image."""
    frames = [known(number, tell(number)) for number in range(10)]
    described = [
        DescribedPair(
            StoredFrame(number, number * 10, float(number), 10, 0, 0.0, ""),
            SkippedFrame(number * 10 + 5, number + 0.5, b"", 0.85 if number == 9 else 0.95, 50.0),
            tell(number),
            tell(0 if number == 4 else number),
            (f"{number}-kept.jpg", f"{number}-left.jpg"),
        )
        for number in range(10)
    ]
    return build_report(
        described, frames, [(tell(number), tell(number)) for number in range(5)], sampling=sampling, seed=1
    )


def truthful(number: int) -> Description:
    return Description(f"A {WORDS[number]} stands on the grass.", tags=(WORDS[number], "grass"))


def constant(_: int) -> Description:
    return Description("A man stands in a room and looks at the camera.")


def test_both_verdicts_are_counted() -> None:
    made = report(truthful)
    assert made.calibration.can_judge
    assert (made.by_image, made.by_words) == ((9, 10), (9, 10))
    assert [pair.index for pair in made.disagreeing] == [45, 95]


def test_words_that_are_always_the_same_are_ignored() -> None:
    made = report(constant)
    assert not made.calibration.can_judge
    assert made.by_words == (0, 0)
    assert [pair.index for pair in made.disagreeing] == [95]


def test_the_likeness_threshold_is_the_sampling_level_s() -> None:
    assert report(truthful, sampling="distinct:loose").by_image == (10, 10)
    assert report(truthful, sampling="every=2s").threshold == report(truthful).threshold


def test_different_pairs_are_far_apart_and_look_unlike() -> None:
    said = [Description(word) for word in "abcd"]
    frames = [
        known(0, said[0]),
        known(1, said[1], seconds=0.1, level=100),
        known(2, said[2], level=10),
        known(9, said[3]),
    ]
    pairs = {frozenset((one.text, other.text)) for one, other in different_pairs(frames, seed=1)}
    assert pairs == {frozenset(pair) for pair in ("ad", "bc", "bd", "cd")}, "a and b are near, a and c alike"
