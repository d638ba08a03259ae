"""The plan of an audit: which frames it will compare, and what that will take."""

from dataclasses import dataclass

from db import checks
from db.engine import reading
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.audit.sample import Stand, draw, left_out
from enrich.describe.describer import Describer
from enrich.errors import VideoError
from enrich.library.library import Library
from enrich.library.pictures import require_same_file
from enrich.schedule.forecast import measured_speed, seconds_for
from enrich.verify.rows import placed_frames

SEEN_TWICE_SHARE = 0.1  # of the kept frames are described once more, re-encoded: at least and at most so many
SEEN_TWICE_LEAST, SEEN_TWICE_MOST = 8, 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What an audit will do. `calls` is a guess: doubtful replies are asked for twice."""

    video: VideoRow
    seed: int
    left_out: int  # source frames
    sampled: int
    stands: list[Stand]
    seen_twice: frozenset[int]  # ids of kept frames
    calls: int
    seconds: float | None  # None: not measured


def plan_audit(library: Library, video: VideoRow, describer: Describer, *, size: int, seed: int) -> Plan:
    """Draw the sample and say what it will take. Raises VideoError if the video is not extracted, or not there."""
    if video.extraction_status is not ExtractionStatus.EXTRACTED:
        raise VideoError(f"{video.title} is not decoded to its end yet: run `everyframe extract {video.id}`")
    require_same_file(video)
    total = left_out(placed_frames(library.engine, video.id))
    stands = list(draw(placed_frames(library.engine, video.id), total, size=size, seed=seed))
    wanted = min(SEEN_TWICE_MOST, max(SEEN_TWICE_LEAST, round(len(stands) * SEEN_TWICE_SHARE)), len(stands))
    twice = frozenset(stands[number * len(stands) // wanted].kept.id for number in range(wanted))
    sampled = sum(len(stand.indexes) for stand in stands)
    with reading(library.engine) as connection:
        known = checks.sayings(connection, [stand.kept.id for stand in stands])
        speed = measured_speed(connection, library.settings)
    reused = sum(is_of(known.get((stand.kept.id, describer.fills)), describer) for stand in stands)
    calls = sampled + len(stands) - reused + len(twice)
    return Plan(video, seed, total, sampled, stands, twice, calls, seconds_for(calls, speed, library.settings))


def is_of(saying: checks.Saying | None, describer: Describer) -> bool:
    """Whether a call was this describer's and model's, and says all it has to say: what measures is asked again."""
    return (
        saying is not None
        and describer.can_err
        and (saying.describer, saying.model) == (describer.name, describer.model)
    )
