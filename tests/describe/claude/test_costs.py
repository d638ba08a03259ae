"""Claude's image tokens and costs: the formula against published examples, prices, estimates."""

import shutil
from datetime import date
from importlib.resources import files

import pytest

from enrich.describe.claude.prices import load_prices, packaged_prices
from enrich.describe.claude.reply import split_proportionally
from enrich.describe.claude.request import blank_image, fit_image, fitted_size, image_tokens, split_into_requests
from enrich.describe.quick.protocol import LabelledImage
from enrich.errors import SettingsError
from tests.describe.images import numbered_jpeg, plain_jpeg, progressive
from tests.describe.labelled_images import labelled
from tests.standin.sight import read_image
from tests.standin_claude.request import MODELS, billed_size

# From https://platform.claude.com/docs/en/build-with-claude/vision: size, then rescaled size and tokens in the
# standard tier and in the high-resolution tier.
PUBLISHED = [
    ((200, 200), (200, 200), 64, (200, 200), 64),
    ((1000, 1000), (1000, 1000), 1296, (1000, 1000), 1296),
    ((1092, 1092), (1092, 1092), 1521, (1092, 1092), 1521),
    ((1920, 1080), (1456, 819), 1560, (1920, 1080), 2691),
    ((2000, 1500), (1269, 952), 1564, (2000, 1500), 3888),
    ((3840, 2160), (1456, 819), 1560, (2576, 1449), 4784),
]


@pytest.mark.parametrize(("size", "standard", "few", "high", "many"), PUBLISHED)
def test_image_tokens_match_the_published_table(size, standard, few, high, many):
    assert image_tokens(*standard) == few
    assert image_tokens(*high) == many
    for model, seen, tokens in (("claude-haiku-4-5", standard, few), ("claude-opus-5-5", high, many)):
        assert image_tokens(*billed_size(*size, MODELS[model])) == tokens, seen


def test_thousand_images_cost_what_the_documentation_says():
    prices = packaged_prices()
    assert prices.of("claude-haiku-4-5").usd(1000 * image_tokens(1000, 1000), 0) == pytest.approx(1.30, abs=0.005)
    assert prices.of("claude-opus-5-5").usd(1000 * 1296, 0) == pytest.approx(
        6.48 * 4 / 5
    )  # the example uses a price of $5


@pytest.mark.parametrize(
    ("size", "sent", "tokens"),
    [
        ((1280, 720), (1280, 720), 1196),
        ((3840, 2160), (1280, 720), 1196),
        ((2160, 3840), (720, 1280), 1196),
        ((1440, 1080), (960, 720), 910),
        ((4096, 1716), (1280, 536), 920),
        ((640, 360), (640, 360), 299),
        ((2000, 2000), (720, 720), 676),
        ((4000, 20), (1280, 64), 138),
        ((16, 16), (64, 64), 9),
    ],
)
def test_images_are_sent_at_a_size_no_model_rescales(size, sent, tokens):
    assert fitted_size(*size) == sent
    assert image_tokens(*sent) == tokens
    for model in MODELS.values():
        assert billed_size(*sent, model) == sent  # it is not rescaled


def test_images_are_sent_at_exactly_the_fitted_size():
    right = numbered_jpeg(7, (1280, 720))
    assert fit_image(right) is right
    for jpeg in (numbered_jpeg(7, (1344, 756)), numbered_jpeg(7, (3840, 2160)), progressive(right)):
        sight = _seen(fit_image(jpeg))
        assert (sight.width, sight.height, sight.number) == (1280, 720, 7)


def test_blank_image_has_the_size_and_shows_nothing():
    sight = _seen(blank_image(numbered_jpeg(7, (1344, 756))))
    assert (sight.width, sight.height, sight.number) == (1280, 720, None)
    assert sight.colours == ("grey",)


def test_packaged_prices_have_a_date_and_a_source():
    prices = packaged_prices()
    assert prices.as_of > date(2026, 10, 7)  # release of the cheapest model
    assert prices.source.startswith("https://")
    assert prices.batch_factor == 0.5
    assert prices.cheapest.name == "claude-haiku-5-5"


def test_long_prompts_have_their_own_price():
    haiku = packaged_prices().of("claude-haiku-5-5")
    assert haiku.usd(100_000, 10_000) == pytest.approx(0.01 + 0.005)
    assert haiku.usd(100_001, 10_000) == pytest.approx(5 * (0.0100001 + 0.005))
    assert haiku.usd(10_000, 1_000, prompt_tokens=100_001) == pytest.approx(5 * 0.0015)  # its share of a long prompt
    assert packaged_prices().of("claude-sonnet-5-5").usd(1_000_000, 100_000) == pytest.approx(2 + 1)


def test_dated_model_name_has_its_models_price():
    prices = packaged_prices()
    assert prices.of("claude-haiku-4-5-20251001").title == "Claude Haiku 4.5"
    with pytest.raises(SettingsError, match=r"no price is known for claude-haiku-4: choose one of claude-haiku-5-5, "):
        prices.of("claude-haiku-4")


def test_price_file_in_the_data_folder_replaces_the_prices(tmp_path):
    shutil.copy(files("enrich.describe.claude").joinpath("prices.toml"), tmp_path)
    file = tmp_path / "prices.toml"
    file.write_text(file.read_text().replace("input = 0.10", "input = 0.20"))
    assert load_prices(tmp_path).of("claude-haiku-5-5").input == 0.20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("as_of = ", "cannot be read"),
        ("as_of = 2026-01-01\nsource = 'x'\nmodels = []", "models"),
        ("as_of = 2026-01-01\nsource = 'x'\nmodels = [{name='a', title='A', input=-1, output=1}]", "models.0.input"),
        ("as_of = 2026-01-01\nsource = 'x'\nmodels = [{name='a', title='A', inputs=1, output=1}]", "models.0.input"),
    ],
)
def test_invalid_price_file_is_named_in_the_error(tmp_path, text, said):
    (tmp_path / "prices.toml").write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        load_prices(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_fifty_key_frames_at_720p_cost_a_cent(make_quick):
    images = [LabelledImage(f"F{number}", numbered_jpeg(1, (1280, 720)), number) for number in range(50)]
    estimate = make_quick().estimate(images)
    assert (estimate.images, estimate.requests) == (50, 5)
    assert 50 * 1196 < estimate.input_tokens < 50 * 1196 * 1.1
    assert estimate.usd == pytest.approx(0.010, abs=0.0005)
    assert make_quick().estimate(images, batch=True).usd == pytest.approx(estimate.usd / 2)
    assert make_quick(model="claude-sonnet-5-5").estimate(images).usd == pytest.approx(0.20, abs=0.01)
    assert estimate.most_usd > estimate.usd


async def test_estimate_is_slightly_above_the_count(make_quick, claude):
    images = labelled(*range(23), size=(1280, 720))
    context = "Anna and Ben's wedding, with the speeches and the first dance"
    said = make_quick().estimate(images, context=context)
    counted = await make_quick().count(images, context=context)
    for part in make_quick().parts(images):
        await make_quick().ask(part, context=context)
    true = sum(bill.input_tokens for bill in claude.bills)
    assert true <= counted.input_tokens <= said.input_tokens <= true * 1.05


async def test_counting_sends_nothing_of_the_video(make_quick, claude):
    images = [*labelled(*range(20)), *labelled(*range(20, 30), size=(640, 360))]
    await make_quick().count(images, context="Anna and Ben's wedding")
    assert claude.sent == []
    for request in claude.history:
        assert request.path == "/v1/messages/count_tokens"
        assert set(request.numbers) == {None}
        assert "Anna" not in request.text
    assert len(claude.history) == 2  # equal sizes are counted once


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-opus-5-5"])
@pytest.mark.parametrize("trick", ["not json", "cut off", "doubled", "refusal"])
async def test_cost_never_exceeds_the_stated_maximum(make_quick, claude, model, trick):
    images = labelled(*range(12), size=(640, 360))
    quick = make_quick(model=model)
    estimate = quick.estimate(images, context="Die Hochzeit von Jürgen und Zoë 結婚式")
    claude.play(trick)
    for part in quick.parts(images):
        await quick.ask(part, context="Die Hochzeit von Jürgen und Zoë 結婚式")
    assert claude.usd <= estimate.most_usd


def test_other_scripts_are_not_undercounted(make_quick):
    images = labelled(1)
    latin = make_quick().estimate(images, context="x" * 300).input_tokens
    assert make_quick().estimate(images, context="式" * 300).input_tokens >= latin + 300


def test_requests_are_even_and_keep_the_order():
    images = labelled(*range(23))
    parts = split_into_requests(images, max_images=600)
    assert [len(part) for part in parts] == [8, 7, 8]
    assert [image for part in parts for image in part] == images
    assert [len(part) for part in split_into_requests(images, max_images=4)] == [4, 4, 4, 3, 4, 4]
    assert split_into_requests([], max_images=100) == []


@pytest.mark.parametrize("total", [0, 1, 2, 99, 1000, 12_345])
def test_tokens_are_split_proportionally_and_exactly(total):
    weights = [1196, 1196, 299, 910, 1]
    parts = split_proportionally(total, weights)
    assert sum(parts) == total
    assert all(abs(part - total * weight / sum(weights)) < 1 for part, weight in zip(parts, weights, strict=True))


def _seen(jpeg):
    from base64 import b64encode

    return read_image(b64encode(jpeg).decode())


def test_plain_image_differs_from_a_blank_one():
    assert _seen(plain_jpeg((200, 30, 30))).colours != ("grey",)
