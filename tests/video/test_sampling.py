import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrich.video.likeness import LikenessLevel
from enrich.video.sampling import Sampling, SamplingKind, parse_sampling
from enrich.video.signals import Signals
from tests.clips import image_clip, numbered_clip, numbered_image


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("distinct", "distinct:normal"),
        ("distinct:strict", "distinct:strict"),
        (" Distinct:Loose ", "distinct:loose"),
        ("exact", "exact"),
        ("scenes", "scenes"),
        ("every=2s", "every=2s"),
        ("every=2", "every=2s"),
        ("every=0.5s", "every=0.5s"),
        ("every=500ms", "every=0.5s"),
        ("every=1m", "every=60s"),
        ("every=1.5h", "every=5400s"),
    ],
)
def test_a_sampling_has_one_stored_form(text, stored):
    sampling = parse_sampling(text)
    assert str(sampling) == stored
    assert parse_sampling(stored) == sampling


def test_plain_distinct_uses_the_given_likeness_level():
    assert str(parse_sampling("distinct", "strict")) == "distinct:strict"
    assert str(parse_sampling("distinct:loose", "strict")) == "distinct:loose"


@pytest.mark.parametrize(
    "text", ["", "all", "distinct:", "distinct:very", "every", "every=", "every=0s", "every=-1s", "every=2x", "exact:1"]
)
def test_an_invalid_sampling_is_refused_with_examples(text):
    with pytest.raises(ValueError, match=r"distinct.*exact.*scenes.*every=2s"):
        parse_sampling(text)


@given(st.floats(0.001, 1e5))
def test_any_period_survives_being_stored(period):
    again = parse_sampling(str(Sampling(SamplingKind.EVERY, period=period)))
    assert again.period == pytest.approx(period, rel=1e-8)


def kept_by(sampling, times, cuts=()):
    chooser = parse_sampling(sampling).chooser()
    signals = {is_cut: Signals(0, 0.0, 0.0, 0.0, is_cut) for is_cut in (True, False)}
    return [n for n, time in enumerate(times) if chooser.keep(time, None, signals[n in cuts])]


def test_every_keeps_the_first_frame_at_or_after_each_multiple():
    assert kept_by("every=0.2s", [n / 25 for n in range(16)]) == [0, 5, 10, 15]
    assert kept_by("every=0.1s", [n / 25 for n in range(11)]) == [0, 3, 5, 8, 10]
    assert kept_by("every=1s", [0.0, 0.4, 5.7, 5.8, 6.1]) == [0, 2, 4]
    assert kept_by("every=1s", [0.3, 0.9, 1.0]) == [0, 2]
    assert kept_by("every=2s", [-0.04, 0.0, 1.9, 2.0]) == [0, 1, 3]


def test_every_handles_periods_that_floats_cannot_represent():
    assert kept_by("every=0.1s", [n * 0.1 for n in range(1000)]) == list(range(1000))


def test_scenes_keeps_the_first_frame_of_each():
    assert kept_by("scenes", [n / 25 for n in range(9)], cuts={4, 7}) == [0, 4, 7]


def test_exact_keeps_all():
    assert kept_by("exact", [0.0, 0.1, 0.2]) == [0, 1, 2]


def test_distinct_compares_with_the_kept_frame_so_slow_change_adds_up(extracted, tmp_path):
    images = [numbered_image(0) // 2 + level for level in range(0, 100, 2)]
    clip = image_clip(tmp_path / "slow.mkv", images, codec="ffv1")
    kept = {level: extracted(clip, f"distinct:{level}", folder=level)[0] for level in LikenessLevel}
    counts = [len(kept[level]) for level in LikenessLevel]  # strict, normal, loose
    assert counts == sorted(counts, reverse=True)
    assert counts[1] == pytest.approx(98 / 31, abs=1)
    assert counts[0] > counts[2] > 1


def test_a_still_image_is_kept_once(extracted, tmp_path):
    clip = image_clip(tmp_path / "still.mp4", [numbered_image(7)] * 50)
    kept, _ = extracted(clip, "distinct")
    assert [frame.stands_for for frame in kept] == [50]


def test_every_on_a_real_file(extracted, tmp_path):
    kept, _ = extracted(numbered_clip(tmp_path / "clip.mp4", frames=60), "every=500ms")
    assert [frame.index for frame in kept] == [0, 13, 25, 38, 50]
    assert [frame.stands_for for frame in kept] == [13, 12, 13, 12, 10]
