"""The result of an audit: the verdict on each pair, and the totals."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import TypeAlias

from db.checks import StoredFrame
from enrich.audit.agreement import (
    Agreement,
    PairLikeness,
    WordCalibration,
    WordWeights,
    calibrate,
    content_words,
    judge_pair,
)
from enrich.audit.pairs import SkippedFrame
from enrich.describe.describer import Description
from enrich.video.distinct import PACES
from enrich.video.likeness import DEFAULT_LIKENESS, LikenessLevel
from enrich.video.sampling import SamplingKind, parse_sampling
from enrich.video.signals import Luma

MAX_DIFFERENT_PAIRS = 1000  # pairs
MIN_DISTANCE_SHARE = 0.05  # of the video's length, between frames taken as different

DescriptionPair: TypeAlias = tuple[Description, Description]


@dataclass(frozen=True, slots=True)
class Pair:
    """A skipped frame, its kept frame, the descriptions of both, and the verdict."""

    index: int
    timestamp: float
    kept_index: int
    kept_timestamp: float
    likeness: PairLikeness
    agreement: Agreement
    text: str | None
    kept_text: str | None
    image: Path  # the files exist during the audit; afterwards only those of pairs that disagree
    kept_image: Path


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts of an audit and how they were reached."""

    pairs: list[Pair]
    calibration: WordCalibration
    threshold: float  # the smallest image likeness that counts as the same
    pace: float  # seconds after a kept frame in which movement is skipped on purpose

    @property
    def moved(self) -> int:
        """How many skipped frames differ from their kept frame by movement that is skipped on purpose."""
        return sum(pair.agreement.moved for pair in self.pairs)

    @property
    def disagreeing(self) -> list[Pair]:
        return [pair for pair in self.pairs if not pair.agreement.agrees]

    @property
    def by_image(self) -> tuple[int, int]:
        """How many pairs agree by image, and how many were judged."""
        return sum(pair.agreement.by_image for pair in self.pairs), len(self.pairs)

    @property
    def by_words(self) -> tuple[int, int]:
        """How many pairs agree by words, and how many could be judged by words."""
        verdicts = [pair.agreement.by_words for pair in self.pairs if pair.agreement.by_words is not None]
        return sum(verdicts), len(verdicts)


@dataclass(frozen=True, slots=True)
class DescribedPair:
    """A pair with its descriptions; None where describing failed."""

    kept: StoredFrame
    other: SkippedFrame
    kept_words: Description | None
    words: Description | None
    paths: tuple[Path, Path]


@dataclass(frozen=True, slots=True)
class KnownFrame:
    """A described kept frame, with its reduced luma to find frames that look different."""

    timestamp: float
    luma: Luma
    words: Description


def build_report(
    described: Sequence[DescribedPair],
    known: Sequence[KnownFrame],
    repeated: Sequence[DescriptionPair],
    *,
    sampling: str,
    seed: int,
) -> Report:
    """Judge all pairs. `known` and `repeated` calibrate the words; `sampling` is the video's."""
    weights = WordWeights([content_words(frame.words) for frame in known])

    def likeness(one: Description | None, other: Description | None) -> float | None:
        if one is None or other is None:
            return None
        return weights.likeness(content_words(one), content_words(other))

    same = [weights.likeness(content_words(one), content_words(other)) for one, other in repeated]
    different = [
        weights.likeness(content_words(one), content_words(other)) for one, other in different_pairs(known, seed=seed)
    ]
    calibration = calibrate(same, different)
    chosen = parse_sampling(sampling)
    threshold = DEFAULT_LIKENESS.threshold(chosen.likeness)
    pace = PACES[chosen.likeness].seconds if chosen.kind is SamplingKind.DISTINCT else 0.0
    pairs = []
    for pair in sorted(described, key=lambda pair: pair.other.index):
        alike = PairLikeness(pair.other.likeness, pair.other.change, likeness(pair.words, pair.kept_words))
        is_soon = pair.other.timestamp - pair.kept.timestamp < pace
        verdict = judge_pair(alike, calibration, threshold=threshold, is_soon=is_soon)
        pairs.append(_pair(pair, alike, verdict))
    return Report(pairs, calibration, threshold, pace)


def different_pairs(known: Collection[KnownFrame], *, seed: int) -> list[DescriptionPair]:
    """Pairs of descriptions of kept frames that are far apart in time and look different."""
    threshold = DEFAULT_LIKENESS.threshold(LikenessLevel.LOOSE)
    min_distance = MIN_DISTANCE_SHARE * max((frame.timestamp for frame in known), default=0.0)
    distant = [
        (one, other) for one, other in combinations(known, 2) if abs(one.timestamp - other.timestamp) >= min_distance
    ]
    random.Random(seed).shuffle(distant)  # noqa: S311  # no secret
    unlike = ((one, other) for one, other in distant if DEFAULT_LIKENESS.measure(one.luma, other.luma) < threshold)
    return [(one.words, other.words) for one, other in islice(unlike, MAX_DIFFERENT_PAIRS)]


def _pair(described: DescribedPair, likeness: PairLikeness, agreement: Agreement) -> Pair:
    kept_image, image = described.paths
    return Pair(
        index=described.other.index,
        timestamp=described.other.timestamp,
        kept_index=described.kept.index or 0,
        kept_timestamp=described.kept.timestamp,
        likeness=likeness,
        agreement=agreement,
        text=described.words.text if described.words else None,
        kept_text=described.kept_words.text if described.kept_words else None,
        image=image,
        kept_image=kept_image,
    )
