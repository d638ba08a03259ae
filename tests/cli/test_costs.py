"""The command `costs`."""

import pytest

from tests.cli.terminal import change

QUICK_CALLS = """
    INSERT INTO analyses(created_at, frame_id, "pass", describer, model, model_digest, host, prompt_version,
        latency_seconds, load_seconds, prompt_tokens, output_tokens, cost_usd, raw_reply, warnings, is_kept)
    SELECT strftime('%Y-%m-%d %H:%M:%f000', 'now'), id, 'quick', 'claude', 'claude-haiku-5-5', '', '', '1',
        1.0, 0, 1300, 150, 0.012, '', '[]', 1
    FROM frames WHERE video_id = 2 LIMIT 4
"""


@pytest.fixture
def quick_described(library, home):
    """The library, with four frames of `party` described by Claude in the quick pass."""
    change(home, QUICK_CALLS)
    change(home, "UPDATE frames SET excitement = 5 WHERE id IN (SELECT frame_id FROM analyses WHERE cost_usd > 0)")


def test_empty_library_says_what_to_do(cli):
    assert cli("costs").out == "The library is empty. Add videos: everyframe add PATH\n"
    assert cli("costs", "--json").json["films"] == []


def test_undescribed_library_cost_nothing(cli, party):
    cli("add", party)
    said = cli("costs")
    assert "would have cost" not in said.out
    assert "Quick pass  nothing yet\nDeep pass   nothing yet\nThis month  $0.00 of $5.00\n" in said.out


def test_both_passes_per_video_and_in_total(cli, quick_described):
    said = cli("costs")
    assert said.code == 0
    assert "party      4 frames   5,800  $0.048  12 frames" in said.out
    assert "numbers    0 frames       0   $0.00   6 frames" in said.out
    assert "The deep pass (18 frames) would have cost with Claude:" in said.out
    assert "Claude Haiku 5.5" in said.out
    assert "This month  $0.048 of $5.00" in said.out
    assert said.out.endswith("4 frames @ $0.048, 18 frames @ $0.00, 4.5x more analysis for the same price\n")


def test_costs_of_one_video(cli, quick_described):
    said = cli("costs", "numbers")
    assert "party" not in said.out
    assert "more analysis" not in said.out
    cli("costs", "nosuch").refused("nosuch")


def test_costs_as_json(cli, quick_described):
    value = cli("costs", "--json").json
    assert [video["title"] for video in value["films"]] == ["numbers", "party"]
    assert value["total"]["quick"]["usd"] == pytest.approx(0.048)
    assert value["total"]["deep"]["frames"] == 18
    assert all(model["saved_usd"] == model["usd"] > 0 for model in value["total"]["elsewhere"])
    assert value["month"] == {"spent_usd": pytest.approx(0.048), "promised_usd": 0, "budget_usd": 5.0}
    assert value["models"][0]["model"] == "claude-haiku-5-5"
    assert value["summary"].startswith("4 frames @ $0.048")


def test_removed_video_still_counts(cli, quick_described):
    cli("remove", "party", "--yes")
    said = cli("costs")
    assert "Removed     $0.048 for videos that are no longer in the library" in said.out
    assert "This month  $0.048 of $5.00" in said.out


def test_costs_of_removed_videos_stay_in_an_empty_library(cli, quick_described):
    for title in ("party", "numbers"):
        cli("remove", title, "--yes")
    said = cli("costs")
    assert said.out.startswith("Quick pass")
    assert "Removed     $0.048 for videos that are no longer in the library" in said.out
    assert "This month  $0.048 of $5.00" in said.out


def test_unusable_price_file_is_named(cli, quick_described, home):
    (home / "prices.toml").write_text("models = []", encoding="utf-8")
    cli("costs").refused("prices.toml")
