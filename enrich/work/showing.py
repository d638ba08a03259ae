"""Looking up one source frame of a video, kept or not, and how alike it is to the kept frame that stands for it."""

from dataclasses import dataclass

from db.queries import FrameRow, VideoRow
from enrich.library.pictures import jpeg_of, require_same_file
from enrich.settings import Settings
from enrich.video.decode import SourceFrame
from enrich.video.likeness import DEFAULT_LIKENESS
from enrich.video.luma import LumaShrinker
from enrich.video.source import read_source_frame


@dataclass(frozen=True, slots=True)
class Shown:
    """A source frame. `likeness` is that to the kept frame standing for it, 1 for that frame itself."""

    index: int | None
    timestamp: float
    is_kept: bool
    likeness: float | None
    jpeg: bytes | None


def look_up(
    settings: Settings,
    video: VideoRow,
    kept: FrameRow | None,
    *,
    index: int | None,
    timestamp: float | None,
    with_picture: bool,
) -> Shown:
    """Decode the source frame `index`, or the one shown at `timestamp`; `kept` is the one that stands for it.

    Raises VideoError: the file is gone or another, or has no such frame.
    """
    is_known = (
        kept is not None
        and kept.index is not None
        and (kept.index == index if index is not None else kept.stands_for == 1)
    )
    if kept is not None and is_known and not with_picture:
        return Shown(kept.index, kept.timestamp, is_kept=True, likeness=1.0, jpeg=None)
    require_same_file(video)
    near = (kept.index, kept.timestamp) if kept is not None and kept.index is not None else None
    source = read_source_frame(video.path, index=index, timestamp=timestamp, near=near)
    jpeg = jpeg_of(settings, video, source) if with_picture else None
    if kept is None:
        return Shown(source.index, source.timestamp, is_kept=False, likeness=None, jpeg=jpeg)
    if abs(source.timestamp - kept.timestamp) < 1e-6:  # noqa: PLR2004  # the very frame
        return Shown(source.index, source.timestamp, is_kept=True, likeness=1.0, jpeg=jpeg)
    likeness = _likeness(read_source_frame(video.path, timestamp=kept.timestamp, near=near), source)
    return Shown(source.index, source.timestamp, is_kept=False, likeness=likeness, jpeg=jpeg)


def _likeness(kept: SourceFrame, other: SourceFrame) -> float:
    shrinker = LumaShrinker()
    return DEFAULT_LIKENESS.measure(shrinker.shrink(kept.picture), shrinker.shrink(other.picture))
