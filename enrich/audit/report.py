"""What an audit came to: pair by pair, and in all."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import TypeAlias

from db.checks import PlacedFrame
from enrich.audit.agreement import (
    Agreement,
    PairLikeness,
    WordCalibration,
    WordWeights,
    agreement_of,
    calibrate,
    content_words,
)
from enrich.audit.pairs import SkippedFrame
from enrich.describe.describer import Description
from enrich.video.distinct import PACES
from enrich.video.likeness import DEFAULT_LIKENESS, LikenessLevel
from enrich.video.sampling import SamplingKind, parse_sampling
from enrich.video.signals import Luma

MOST_DIFFERENT = 1000  # pairs
FAR_SHARE = 0.05  # of the film lies between frames known to be different

Twice: TypeAlias = tuple[Description, Description]


@dataclass(frozen=True, slots=True)
class Pair:
    """A frame that was left out, its kept frame, what was said of both, and the verdict."""

    index: int
    timestamp: float
    kept_index: int
    kept_timestamp: float
    likenesses: PairLikeness
    agreement: Agreement
    text: str | None
    kept_text: str | None
    picture: Path  # where it lies while the audit runs; of pairs that disagree also afterwards
    kept_picture: Path


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit came to."""

    pairs: list[Pair]
    judge: WordCalibration
    least_likeness: float
    pace: float  # seconds after a kept frame in which what moves is left to it

    @property
    def moved(self) -> int:
        """How many are unlike and left to their kept frame on purpose."""
        return sum(pair.agreement.moved for pair in self.pairs)

    @property
    def disagreeing(self) -> list[Pair]:
        return [pair for pair in self.pairs if not pair.agreement.agrees]

    @property
    def by_picture(self) -> tuple[int, int]:
        """How many agree by picture, of how many."""
        return sum(pair.agreement.by_picture for pair in self.pairs), len(self.pairs)

    @property
    def by_words(self) -> tuple[int, int]:
        """How many agree by words, of how many on which words have a say."""
        said = [pair.agreement.by_words for pair in self.pairs if pair.agreement.by_words is not None]
        return sum(said), len(said)


@dataclass(frozen=True, slots=True)
class DescribedPair:
    """A pair that was described as far as it could be."""

    kept: PlacedFrame
    other: SkippedFrame
    kept_words: Description | None
    words: Description | None
    paths: tuple[Path, Path]


@dataclass(frozen=True, slots=True)
class KnownFrame:
    """A kept frame that was described: its small picture, for finding different ones."""

    timestamp: float
    luma: Luma
    words: Description


def report_on(
    told: Sequence[DescribedPair], known: Sequence[KnownFrame], twice: Sequence[Twice], *, sampling: str, seed: int
) -> Report:
    """Judge all pairs. `known` and `twice` are what words are measured by; `sampling` is the video's."""
    weights = WordWeights([content_words(frame.words) for frame in known])

    def likeness(one: Description | None, other: Description | None) -> float | None:
        if one is None or other is None:
            return None
        return weights.likeness(content_words(one), content_words(other))

    same = [weights.likeness(content_words(one), content_words(other)) for one, other in twice]
    unlike = [weights.likeness(content_words(one), content_words(other)) for one, other in different(known, seed=seed)]
    judge = calibrate(same, unlike)
    chosen = parse_sampling(sampling)
    least = DEFAULT_LIKENESS.threshold(chosen.likeness)
    pace = PACES[chosen.likeness].seconds if chosen.kind is SamplingKind.DISTINCT else 0.0
    pairs = []
    for pair in sorted(told, key=lambda pair: pair.other.index):
        likenesses = PairLikeness(pair.other.likeness, pair.other.change, likeness(pair.words, pair.kept_words))
        is_soon = pair.other.timestamp - pair.kept.timestamp < pace
        verdict = agreement_of(likenesses, judge, least_likeness=least, is_soon=is_soon)
        pairs.append(_pair(pair, likenesses, verdict))
    return Report(pairs, judge, least, pace)


def different(known: Collection[KnownFrame], *, seed: int) -> list[Twice]:
    """What was said of kept frames that are far apart and look unlike each other, two by two."""
    least = DEFAULT_LIKENESS.threshold(LikenessLevel.LOOSE)
    far = FAR_SHARE * max((frame.timestamp for frame in known), default=0.0)
    every = [(one, other) for one, other in combinations(known, 2) if abs(one.timestamp - other.timestamp) >= far]
    random.Random(seed).shuffle(every)  # noqa: S311  # no secret
    unlike = ((one, other) for one, other in every if DEFAULT_LIKENESS.measure(one.luma, other.luma) < least)
    return [(one.words, other.words) for one, other in islice(unlike, MOST_DIFFERENT)]


def _pair(told: DescribedPair, likenesses: PairLikeness, agreement: Agreement) -> Pair:
    kept_picture, picture = told.paths
    return Pair(
        index=told.other.index,
        timestamp=told.other.timestamp,
        kept_index=told.kept.index or 0,
        kept_timestamp=told.kept.timestamp,
        likenesses=likenesses,
        agreement=agreement,
        text=told.words.text if told.words else None,
        kept_text=told.kept_words.text if told.kept_words else None,
        picture=picture,
        kept_picture=kept_picture,
    )
