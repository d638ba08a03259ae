"""Changing settings: one form a group, each setting with what it does; what is not good is said, and not saved.

A setting that the environment fixes is shown and cannot be changed here. Of a secret only whether there is one is
shown; it never leaves the server. Saved values are those of the settings file, checked as the command line checks them.

The settings in plain words: what each is called on the page, what it does, and which belong together.

A setting that is not named here is shown under its own name with its description, so that none is left out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.settings import settings_file
from enrich.settings_file import Preference, change, forget, preferences
from pages.parts.inquiry import inquiries
from pages.parts.plain import plain, shown
from pages.parts.session import settings

_SAVED, _FAILED = "preferences_saved", "preferences_failed"
ONLY_ENVIRONMENT = ("home",)


@dataclass(frozen=True, slots=True)
class SettingsGroup:
    """Settings that belong together, in the order they are shown: each with its label and what it does."""

    title: str
    words: dict[str, tuple[str, str]]
    is_open: bool = False


GROUPS = (
    SettingsGroup(
        "Descriptions",
        {
            "model": ("Model", "What Ollama calls it. The Models page compares those you have."),
            "language": ("Language of the descriptions", "Frames that are described already keep theirs."),
            "describer": (
                "What describes",
                "ollama: a model that sees. baseline: no model; it only measures light, colours and motion.",
            ),
            "allow_cloud": (
                "Allow models that run in a cloud",
                "Some of Ollama's models run elsewhere: your pictures would leave this machine.",
            ),
        },
        is_open=True,
    ),
    SettingsGroup(
        "When it works",
        {
            "hours": (
                "Working hours",
                "Such as 22:00-07:00, several with commas between. Outside of them it waits, and the GPU is free.",
            ),
            "keep_awake": (
                "Keep the computer awake while there is work",
                "mains: only while it is plugged in. A closed lid cannot be prevented from putting it to sleep.",
            ),
            "disk_reserve_mb": ("Disk space that stays free, in MB", "Before less than this is free, work pauses."),
        },
    ),
    SettingsGroup(
        "The quick look, and what it may cost",
        {
            "quick_describer": (
                "What looks at the key frames",
                "claude: fast, costs money, pictures leave this machine; you are asked first. ollama: a small model.",
            ),
            "quick_model": ("Its model", "Empty: Claude's cheapest, or moondream from Ollama."),
            "key_frames": ("Key frames of a film", "So many pictures are looked at, spread over the film."),
            "events": ("Kinds of events of your own", "With commas between; they are added to the list."),
            "monthly_budget_usd": ("Most US dollars in a month", "Nothing that could cost more is sent."),
            "power_watts": (
                "What this computer draws while it describes, in watts",
                "With the price of electricity, the costs page tells what a night costs.",
            ),
            "kwh_price": ("Price of a kilowatt hour, in your currency", "As your bill says."),
        },
    ),
    SettingsGroup(
        "Pictures",
        {
            "likeness": (
                "How alike frames must be to be left out",
                "strict keeps more frames and takes longer, loose keeps fewer. It goes for films that are added later.",
            ),
            "stored_edge": (
                "Size of the stored pictures, long edge in pixels",
                "What the model and you see of a frame. Smaller saves disk; films that are read already keep theirs.",
            ),
            "jpeg_quality": ("Quality of the stored pictures", "30 to 100. Higher takes more disk."),
        },
    ),
    SettingsGroup(
        "Ollama",
        {
            "ollama_hosts": ("Servers", "Addresses, with commas between. Every one of them describes frames."),
            "concurrency": ("Frames at once for each server", "More is faster only if the GPU has room for it."),
            "keep_alive": (
                "How long the model stays loaded after a call",
                "Such as 15m. Afterwards the GPU is free for other work.",
            ),
            "call_seconds": ("Longest wait for one description, in seconds", "Then the frame is tried again."),
            "load_seconds": ("Longest wait for the first one, in seconds", "It includes loading the model."),
            "connect_seconds": (
                "Longest wait for a server to answer at all, in seconds",
                "Then it counts as down, and is tried again later.",
            ),
        },
    ),
    SettingsGroup(
        "For those who know the models",
        {
            "num_ctx": ("Context, in tokens", "Empty: what the kind of model needs."),
            "num_predict": ("Longest reply, in tokens", "A reply that is longer is cut off."),
            "picture_edges": (
                "Size of the pictures that models are sent",
                'Long edge in pixels by kind of model, such as {"llava": 672}. Empty: what each kind sees best.',
            ),
            "ollama_options": ("Further options for Ollama", 'Such as {"num_thread": 4}.'),
        },
    ),
    SettingsGroup(
        "Where it is kept, and who may look",
        {
            "home": ("Data folder", "The database, the pictures, the logs, and these settings."),
            "database_url": ("Database", "Its address. Empty: a file in the data folder."),
            "dashboard_password": (
                "Password of this dashboard",
                "Without one, only this machine can reach the dashboard.",
            ),
        },
    ),
)


def grouped(preferences: Sequence[Preference]) -> list[tuple[SettingsGroup, list[Preference]]]:
    """Every setting in its group; those of no group come last."""
    by_name = {one.name: one for one in preferences}
    found = [(group, [by_name.pop(name) for name in group.words if name in by_name]) for group in GROUPS]
    if by_name:
        words = {name: (name.replace("_", " "), one.description) for name, one in by_name.items()}
        found.append((SettingsGroup("More", words), list(by_name.values())))
    return found


def draw_preferences() -> None:
    """All settings, in groups."""
    for group, found in grouped(preferences(settings())):
        with st.expander(group.title, expanded=group.is_open):
            _draw_group(group, found)
    st.caption(f"Saved in {plain(settings_file())}. A worker that runs takes changes up when it is started again.")


def _draw_group(group: SettingsGroup, found: Sequence[Preference]) -> None:
    for sentence in _take(_FAILED, group.title):
        st.error(plain(sentence))
    with st.form(f"settings-{group.title}", border=False):
        for one in found:
            _draw(one, *group.words[one.name])
        is_fixed = all(_fixed(one) for one in found)
        st.form_submit_button("Save", on_click=_save, args=[group, tuple(found)], disabled=is_fixed)
    if names := _take(_SAVED, group.title):
        st.success(f"Saved: {plain(', '.join(names))}.")


def _draw(one: Preference, label: str, does: str) -> None:
    """One setting: its widget, what it does, and where its value comes from."""
    key, fixed = _key(one), _fixed(one)
    value = _text(one.value)
    if one.is_secret:
        there = "One is set. Type another to replace it." if one.value else "None is set."
        st.text_input(label, key=key, type="password", value="", disabled=fixed, placeholder=there, autocomplete="off")
        if one.source == "file":
            st.checkbox("Take it away", key=_no_key(one))
    elif one.kind == "switch":
        st.toggle(label, key=key, value=bool(one.value), disabled=fixed)
    elif one.kind == "choice":
        st.selectbox(label, one.choices, index=one.choices.index(value), key=key, disabled=fixed)
    else:
        st.text_input(label, key=key, value=shown(value), disabled=fixed, placeholder=_default(one), autocomplete="off")
    st.caption(f"{plain(does)}{_origin(one)}")


def _origin(one: Preference) -> str:
    if one.source == "environment":
        return f" *Fixed by {plain(one.variable)} in the environment.*"
    if one.name in ONLY_ENVIRONMENT:
        return f" *Set {plain(one.variable)} in the environment to move it.*"
    if one.source == "file" and not one.is_secret:
        return f" The default is {plain(_default(one))}."
    return ""


def _save(group: SettingsGroup, found: tuple[Preference, ...]) -> None:
    """Save what was changed in a group. For callbacks."""
    saved, failed = [], []
    for one in found:
        typed, is_taken = st.session_state.get(_key(one)), bool(st.session_state.get(_no_key(one)))
        if _fixed(one) or not (is_taken or _is_changed(one, typed)):
            continue
        try:
            if is_taken or (not one.is_secret and _text(typed).strip() in ("", _text(one.default))):
                forget(one.name)
            else:
                change(one.name, _text(typed))
        except EveryFrameError as error:
            failed.append(f"{group.words[one.name][0]} was not saved: {error}")
        else:
            saved.append(group.words[one.name][0])
            for key in (_key(one), _no_key(one)):
                st.session_state.pop(key, None)
    st.session_state[f"{_SAVED}-{group.title}"] = saved
    st.session_state[f"{_FAILED}-{group.title}"] = failed
    inquiries().forget()


def _is_changed(one: Preference, typed: Any) -> bool:
    if one.is_secret:
        return bool(typed)
    return _text(typed).strip() != shown(_text(one.value)).strip()


def _fixed(one: Preference) -> bool:
    return one.source == "environment" or one.name in ONLY_ENVIRONMENT


def _key(one: Preference) -> str:
    return f"setting-{one.name}"


def _no_key(one: Preference) -> str:
    return f"setting-{one.name}-away"


def _take(kind: str, title: str) -> list[str]:
    found = st.session_state.pop(f"{kind}-{title}", None)
    return found if isinstance(found, list) else []


def _default(one: Preference) -> str:
    return _text(one.default) or "empty"


def _text(value: Any) -> str:
    """A value as it is typed."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return f"{value:g}" if isinstance(value, float) else str(value)
