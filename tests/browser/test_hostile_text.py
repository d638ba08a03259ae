"""External texts are never markup: titles, descriptions, tags, errors, context, model replies."""

import re

import pytest

from enrich.wording import WORD_JOINER
from tests.browser.served import Dashboard
from tests.browser.texts import EVIL, HOSTILE
from tests.cli.terminal import ask

# Elements that can only exist if a text was interpreted as markup.
ELEMENTS_FROM_TEXT = f"""() => {{
    const found = [
        ...document.querySelectorAll("img[src='x'], img[onerror], svg[onload], a[href^='javascript:']"),
        ...document.querySelectorAll("[src^='{EVIL}'], [href^='{EVIL}']"),
        ...document.querySelectorAll(".katex, [data-testid=stMain] td code, [data-testid=stMain] blockquote"),
    ];
    return found.map(element => element.outerHTML.slice(0, 300));
}}"""
INVISIBLE = re.compile("[\x1b\u200b\u202a-\u202e]")
PAGES = [
    "/",
    "/library",
    "/library?video=1",
    "/frames?video=1",
    "/frames?video=2&show=failed",
    "/models",
    "/costs",
    "/setup",
]
FILTERED = ["/frames?video=1&show=corrected", "/frames?video=1&show=warnings", "/frames?video=1&source=3"]


def assert_only_text(tab) -> None:
    assert tab.page.evaluate(ELEMENTS_FROM_TEXT) == []
    assert not INVISIBLE.search(tab.words())
    tab.assert_clean()


@pytest.mark.slow
@pytest.mark.parametrize("path", [*PAGES, *FILTERED, "/search?q=strange", "/search?q=words&video=1"])
def test_pages_show_hostile_texts_as_text(strange_dashboard, new_tab, path):
    assert_only_text(new_tab(strange_dashboard).open(path))


def frames(dashboard: Dashboard) -> list[int]:
    return [row[0] for row in ask(dashboard.home, "SELECT id FROM frames ORDER BY video_id, timestamp")]


@pytest.mark.slow
def test_frames_show_hostile_texts_as_written(strange_dashboard, new_tab):
    tab = new_tab(strange_dashboard)
    for frame, text in zip(frames(strange_dashboard), HOSTILE, strict=False):
        tab.open(f"/frames?video=1&frame={frame}")
        for expander in tab.page.locator("[data-testid=stExpander] summary").all():
            expander.click()
        tab.settled()
        assert_only_text(tab)
        visible = next(word for word in text.split() if word.isascii() and word.isprintable())
        assert visible in tab.words()


@pytest.mark.slow
def test_hostile_urls_are_text(strange_dashboard, new_tab):
    tab = new_tab(strange_dashboard)
    for path in (
        "/search?q=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
        "/search?q=x&tag=%5Bx%5D(http%3A%2F%2F127.0.0.1%3A9)",
        "/frames?video=%3Cimg%20src%3Dx%3E",
        "/frames?video=1&frame=999999999999999999999999",
        "/frames?video=1&source=999999999999999999999999",
        "/frames?video=1&tag=%24%5CLaTeX%24",
        "/library?video=-1",
    ):
        assert_only_text(tab.open(path))
        assert "Traceback" not in tab.words()


@pytest.mark.slow
def test_frame_with_the_worst_texts_is_harmless(strange_dashboard, new_tab):
    [first, *_] = frames(strange_dashboard)
    tab = new_tab(strange_dashboard).open(f"/frames?video=1&frame={first}")
    assert_only_text(tab)
    assert HOSTILE[0] in tab.words().replace(WORD_JOINER, "")
