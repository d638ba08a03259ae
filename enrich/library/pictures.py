"""The kept frames' JPEGs: where they lie, and how one that is missing or broken is made again from its video."""

import shutil
from pathlib import Path

from db.queries import FrameRow, VideoRow
from enrich.errors import VideoChangedError
from enrich.library.media import strip_folder
from enrich.settings import Settings
from enrich.video.decode import SourceFrame
from enrich.video.fingerprint import fingerprint
from enrich.video.jpeg import encode_jpeg, is_whole_jpeg, write_jpeg
from enrich.video.source import read_source_frame

FOLDER_NAME_LENGTH = 16


def folder_name(video_fingerprint: str) -> str:
    """The folder of a video's pictures, below the frames folder: by fingerprint, since row ids are used again."""
    return video_fingerprint[:FOLDER_NAME_LENGTH]


def require_same_file(video: VideoRow) -> None:
    """Check that the file under the video's path is that video.

    Raises VideoMissingError if it is gone, VideoChangedError if another file lies there.
    """
    if fingerprint(video.path) != video.fingerprint:
        raise VideoChangedError(
            f"{video.path} is not the file that was added: put it back, or `everyframe add` the new one"
        )


def make_again(settings: Settings, video: VideoRow, frame: FrameRow) -> bytes:
    """Make a kept frame's JPEG anew from the video, and keep it. Raises VideoError."""
    require_same_file(video)
    known = (frame.index, frame.timestamp) if frame.index is not None else None
    source = read_source_frame(video.path, timestamp=frame.timestamp, near=known)
    jpeg = jpeg_of(settings, video, source)
    write_jpeg(settings.frames_folder / frame.image_path, jpeg)
    return jpeg


def kept_jpeg(settings: Settings, video: VideoRow, frame: FrameRow) -> bytes:
    """A kept frame's JPEG, made anew if it is missing or broken. Raises VideoError."""
    path = settings.frames_folder / frame.image_path
    return path.read_bytes() if is_whole_jpeg(path) else make_again(settings, video, frame)


def jpeg_of(settings: Settings, video: VideoRow, source: SourceFrame) -> bytes:
    """A source frame as a kept picture looks: upright, in the stored size."""
    return encode_jpeg(
        source.picture,
        rotation=video.rotation,
        edge=settings.stored_edge,
        quality=settings.jpeg_quality,
        sample_aspect=source.sample_aspect,
    )


def remove_pictures(settings: Settings, video: VideoRow) -> None:
    """Delete a removed video's pictures. The user's own file is never touched."""
    folder: Path = settings.frames_folder / folder_name(video.fingerprint)
    for unused in (folder, strip_folder(settings, video.id)):  # ids are used again
        shutil.rmtree(unused, ignore_errors=True)
