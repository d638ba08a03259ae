"""Changing settings: one form a group, each setting with what it does; what is not good is said, and not saved.

A setting that the environment fixes is shown and cannot be changed here. Of a secret only whether there is one is
shown; it never leaves the server. Saved values are those of the settings file, checked as the command line checks them.
"""

import json
from collections.abc import Sequence
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.settings import settings_file
from enrich.settings_file import Preference, change, forget, preferences
from pages.parts.inquiry import inquiries
from pages.parts.plain import plain, shown
from pages.parts.session import settings
from pages.parts.setup.headings import Group, grouped

_SAVED, _FAILED = "preferences_saved", "preferences_failed"
ONLY_ENVIRONMENT = ("home",)


def draw_preferences() -> None:
    """All settings, in groups."""
    for group, found in grouped(preferences(settings())):
        with st.expander(group.title, expanded=group.is_open):
            _draw_group(group, found)
    st.caption(f"Saved in {plain(settings_file())}. A worker that runs takes changes up when it is started again.")


def _draw_group(group: Group, found: Sequence[Preference]) -> None:
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


def _save(group: Group, found: tuple[Preference, ...]) -> None:
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
