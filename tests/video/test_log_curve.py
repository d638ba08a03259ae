"""Log footage is detected from metadata only."""

import pytest
from av.video.reformatter import ColorTrc

from enrich.errors import NotAVideoError
from enrich.video.probe import log_curve, probe
from tests.clips import numbered_clip


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({"com.vendor.gamma": "S-Log3"}, "S-Log3"),
        ({"com.panasonic.colour-profile": "V-Log"}, "V-Log"),
        ({"picture_style": "Canon Log 2"}, "Canon Log 2"),
        ({"ColorProfile": "D-Log M"}, "D-Log M"),
        ({"com.apple.transfer": "Apple Log"}, "Apple Log"),
        ({"look": "F-Log2"}, "F-Log2"),
        ({"gamma": "LogC3"}, "LogC3"),
    ],
)
def test_tags_about_the_look_name_the_curve(tags, name, tmp_path):
    assert log_curve(tmp_path, ColorTrc.BT709, tags) == name


@pytest.mark.parametrize("tags", [{"title": "My Vlog"}, {"comment": "S-Log3 test"}, {"gamma": "Rec.709"}, {}])
def test_other_tags_name_no_curve(tags, tmp_path):
    assert log_curve(tmp_path, ColorTrc.BT709, tags) is None


def test_a_log_transfer_characteristic_is_enough(tmp_path):
    assert log_curve(tmp_path, ColorTrc.LOG, {}) == "a log curve"
    assert log_curve(tmp_path, ColorTrc.LOG_SQRT, {}) == "a log curve"


def test_probe_accepts_log_footage_with_a_warning(tmp_path):
    clip = numbered_clip(tmp_path / "log.mov", frames=2, tags={"com.vendor.gamma": "S-Log3"})
    [warning] = probe(clip).warnings
    assert "S-Log3" in warning
    assert probe(numbered_clip(tmp_path / "plain.mov", frames=2)).warnings == ()


def test_sony_metadata_after_the_video_is_read(tmp_path):
    clip = numbered_clip(tmp_path / "C0001.MP4", frames=2, options={"movflags": "+faststart"})
    data = clip.read_bytes().replace(b"ftypisom", b"ftypXAVC", 1)
    xml = b'<Item name="CaptureGammaEquation" value="s-log3-cine"/>'
    box = (len(xml) + 8).to_bytes(4) + b"free" + xml
    clip.write_bytes(data + box)
    [warning] = probe(clip).warnings
    assert "s-log3-cine" in warning


@pytest.mark.parametrize("name", ["A001.braw", "A001.R3D", "A001.nev", "A001.crm", "A001.ari", "frame_0001.dng"])
def test_a_raw_format_is_refused_with_a_remedy(name, tmp_path):
    (tmp_path / name).write_bytes(b"\0" * 5000)
    with pytest.raises(NotAVideoError, match=r"export it as ProRes or H\.264 with") as raised:
        probe(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)
