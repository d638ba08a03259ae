"""The deep pass's cost with other models, by the published formula and prices."""

import pytest

from db.costs import PassCost, VideoCost
from enrich.costs import compare, deep_cost, rows, stored_size, summary_line
from enrich.describe.claude.prices import packaged_prices
from enrich.describe.claude.request import text_tokens
from enrich.describe.prompt import known_events
from enrich.describe.quick.protocol import LabelledImage
from enrich.settings import load_settings

HD_TOKENS = 1196  # of 1280×720, from the documentation


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path))
    return load_settings()


def video(number=1, *, quick=PassCost(), deep=PassCost(), size=(1920, 1080)):  # noqa: B008  # frozen
    return VideoCost(number, f"film {number}", *size, kept=deep.frames, quick=quick, deep=deep)


def deep(frames, *, seconds=0.0, output=150):
    return PassCost(frames, frames, seconds, frames * 600, frames * output, 0.0)


def test_summary_line_compares_both_passes(settings):
    quick = PassCost(50, 50, 12.0, 60_000, 7_500, 0.049)
    total = compare([video(quick=quick, deep=deep(1000))], settings).total
    assert summary_line(total) == "50 frames @ $0.049, 1,000 frames @ $0.00, 20x more analysis for the same price"


@pytest.mark.parametrize(
    ("quick", "described", "line"),
    [
        (0, 1000, None),
        (50, 0, None),
        (50, 20, "50 frames @ $0.010, 20 frames @ $0.00"),
        (40, 100, "40 frames @ $0.010, 100 frames @ $0.00, 2.5x more analysis for the same price"),
        (1, 2, "1 frame @ $0.010, 2 frames @ $0.00, 2x more analysis for the same price"),
    ],
)
def test_fewer_deep_frames_are_not_called_more(settings, quick, described, line):
    spent = PassCost(quick, quick, 1.0, 0, 0, 0.01 if quick else 0.0)
    assert summary_line(compare([video(quick=spent, deep=deep(described))], settings).total) == line


def test_thousand_hd_frames_follow_the_formula(settings):
    total = compare([video(deep=deep(1000))], settings).total
    images = [LabelledImage(f"F{number}", b"", 0.0) for number in range(10)]
    words = text_tokens(images, context="", language="English", events=known_events())
    for price, found in zip(packaged_prices().models, total.alternatives, strict=True):
        assert found.model == price.name
        if price.thinking != "always":
            tokens_in, tokens_out = 1000 * HD_TOKENS + 100 * words, 1000 * 150
            assert found.usd == pytest.approx((tokens_in * price.input + tokens_out * price.output) / 1e6)
        assert found.batch_usd == pytest.approx(found.usd / 2)


def test_replies_are_as_long_as_the_local_models(settings):
    [short] = compare([video(deep=deep(10, output=10))], settings).videos
    [long] = compare([video(deep=deep(10, output=300))], settings).videos
    price = packaged_prices().models[0]
    assert long.summary.alternatives[0].usd - short.summary.alternatives[0].usd == pytest.approx(
        10 * 290 * price.output / 1e6
    )


def test_totals_are_sums_of_videos(settings):
    videos = [video(1, deep=deep(15)), video(2, deep=deep(7), size=(640, 360)), video(3)]
    found = compare(videos, settings)
    for place, model in enumerate(found.total.alternatives):
        assert model.usd == pytest.approx(sum(each.summary.alternatives[place].usd for each in found.videos))
    assert found.videos[2].summary.alternatives[0].usd == 0
    assert found.total.deep.frames == 22


def test_no_videos_cost_nothing(settings):
    found = compare([], settings)
    assert {model.usd for model in found.total.alternatives} == {0}
    assert summary_line(found.total) is None


def test_electricity_is_watts_times_wall_clock_time(settings):
    assert compare([video(deep=deep(10, seconds=7200.0))], settings).total.electricity is None
    with_power = settings.model_copy(update={"power_watts": 250.0, "kwh_price": 0.4})
    total = compare([video(deep=deep(10, seconds=7200.0))], with_power).total
    assert total.electricity == pytest.approx(0.2)
    assert deep_cost(total) == "$0.00 + 0.200 of electricity"
    short = compare([video(deep=deep(10, seconds=2.0))], with_power).total
    assert deep_cost(short) == "$0.00 + under 0.001 of electricity"


def test_prices_in_the_data_folder_are_used(settings):
    (settings.home / "prices.toml").write_text(
        'as_of = 2027-01-01\nsource = "me"\nbatch_factor = 0.25\n'
        '[[models]]\nname = "own"\ntitle = "Own"\ninput = 1.0\noutput = 0.0\n',
        encoding="utf-8",
    )
    found = compare([video(deep=deep(10))], settings)
    [own] = found.total.alternatives
    assert (found.prices_source, own.title) == ("me", "Own")
    assert own.batch_usd == pytest.approx(own.usd / 4)


def test_total_row_comes_last(settings):
    found = rows(compare([video(1, deep=deep(15)), video(2, deep=deep(7))], settings))
    assert [row["film"] for row in found] == ["film 1", "film 2", "All videos"]
    assert [row["deep_frames"] for row in found] == [15, 7, 22]


@pytest.mark.parametrize(
    ("size", "stored"), [((3840, 2160), (1344, 756)), ((640, 360), (640, 360)), ((1080, 1920), (756, 1344))]
)
def test_stored_size_is_limited_by_the_edge(size, stored):
    assert stored_size(*size, 1344) == stored
