"""Watching for changes from elsewhere: another tab, a terminal, the worker itself.

Live parts draw themselves anew and hold no widgets. What holds widgets is drawn by the page; this has the page drawn
again, some 1 s later, when other buttons fit than are there, or other parts are to be live.
"""

from dataclasses import dataclass

import streamlit as st

from pages.parts.overview.status import Now, look
from pages.parts.overview.wishes import Wish, fitting, words
from pages.parts.plain import shown
from pages.parts.readiness import Lack, lack
from pages.parts.session import settings

EVERY = "1s"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a page is drawn for: as long as it is the same, the page need not be drawn again."""

    wishes: tuple[Wish, ...]
    is_live: bool
    lack: Lack | None
    failures: tuple[tuple[str, int], ...]
    waiting: tuple[tuple[str, str], ...]
    counts: tuple[int, ...]  # where live parts show them: only whether there is anything


def scene(now: Now) -> Scene:
    """What the page is to be drawn for now."""
    found = now.status
    is_live = found.is_running or found.is_supervised
    counts = (found.videos, found.videos_decoded, found.frames, found.described, found.videos_enriched)
    is_at_work = found.is_running and all(host.state == "open" for host in found.hosts) and bool(found.hosts)
    return Scene(
        wishes=fitting(found),
        is_live=is_live,
        lack=None if is_at_work else lack(settings(), is_doubtful=found.is_running),
        failures=tuple(found.failures),
        waiting=tuple(found.waiting),
        counts=(found.videos > 0, found.described > 0) if is_live else counts,
    )


def draw_standing(drawn: Scene) -> None:
    """What the worker is doing, in words; and the watch."""
    st.fragment(_standing, run_every=EVERY)(drawn)


def _standing(drawn: Scene) -> None:
    now = look()
    if scene(now) != drawn:
        st.rerun()
    said = words(now.status)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(said.name, color=said.tone)
        st.text(shown(said.sentence), width="stretch")
