"""What pictures count and cost at Claude: the formula against the published examples, prices, estimates."""

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
from tests.standin.sight import look
from tests.standin_claude.request import MODELS, billed_size

# The table of https://platform.claude.com/docs/en/build-with-claude/vision: size, the size it is looked at and the
# tokens in the standard tier, and in the high-resolution tier.
PUBLISHED = [
    ((200, 200), (200, 200), 64, (200, 200), 64),
    ((1000, 1000), (1000, 1000), 1296, (1000, 1000), 1296),
    ((1092, 1092), (1092, 1092), 1521, (1092, 1092), 1521),
    ((1920, 1080), (1456, 819), 1560, (1920, 1080), 2691),
    ((2000, 1500), (1269, 952), 1564, (2000, 1500), 3888),
    ((3840, 2160), (1456, 819), 1560, (2576, 1449), 4784),
]


@pytest.mark.parametrize(("size", "standard", "few", "high", "many"), PUBLISHED)
def test_a_picture_counts_what_the_published_table_says(size, standard, few, high, many):
    assert image_tokens(*standard) == few
    assert image_tokens(*high) == many
    for model, seen, tokens in (("claude-haiku-4-5", standard, few), ("claude-opus-5-5", high, many)):
        assert image_tokens(*billed_size(*size, MODELS[model])) == tokens, seen


def test_a_thousand_pictures_cost_what_the_documentation_says():
    prices = packaged_prices()
    assert prices.of("claude-haiku-4-5").usd(1000 * image_tokens(1000, 1000), 0) == pytest.approx(1.30, abs=0.005)
    assert prices.of("claude-opus-5-5").usd(1000 * 1296, 0) == pytest.approx(6.48 * 4 / 5)  # their example is at $5


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
        ((4000, 20), (1280, 8), 46),
    ],
)
def test_pictures_are_sent_at_a_size_whose_tokens_are_known_on_every_model(size, sent, tokens):
    assert fitted_size(*size) == sent
    assert image_tokens(*sent) == tokens
    for model in MODELS.values():
        assert billed_size(*sent, model) == sent  # nobody scales it once more


def test_a_picture_of_the_right_size_is_sent_as_it_is_and_any_other_at_exactly_its_size():
    right = numbered_jpeg(7, (1280, 720))
    assert fit_image(right) is right
    for jpeg in (numbered_jpeg(7, (1344, 756)), numbered_jpeg(7, (3840, 2160)), progressive(right)):
        sight = _look(fit_image(jpeg))
        assert (sight.width, sight.height, sight.number) == (1280, 720, 7)


def test_a_blank_picture_has_the_size_and_shows_nothing():
    sight = _look(blank_image(numbered_jpeg(7, (1344, 756))))
    assert (sight.width, sight.height, sight.number) == (1280, 720, None)
    assert sight.colours == ("grey",)


def test_the_packaged_prices_are_dated_and_say_where_they_are_from():
    prices = packaged_prices()
    assert prices.as_of > date(2026, 10, 7)  # when the cheapest of the models came
    assert prices.source.startswith("https://")
    assert prices.batch_factor == 0.5
    assert prices.cheapest.name == "claude-haiku-5-5"


def test_long_prompts_have_their_own_price():
    haiku = packaged_prices().of("claude-haiku-5-5")
    assert haiku.usd(100_000, 10_000) == pytest.approx(0.01 + 0.005)
    assert haiku.usd(100_001, 10_000) == pytest.approx(5 * (0.0100001 + 0.005))
    assert haiku.usd(10_000, 1_000, prompt_tokens=100_001) == pytest.approx(5 * 0.0015)  # a share of a long one
    assert packaged_prices().of("claude-sonnet-5-5").usd(1_000_000, 100_000) == pytest.approx(2 + 1)


def test_a_dated_name_has_its_models_price_and_an_unknown_one_none():
    prices = packaged_prices()
    assert prices.of("claude-haiku-4-5-20251001").title == "Claude Haiku 4.5"
    with pytest.raises(SettingsError, match=r"no price is known for claude-haiku-4: take one of claude-haiku-5-5, "):
        prices.of("claude-haiku-4")


def test_a_file_in_the_data_folder_replaces_the_prices(tmp_path):
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
def test_prices_that_cannot_be_used_are_said_with_their_file(tmp_path, text, said):
    (tmp_path / "prices.toml").write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        load_prices(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_fifty_key_frames_at_720p_cost_a_cent(looker):
    images = [LabelledImage(f"F{number}", numbered_jpeg(1, (1280, 720)), number) for number in range(50)]
    estimate = looker().estimate(images)
    assert (estimate.images, estimate.requests) == (50, 5)
    assert 50 * 1196 < estimate.input_tokens < 50 * 1196 * 1.1
    assert estimate.usd == pytest.approx(0.010, abs=0.0005)
    assert looker().estimate(images, batch=True).usd == pytest.approx(estimate.usd / 2)
    assert looker(model="claude-sonnet-5-5").estimate(images).usd == pytest.approx(0.20, abs=0.01)
    assert estimate.most_usd > estimate.usd


async def test_the_estimate_is_not_below_the_count_and_hardly_above_it(looker, claude):
    images = labelled(*range(23), size=(1280, 720))
    context = "Anna and Ben's wedding, with the speeches and the first dance"
    said = looker().estimate(images, context=context)
    counted = await looker().count(images, context=context)
    for part in looker().parts(images):
        await looker().ask(part, context=context)
    true = sum(bill.input_tokens for bill in claude.bills)
    assert true <= counted.input_tokens <= said.input_tokens <= true * 1.05


async def test_counting_sends_nothing_of_the_video(looker, claude):
    images = [*labelled(*range(20)), *labelled(*range(20, 30), size=(640, 360))]
    await looker().count(images, context="Anna and Ben's wedding")
    assert claude.sent == []
    for request in claude.history:
        assert request.path == "/v1/messages/count_tokens"
        assert set(request.numbers) == {None}
        assert "Anna" not in request.text
    assert len(claude.history) == 2  # the same sizes are counted once


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-opus-5-5"])
@pytest.mark.parametrize("trick", ["not json", "cut off", "doubled", "refusal"])
async def test_at_the_most_means_at_the_most(looker, claude, model, trick):
    images = labelled(*range(12), size=(640, 360))
    looks = looker(model=model)
    estimate = looks.estimate(images, context="Die Hochzeit von Jürgen und Zoë 結婚式")
    claude.play(trick)
    for part in looks.parts(images):
        await looks.ask(part, context="Die Hochzeit von Jürgen und Zoë 結婚式")
    assert claude.usd <= estimate.most_usd


def test_words_in_other_scripts_are_not_counted_too_low(looker):
    images = labelled(1)
    latin = looker().estimate(images, context="x" * 300).input_tokens
    assert looker().estimate(images, context="式" * 300).input_tokens >= latin + 300


def test_parts_are_even_and_keep_the_order():
    images = labelled(*range(23))
    parts = split_into_requests(images, max_images=600)
    assert [len(part) for part in parts] == [8, 7, 8]
    assert [image for part in parts for image in part] == images
    assert [len(part) for part in split_into_requests(images, max_images=4)] == [4, 4, 4, 3, 4, 4]
    assert split_into_requests([], max_images=100) == []


@pytest.mark.parametrize("total", [0, 1, 2, 99, 1000, 12_345])
def test_a_bill_is_shared_in_proportion_and_to_the_last_token(total):
    weights = [1196, 1196, 299, 910, 1]
    parts = split_proportionally(total, weights)
    assert sum(parts) == total
    assert all(abs(part - total * weight / sum(weights)) < 1 for part, weight in zip(parts, weights, strict=True))


def _look(jpeg):
    from base64 import b64encode

    return look(b64encode(jpeg).decode())


def test_a_plain_picture_is_no_blank_one():
    assert _look(plain_jpeg((200, 30, 30))).colours != ("grey",)
