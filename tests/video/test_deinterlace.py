"""Interlaced movement is kept without combing; still content keeps every row."""

import av
import numpy as np
import pytest

from enrich.video.decode import SourceFrames
from enrich.video.jpeg import JpegFormat, encode_jpeg
from tests.clips import read_jpeg

SIZES = {"mpeg2video": (720, 576), "dvvideo": (720, 576), "libx264": (1280, 720), "prores_ks": (1280, 720)}
FORMS = {"prores_ks": "yuv422p10le", "dvvideo": "yuv420p"}


def bars(size, offset):
    """A light post on dark ground, shifted to the right."""
    width, height = size
    image = np.full((height, width, 3), 40, np.uint8)
    image[:, 100 + offset : 220 + offset] = (200, 190, 170)
    return image


def fine_rows(size):
    """Detail that one field alone does not have: pairs of rows, alternately dark and light."""
    image = np.full((size[1], size[0], 3), 60, np.uint8)
    image[np.arange(size[1]) % 4 < 2] = 180
    return image


def interlaced_clip(path, images, codec, *, is_top_first=True):
    """Each stored frame has the rows of two times, and is flagged as interlaced."""
    width, height = SIZES[codec]
    form = FORMS.get(codec, "yuv420p")
    options = {"flags": "+ildct+ilme", "field_order": "tt" if is_top_first else "bb"}
    options |= {"libx264": {"crf": "5", "x264-params": "tff=1" if is_top_first else "bff=1"}}.get(codec, {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        if codec == "mpeg2video":
            stream.bit_rate = 30_000_000
        for first, second in images:
            upper, lower = (first, second) if is_top_first else (second, first)
            woven = np.empty_like(upper)
            woven[::2], woven[1::2] = upper[::2], lower[1::2]
            container.mux(stream.encode(flagged(woven, form, is_top_first=is_top_first)))
        container.mux(stream.encode())
    return path


def flagged(woven, form, *, is_top_first):
    """The frame flagged as interlaced, by a filter, because PyAV cannot set the flag."""
    frame = av.VideoFrame.from_ndarray(woven, format="rgb24")
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=1)
    mode = graph.add("setfield", f"mode={'tff' if is_top_first else 'bff'}")
    fields = graph.add("scale", "interl=1")
    graph.link_nodes(source, mode, fields, graph.add("format", form), graph.add("buffersink")).configure()
    graph.vpush(frame)
    made = graph.vpull()
    made.pts = None
    return made


def first_kept(path, edge=1344):
    with SourceFrames(path) as frames:
        image = next(iter(frames)).av_frame
    assert image.interlaced_frame
    jpeg = path.with_suffix(".jpg")
    jpeg.write_bytes(encode_jpeg(image, JpegFormat(edge=edge, quality=95)))
    return read_jpeg(jpeg).astype(int).mean(axis=2)


def combing(luma):
    """How much rows differ from both their neighbours, as a mean over the image."""
    up, down = luma[1:-1] - luma[:-2], luma[1:-1] - luma[2:]
    return np.where(up * down > 0, np.minimum(np.abs(up), np.abs(down)), 0).mean()


@pytest.mark.parametrize("is_top_first", [True, False], ids=["tff", "bff"])
@pytest.mark.parametrize(
    ("codec", "name"),
    [("mpeg2video", "clip.ts"), ("libx264", "clip.mts"), ("dvvideo", "clip.avi"), ("prores_ks", "clip.mov")],
)
def test_movement_between_fields_shows_no_combing(codec, name, is_top_first, tmp_path):
    size = SIZES[codec]
    moments = (bars(size, 0), bars(size, 24))
    clip = interlaced_clip(tmp_path / name, [moments] * 3, codec, is_top_first=is_top_first)
    seen = first_kept(clip)
    woven = np.where(np.arange(size[1])[:, None] % 2 == 0, moments[0].mean(axis=2), moments[1].mean(axis=2))
    assert combing(woven) > 3
    assert combing(seen) < 0.3
    assert seen.shape == (size[1], size[0])
    assert seen[:, 150].mean() == pytest.approx(190, abs=12)


def test_still_content_keeps_every_row(tmp_path):
    image = fine_rows(SIZES["libx264"])
    seen = first_kept(interlaced_clip(tmp_path / "still.mp4", [(image, image)] * 3, "libx264"))
    assert seen.mean(axis=1).std() > 50
