"""The Setup page: the system check, with fixes ready to be copied, and the settings form.

The form has one section per group, each setting with a label and what it does. Values are validated as on the command
line and saved in the settings file; invalid ones are reported and not saved. A setting that the environment fixes is
shown read-only. Secrets never leave the server: the page shows only whether one is set. A setting without a label here
appears in the group "More" under its own name.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.settings import Settings, settings_file
from enrich.settings_file import Preference, preferences, set_setting, unset_setting
from enrich.wording import format_duration, markdown_text, one_line, printable
from pages.parts.inquiry import follow, inquiries
from pages.parts.session import settings

FRESH_SECONDS = 600.0  # the check reads the whole database, which takes seconds if that is large
FINDING_CHARACTERS = 500
LAYOUT = "<style>.st-key-checkup { min-height: 16rem; }</style>"  # so that the page below does not move
LINKS = ("https://ollama.com/download",)  # the addresses that fixes may contain


def draw_checkup(settings: Settings) -> None:
    """The results of the last check; it runs again on request, or after some minutes."""
    answer = inquiries().ask(settings, "doctor", fresh_seconds=FRESH_SECONDS)
    with st.container():
        if answer.is_asking:
            follow(settings, "doctor")
    outcome = answer.outcome
    st.html(LAYOUT)
    with st.container(key="checkup"):
        if outcome is None:
            st.info("Checking this computer, the library and Ollama…")
        elif not isinstance(outcome.data, list):
            st.error(f"The check failed: {markdown_text(one_line(outcome.error, FINDING_CHARACTERS))}")
        else:
            _draw_checks(outcome.data)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Check again", on_click=inquiries().forget, icon=":material/refresh:", disabled=answer.is_asking)
        if outcome is not None:
            st.caption("Checking…" if answer.is_asking else f"Checked {format_duration(answer.age_seconds)} ago")


def _draw_checks(checks: list[dict[str, Any]]) -> None:
    failed = [check for check in checks if not check["is_good"]]
    if not failed:
        st.success("All set.")
    for check in failed:
        st.error(f"**{markdown_text(check['what'])}**: {markdown_text(one_line(check['finding'], FINDING_CHARACTERS))}")
        if remedy := check["remedy"]:
            st.caption("How to fix it:")
            st.code(one_line(remedy, FINDING_CHARACTERS), language=None, wrap_lines=True)
            for link in (link for link in LINKS if link in remedy):
                st.link_button("Download Ollama", link, icon=":material/open_in_new:")
    for check in checks:
        if check["is_good"]:
            finding = markdown_text(one_line(check["finding"], FINDING_CHARACTERS))
            st.markdown(f":material/check_circle: **{markdown_text(check['what'])}** · {finding}")


ONLY_ENVIRONMENT = ("home",)  # settings that only an environment variable can change
_SAVED, _FAILED = "preferences_saved", "preferences_failed"  # prefixes of keys of the session state


@dataclass(frozen=True, slots=True)
class SettingsGroup:
    """Settings that belong together, in display order; `texts` holds the label and the explanation of each."""

    title: str
    texts: dict[str, tuple[str, str]]
    is_open: bool = False


GROUPS = (
    SettingsGroup(
        "Descriptions",
        {
            "model": ("Model", "The model's name in Ollama. Compare your models on the Models page."),
            "language": ("Language of descriptions", "Existing descriptions keep their language."),
            "describer": (
                "Describe with",
                "ollama: a vision model. baseline: no model; only measures brightness, colours and motion.",
            ),
            "allow_cloud": (
                "Allow cloud models",
                "Some Ollama models run on remote servers: your images would leave this computer.",
            ),
        },
        is_open=True,
    ),
    SettingsGroup(
        "Schedule",
        {
            "hours": (
                "Working hours",
                "For example 22:00-07:00; separate several with commas. Outside them, work pauses and the GPU is free.",
            ),
            "keep_awake": (
                "Keep the computer awake while working",
                "mains: only while plugged in. A laptop still sleeps when its lid is closed.",
            ),
            "disk_reserve_mb": ("Keep disk space free (MB)", "Processing pauses when less than this is free."),
        },
    ),
    SettingsGroup(
        "Quick scan and budget",
        {
            "quick_describer": (
                "Quick scan with",
                "claude: fast, costs money, images leave this computer after you confirm. ollama: a small local model.",
            ),
            "quick_model": ("Quick scan model", "Empty: the cheapest Claude model, or moondream from Ollama."),
            "key_frames": ("Key frames per video", "How many frames of each video a quick scan sends."),
            "events": ("Additional event types", "Separated by commas; added to the built-in list."),
            "monthly_budget_usd": ("Monthly budget (US dollars)", "Requests that could exceed it are not sent."),
            "power_watts": (
                "Power consumption while describing (watts)",
                "With the price of electricity, the Costs page can show what a night of work costs.",
            ),
            "kwh_price": ("Electricity price per kWh", "In your own currency."),
        },
    ),
    SettingsGroup(
        "Frames and images",
        {
            "likeness": (
                "Duplicate sensitivity",
                "strict keeps more frames and takes longer, loose keeps fewer. Applies to videos added later.",
            ),
            "stored_edge": (
                "Image size, long edge (pixels)",
                "What you and the model see of a frame. Smaller saves disk space. Applies to videos not extracted yet.",
            ),
            "jpeg_quality": ("JPEG quality", "30 to 100. Higher values take more disk space."),
        },
    ),
    SettingsGroup(
        "Ollama",
        {
            "ollama_hosts": ("Servers", "Addresses, separated by commas. Frames are distributed over all of them."),
            "concurrency": ("Parallel requests per server", "More is faster only if the GPU has memory for it."),
            "keep_alive": (
                "Keep the model loaded for",
                "For example 15m. After that time without requests, the GPU memory is freed.",
            ),
            "call_seconds": ("Timeout per description (seconds)", "A frame that takes longer is retried."),
            "load_seconds": ("Timeout for the first description (seconds)", "Includes loading the model."),
            "connect_seconds": ("Connection timeout (seconds)", "A server that takes longer is retried later."),
        },
    ),
    SettingsGroup(
        "Advanced",
        {
            "num_ctx": ("Context size (tokens)", "Empty: chosen for the model."),
            "num_predict": ("Maximum reply length (tokens)", "Longer replies are cut off."),
            "picture_edges": (
                "Image size sent to models (pixels)",
                'Long edge by model family, for example {"llava": 672}. Empty: chosen for the model.',
            ),
            "ollama_options": ("Additional Ollama options", 'For example {"num_thread": 4}.'),
        },
    ),
    SettingsGroup(
        "Storage and access",
        {
            "home": ("Data folder", "Holds the database, images, logs and these settings."),
            "database_url": ("Database URL", "Empty: a SQLite file in the data folder."),
            "dashboard_password": (
                "Dashboard password",
                "Without a password, only this computer can open the dashboard, with its access token.",
            ),
        },
    ),
)


def grouped(preferences: Sequence[Preference]) -> list[tuple[SettingsGroup, list[Preference]]]:
    """Every setting in its group; those in no group come last."""
    by_name = {one.name: one for one in preferences}
    found = [(group, [by_name.pop(name) for name in group.texts if name in by_name]) for group in GROUPS]
    if by_name:
        texts = {name: (name.replace("_", " "), one.description) for name, one in by_name.items()}
        found.append((SettingsGroup("More", texts), list(by_name.values())))
    return found


def draw_preferences() -> None:
    """All settings, in groups."""
    for group, found in grouped(preferences(settings())):
        with st.expander(group.title, expanded=group.is_open):
            _draw_group(group, found)
    st.caption(f"Saved in {markdown_text(settings_file())}. Changes apply after the next start of the worker.")


def _draw_group(group: SettingsGroup, found: Sequence[Preference]) -> None:
    for error in _take(_FAILED, group.title):
        st.error(markdown_text(error))
    with st.form(f"settings-{group.title}", border=False):
        for one in found:
            _draw(one, *group.texts[one.name])
        is_fixed = all(_fixed(one) for one in found)
        st.form_submit_button("Save", on_click=_save, args=[group, tuple(found)], disabled=is_fixed)
    if names := _take(_SAVED, group.title):
        st.success(f"Saved: {markdown_text(', '.join(names))}.")


def _draw(one: Preference, label: str, explanation: str) -> None:
    """One setting: its widget, its explanation, and where its value comes from."""
    key, fixed = _key(one), _fixed(one)
    value = _text(one.value)
    if one.is_secret:
        hint = "Set. Type a new one to replace it." if one.value else "Not set"
        st.text_input(label, key=key, type="password", value="", disabled=fixed, placeholder=hint, autocomplete="off")
        if one.source == "file":
            st.checkbox("Remove password", key=_remove_key(one))
    elif one.kind == "switch":
        st.toggle(label, key=key, value=bool(one.value), disabled=fixed)
    elif one.kind == "choice":
        st.selectbox(label, one.choices, index=one.choices.index(value), key=key, disabled=fixed)
    else:
        st.text_input(
            label, key=key, value=printable(value), disabled=fixed, placeholder=_default(one), autocomplete="off"
        )
    st.caption(f"{markdown_text(explanation)}{_origin(one)}")


def _origin(one: Preference) -> str:
    if one.source == "environment":
        return f" *Set by the environment variable {markdown_text(one.variable)}.*"
    if one.name in ONLY_ENVIRONMENT:
        return f" *Set the environment variable {markdown_text(one.variable)} to change it.*"
    if one.source == "file" and not one.is_secret:
        return f" Default: {markdown_text(_default(one))}."
    return ""


def _save(group: SettingsGroup, found: tuple[Preference, ...]) -> None:
    """Save the changed settings of a group. For callbacks."""
    saved, failed = [], []
    for one in found:
        typed, is_removed = st.session_state.get(_key(one)), bool(st.session_state.get(_remove_key(one)))
        if _fixed(one) or not (is_removed or _is_changed(one, typed)):
            continue
        try:
            if is_removed or (not one.is_secret and _text(typed).strip() in ("", _text(one.default))):
                unset_setting(one.name)
            else:
                set_setting(one.name, _text(typed))
        except EveryFrameError as error:
            failed.append(f"{group.texts[one.name][0]} was not saved: {error}")
        else:
            saved.append(group.texts[one.name][0])
            for key in (_key(one), _remove_key(one)):
                st.session_state.pop(key, None)
    st.session_state[f"{_SAVED}-{group.title}"] = saved
    st.session_state[f"{_FAILED}-{group.title}"] = failed
    inquiries().forget()


def _is_changed(one: Preference, typed: Any) -> bool:
    if one.is_secret:
        return bool(typed)
    return _text(typed).strip() != printable(_text(one.value)).strip()


def _fixed(one: Preference) -> bool:
    return one.source == "environment" or one.name in ONLY_ENVIRONMENT


def _key(one: Preference) -> str:
    return f"setting-{one.name}"


def _remove_key(one: Preference) -> str:
    return f"setting-{one.name}-remove"


def _take(kind: str, title: str) -> list[str]:
    found = st.session_state.pop(f"{kind}-{title}", None)
    return found if isinstance(found, list) else []


def _default(one: Preference) -> str:
    return _text(one.default) or "empty"


def _text(value: Any) -> str:
    """A value as the user types it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return f"{value:g}" if isinstance(value, float) else str(value)
