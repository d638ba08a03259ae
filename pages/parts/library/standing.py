"""How far a video is, in words a person uses, and as a share of the whole film."""

from enum import StrEnum
from typing import assert_never

from db.models import EnrichmentStatus, ExtractionStatus
from db.queries import VideoRow
from enrich.wording import counted, span


class Group(StrEnum):
    """What somebody may want to see of the library."""

    ALL = "All films"
    OPEN = "Not finished"
    DONE = "Described"
    TROUBLE = "With trouble"


def belongs(row: VideoRow, group: Group) -> bool:
    """Whether a video is one of the group."""
    match group:
        case Group.ALL:
            return True
        case Group.OPEN:
            return row.enrichment_status in (EnrichmentStatus.PENDING, EnrichmentStatus.ENRICHING) and not is_lost(row)
        case Group.DONE:
            return row.enrichment_status is EnrichmentStatus.ENRICHED
        case Group.TROUBLE:
            return is_lost(row) or bool(row.error or row.failed or row.decode_failures)
    assert_never(group)


def is_lost(row: VideoRow) -> bool:
    """Whether nothing more comes of a video by itself."""
    return row.extraction_status is ExtractionStatus.FAILED or row.enrichment_status is EnrichmentStatus.FAILED


def status(row: VideoRow) -> str:  # noqa: PLR0911  # one for each
    """Where a video stands."""
    if row.extraction_status is ExtractionStatus.FAILED:
        return "Could not be read"
    if row.error and row.extraction_status is not ExtractionStatus.EXTRACTED:
        return "Waits"
    match row.enrichment_status:
        case EnrichmentStatus.ENRICHED:
            return "Described"
        case EnrichmentStatus.FAILED:
            return "No picture could be described"
        case EnrichmentStatus.ENRICHING:
            is_whole = row.extraction_status is ExtractionStatus.EXTRACTED
            return "Being described" if is_whole else "Being taken apart and described"
        case EnrichmentStatus.PENDING:
            match row.extraction_status:
                case ExtractionStatus.EXTRACTED:
                    return "Taken apart, not described yet"
                case ExtractionStatus.EXTRACTING:
                    return "Being taken apart"
                case ExtractionStatus.SKIMMED:
                    return "Looked through once"
                case _:
                    return "Not begun"


def share(row: VideoRow) -> float:
    """The share of the film's own frames that is described, 0 to 1; every kept frame counts for what it stands for."""
    if row.extraction_status is ExtractionStatus.EXTRACTED and row.kept and row.described == row.kept:
        return 1.0
    return min(1.0, row.covered / row.frame_count) if row.frame_count else 0.0


def progress(row: VideoRow) -> str:
    """Where a video stands, with its share: Being described, 45 %."""
    said = status(row)
    return said if said == "Described" or is_lost(row) else f"{said}, {int(100 * share(row))} %"


def figures(row: VideoRow) -> str:
    """Length, frames and kept frames in a line."""
    length = span(row.duration) if row.duration else "length unknown"
    is_counted = row.extraction_status is ExtractionStatus.EXTRACTED
    frames = counted(row.frame_count, "frame") if row.frame_count else "frames not counted"
    about = "" if is_counted or not row.frame_count else "about "
    return f"{length} · {about}{frames} · {row.kept:,} kept"


def troubles(row: VideoRow) -> list[str]:
    """What is wrong with a video, or keeps it waiting, one sentence each."""
    found = [row.error] if row.error else []
    if row.failed:
        found.append(f"{counted(row.failed, 'picture')} could not be described")
    if row.decode_failures:
        found.append(f"{counted(row.decode_failures, 'frame')} could not be decoded: the file is damaged there")
    return [*found, *row.warnings]
