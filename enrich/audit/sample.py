"""The sample: source frames that were left out, drawn at random, each with the kept frame that stands for it."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from db.checks import Placed


@dataclass(frozen=True, slots=True)
class Stand:
    """A kept frame, and those of the sample it stands for, by their source numbers."""

    kept: Placed
    indexes: tuple[int, ...]


def left_out(rows: Iterable[Placed]) -> int:
    """How many source frames the kept ones stand for, without themselves."""
    return sum((row.stands_for or 1) - 1 for row in rows)


def draw(rows: Iterable[Placed], total: int, *, size: int, seed: int) -> Iterator[Stand]:
    """A sample of the `total` frames left out, in the film's order: each is as likely as any other."""
    chosen = iter(sorted(random.Random(seed).sample(range(total), min(size, total))))  # noqa: S311  # no secret
    rank = next(chosen, None)
    before = 0
    for row in rows:
        count = (row.stands_for or 1) - 1
        indexes = []
        while rank is not None and rank < before + count:
            indexes.append((row.index or 0) + 1 + rank - before)
            rank = next(chosen, None)
        if indexes:
            yield Stand(row, tuple(indexes))
        before += count
        if rank is None:
            return
