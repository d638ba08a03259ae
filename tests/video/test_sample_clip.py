import time

import numpy as np
import pytest

from enrich.video import sample_clip
from enrich.video.probe import probe
from enrich.video.sample_clip import draw_sample_clip
from tests.clips import read_jpeg


def test_sample_clip_is_small_fast_to_draw_and_has_five_scenes(extracted, tmp_path):
    began = time.process_time()
    clip = draw_sample_clip(tmp_path / "sample.mp4")
    assert time.process_time() - began < 6
    assert clip.stat().st_size < 300_000
    facts = probe(clip)
    assert (facts.width, facts.height) == (640, 360)
    assert facts.duration == pytest.approx(6, abs=0.1)
    kept, extraction = extracted(clip, "scenes")
    assert [frame.index for frame in kept] == [0, 18, 36, 54, 72]
    assert extraction.decoded == 90
    images = [read_jpeg(tmp_path / "frames" / frame.image_path).astype(int) for frame in kept]
    for number, image in enumerate(images):
        assert image.std() > 12
        assert all(np.abs(image - other).mean() > 20 for other in images[:number])


def test_sample_clip_is_drawn_without_an_h264_encoder(tmp_path, monkeypatch):
    write = sample_clip._write

    def without_h264(path, codec, options):
        write(path, "no such encoder" if codec == "libx264" else codec, options)

    monkeypatch.setattr(sample_clip, "_write", without_h264)
    facts = probe(draw_sample_clip(tmp_path / "sample.mp4"))
    assert (facts.codec, facts.frame_estimate) == ("mpeg4", 90)
    assert facts.size_bytes < 300_000
