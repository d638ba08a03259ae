"""The command `quick`: key frames described by Claude, a local model or the baseline; confirmation, cost, storage."""

import json
import re
import sys
from collections import Counter

import pytest

from tests.cli.terminal import ask

KEY_FRAMES = "SELECT {} FROM frames WHERE is_keyframe ORDER BY timestamp"
PAID = "SELECT count(*), sum(cost_usd) FROM analyses WHERE \"pass\" = 'quick'"
NUMBER = re.compile(r"number (\d+)")


class Keyboard:
    """A terminal whose user types one answer."""

    def __init__(self, answer):
        self._left = answer

    def isatty(self):
        return True

    def readline(self, *_):
        line, self._left = self._left, ""
        return line


def done(said):
    """The last line of JSON."""
    return json.loads(said.out.splitlines()[-1])


def deep_pass(home):
    return ask(home, "SELECT id, local_description, local_tags, enriched_at FROM frames ORDER BY id")


def quick_described(home):
    return [frame for (frame,) in ask(home, "SELECT id FROM frames WHERE quick_description IS NOT NULL ORDER BY id")]


def assert_sound(cli):
    """Assert that the library is consistent."""
    for checked in (cli("audit", "moments"), cli("verify")):
        assert checked.code == 0, checked


def number_in(text):
    """The number in a description."""
    return int(NUMBER.search(text)[1])


def test_key_frames_are_described_billed_and_saved(cli, video, claude):
    before = deep_pass(video)
    said = cli("quick", "moments", "--yes", "--json")
    assert said.code == 0, said
    end = done(said)
    assert (end["answered"], end["pictures"], end["problems"], end["error"]) == (5, 5, [], None)
    rows = ask(video, KEY_FRAMES.format("local_description, quick_description, quick_tags, event_type, excitement"))
    assert len(rows) == 5
    for deep, text, tags, event, excitement in rows:
        number = number_in(deep)
        assert number_in(text) == number
        assert f"number {number}" in json.loads(tags)
        assert event
        assert excitement == number % 11
    assert len(quick_described(video)) == 5
    [(calls, usd)] = ask(video, PAID)
    assert calls == 5
    assert usd == pytest.approx(claude.usd, rel=1e-9)
    assert end["usd"] == pytest.approx(claude.usd, rel=1e-9)
    tokens = ask(video, "SELECT sum(prompt_tokens), sum(output_tokens) FROM analyses WHERE \"pass\" = 'quick'")
    assert tokens == [(sum(bill.input_tokens for bill in claude.bills), sum(b.output_tokens for b in claude.bills))]
    assert deep_pass(video) == before


def test_search_finds_texts_of_both_passes(cli, video, claude):
    assert cli("quick", "moments", "--yes").code == 0
    [(frame, text, event)] = ask(video, KEY_FRAMES.format("id, quick_description, event_type") + " LIMIT 1")
    found = cli(
        "search", f"number {number_in(text)} {event}", "--json"
    ).json  # both texts have the number, one has the event
    assert found["every_word"]
    assert [(hit["frame_id"], hit["source"]) for hit in found["hits"]] == [(frame, "deep")]
    assert_sound(cli)


def test_search_finds_quick_texts_before_the_deep_pass(cli, home, moments, claude):
    assert cli("add", moments, "--sampling", "exact").code == 0
    assert cli("quick", "moments", "--yes").code == 0
    hits = cli("search", "number", "--json").json["hits"]
    assert {hit["source"] for hit in hits} == {"quick"}
    assert sorted(hit["frame_id"] for hit in hits) == quick_described(home)
    assert cli("verify").code == 0
    assert ask(home, "SELECT enrichment_status FROM videos") != [("enriched",)]


def test_without_a_terminal_nothing_is_sent(cli, video, claude):
    said = cli("quick", "moments")
    assert said.code == 1
    assert "5 frames of moments will be sent to Anthropic" in said.err
    assert "Pass --yes" in said.err
    assert claude.sent == []


@pytest.mark.parametrize(("answer", "sent"), [("n\n", 0), ("\n", 0), ("", 0), ("y\n", 1)])
def test_only_yes_sends(cli, video, claude, monkeypatch, answer, sent):
    monkeypatch.setattr(sys, "stdin", Keyboard(answer))
    said = cli("quick", "moments")
    assert "5 frames of moments will be sent to Anthropic" in said.out
    assert "for about $0.00" in said.out
    assert len(claude.sent) == sent
    assert (said.code == 0) == (sent == 1)
    assert len(quick_described(video)) == 5 * sent


def test_estimate_sends_nothing_and_matches_the_cost(cli, video, claude):
    offer = cli("quick", "moments", "--estimate", "--json").json
    assert claude.sent == []
    assert (offer["pictures"], offer["requests"], offer["problem"]) == (5, 1, None)
    assert offer["recipient"].startswith("Anthropic (Claude)")
    assert offer["is_counted"]
    cli("quick", "moments", "--yes")
    assert offer["input_tokens"] == pytest.approx(sum(bill.input_tokens for bill in claude.bills), rel=0.1)
    assert claude.usd <= offer["most_usd"]


def test_monthly_budget_stops_before_sending(cli, video, claude, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MONTHLY_BUDGET_USD", "0.0001")
    cli("quick", "moments", "--yes").refused(
        "this month's budget of $0.0001", "everyframe settings set monthly_budget_usd"
    )
    assert claude.sent == []


def test_monthly_budget_counts_earlier_spending(cli, video, claude, monkeypatch):
    offer = cli("quick", "moments", "--estimate", "--json").json
    monkeypatch.setenv("EVERYFRAME_MONTHLY_BUDGET_USD", str(offer["most_usd"] * 1.05))
    assert cli("quick", "moments", "--yes").code == 0
    claude.forget()
    cli("quick", "moments", "--again", "--yes").refused("budget")
    assert claude.sent == []


def test_most_usd_limit_is_respected(cli, video, claude):
    cli("quick", "moments", "--yes", "--most-usd", "0.00001").refused("more than the limit of", "Nothing was sent")
    assert claude.sent == []


def test_nothing_is_paid_twice_without_again(cli, video, claude):
    cli("quick", "moments", "--yes")
    paid = claude.usd
    said = cli("quick", "moments", "--yes", "--json")
    assert said.code == 0
    assert done(said)["text"] == "Everything is already described."
    assert claude.usd == paid
    assert cli("quick", "moments", "--yes", "--again").code == 0
    assert claude.usd == pytest.approx(2 * paid, rel=1e-9)
    assert ask(video, PAID)[0][1] == pytest.approx(claude.usd, rel=1e-9)


def test_more_key_frames_later_describe_only_new_ones(cli, video, claude):
    cli("quick", "moments", "--yes")
    first = quick_described(video)
    claude.forget()
    assert cli("quick", "moments", "--frames", "8", "--yes").code == 0
    assert sum(len(bill.labels) for bill in claude.bills) == 3
    assert len(quick_described(video)) == 8
    assert set(first) < set(quick_described(video))


def test_new_video_is_skimmed_first(cli, home, moments, claude):
    assert cli("add", moments).code == 0
    assert ask(home, "SELECT count(*) FROM frames") == [(0,)]
    said = cli("quick", "moments", "--yes", "--json")
    assert said.code == 0, said
    assert "looking" in [json.loads(line)["step"] for line in said.out.splitlines()]
    assert len(quick_described(home)) == 5


def test_several_videos_are_confirmed_together(cli, home, moments, party, claude):
    assert cli("add", moments, "--sampling", "exact").code == 0
    assert cli("add", party, "--sampling", "exact").code == 0
    said = cli("quick", "moments", "party", "--yes")
    assert said.code == 0, said
    assert "of 2 videos will be sent to Anthropic" in said.out
    videos = dict(ask(home, "SELECT 'F' || id, video_id FROM frames"))
    assert all(len({videos[label] for label in bill.labels}) == 1 for bill in claude.bills)
    assert len(claude.bills) == 2


@pytest.mark.parametrize("trick", ["missing", "doubled", "unknown", "shuffled"])
def test_replies_are_matched_by_label_and_missing_retried(cli, video, claude, trick):
    claude.play(trick, times=1)
    assert cli("quick", "moments", "--yes").code == 0
    rows = ask(video, KEY_FRAMES.format("quick_description, local_description"))
    assert len(rows) == 5
    assert all(number_in(quick) == number_in(deep) for quick, deep in rows)
    asked = Counter(len(bill.labels) for bill in claude.bills)
    assert asked == ({5: 1} if trick == "shuffled" else {5: 1, 1: 1})
    assert ask(video, PAID)[0][1] == pytest.approx(claude.usd, rel=1e-9)


def test_local_model_is_free(cli, video, standin, claude):
    said = cli("quick", "moments", "--describer", "ollama", "--model", "llava:13b", "--json")
    assert said.code == 0, said
    assert len(quick_described(video)) == 5
    assert claude.history == []
    assert ask(video, PAID) == [(5, 0.0)]
    assert_sound(cli)


def test_baseline_never_replaces_a_models_text(cli, video, claude):
    assert cli("quick", "moments", "--describer", "baseline").code == 0
    assert len(quick_described(video)) == 5
    assert claude.history == []
    assert_sound(cli)
    assert cli("quick", "moments", "--yes").code == 0
    said_by_claude = ask(video, "SELECT id, quick_description, event_type FROM frames WHERE event_type IS NOT NULL")
    assert len(said_by_claude) == 5
    assert cli("quick", "moments", "--describer", "baseline", "--again").code == 0
    assert cli("enrich", "--describer", "baseline").code == 0
    after = "SELECT id, quick_description, event_type FROM frames WHERE event_type IS NOT NULL"
    assert ask(video, after) == said_by_claude
    assert len(quick_described(video)) == 24
    assert_sound(cli)


def test_deep_pass_prompt_has_the_event_type(cli, home, moments, claude, standin):
    assert cli("add", moments, "--sampling", "exact").code == 0
    assert cli("quick", "moments", "--yes").code == 0
    events = dict(ask(home, KEY_FRAMES.format("timestamp, event_type")))
    assert cli("enrich").code == 0
    by_number = {chat.numbers[0]: chat.prompt for chat in standin.history if chat.numbers}
    rows = ask(home, "SELECT local_description, timestamp FROM frames")
    assert len(rows) == 24
    for text, timestamp in rows:
        nearest = min(abs(timestamp - other) for other in events)
        near = {event for other, event in events.items() if abs(timestamp - other) == pytest.approx(nearest)}
        assert any(f'"{event}"' in by_number[number_in(text)] for event in near)
    assert all(quick and deep for quick, deep in ask(home, KEY_FRAMES.format("quick_description, local_description")))
    assert_sound(cli)
