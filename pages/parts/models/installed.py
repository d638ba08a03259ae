"""The models that the Ollama servers have, as `everyframe models` tells them: one row a model, wherever it is.

The installed models that see, each with what is known of it, a button that chooses it and one that removes it.

Choosing the model that describes the frames: one click, kept in the settings file.

Removing a model from Ollama: the question, and the doing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs.command import run_command
from enrich.settings import Settings, variable_that_sets
from enrich.settings_file import change
from enrich.wording import size
from pages.parts.inquiry import inquiries
from pages.parts.plain import plain
from pages.parts.session import settings


@dataclass(frozen=True, slots=True)
class Model:
    """An installed model. `hosts` have it; `seconds` a frame here, None before its first calls."""

    name: str
    size_bytes: int
    parameter_size: str
    sees: bool
    is_cloud: bool
    is_loaded: bool
    fits_gpu: bool | None
    seconds: float | None
    hosts: tuple[str, ...]


NAME_CHARACTERS = 60
_SAID, _CHOICE_FAILED = "choosing_said", "choosing_failed"
_ASKED, _REMOVAL_FAILED, _REMOVED = "discarding_asked", "discarding_failed", "discarding_removed"
REMOVE_SECONDS = 60.0


def draw_shelf(settings: Settings, models: Sequence[Model]) -> None:
    """One row a model that sees; the others are only named."""
    fixed = fixed_by()
    if fixed is not None:
        st.info(f"The model is fixed as {plain(settings.model)} by {plain(fixed)} in the environment.")
    for model in (model for model in models if model.sees):
        _row(settings, model, is_fixed=fixed is not None)
    if blind := [plain(model.name, NAME_CHARACTERS) for model in models if not model.sees]:
        st.caption(f"Installed too, but blind to pictures: {', '.join(blind)}")


def _row(settings: Settings, model: Model, *, is_fixed: bool) -> None:
    is_chosen = is_same(model.name, settings.model)
    is_refused = model.is_cloud and not settings.allow_cloud
    with st.container(border=True, key=f"model-{model.name}"):
        said, buttons = st.columns([3, 1], vertical_alignment="center")
        with said:
            st.markdown(f"**{plain(model.name, NAME_CHARACTERS)}**{' · describes your frames' if is_chosen else ''}")
            st.caption(" · ".join(plain(part) for part in (weight(model), memory(model), pace(model))))
            if len(settings.ollama_hosts) > 1:
                st.caption(f"At {plain(', '.join(model.hosts))}")
            if model.is_cloud:
                refused = " It is refused." if is_refused else ""
                st.warning(f"Runs in a cloud: your pictures would leave this machine.{refused}")
        with buttons, st.container(horizontal=True, horizontal_alignment="right"):
            st.button("Remove", key=f"remove-{model.name}", type="tertiary", on_click=ask, args=[model])
            st.button(
                "In use" if is_chosen else "Use this model",
                key=f"choose-{model.name}",
                disabled=is_chosen or is_refused or is_fixed,
                on_click=choose,
                args=[model.name],
            )


def choose(name: str) -> None:
    """Have this model describe from now on. For callbacks."""
    st.session_state.pop(_SAID, None)
    try:
        change("model", name)
    except EveryFrameError as error:
        st.session_state[_CHOICE_FAILED] = str(error)
    else:
        st.session_state[_SAID] = name
        inquiries().forget()


def say_choice() -> None:
    """What the last click on a choice came to, once."""
    if failed := st.session_state.pop(_CHOICE_FAILED, None):
        st.error(f"The choice was not saved: {plain(failed)}")
    if name := st.session_state.pop(_SAID, None):
        st.success(
            f"{plain(name)} describes your frames from the next start on. "
            "A worker that runs goes on with the model it began with: stop and start it on the Overview page."
        )


def fixed_by() -> str | None:
    """The environment variable that says which model it is, so that no click can."""
    return variable_that_sets("model")


def ask(model: Model) -> None:
    """Have the question asked. For callbacks."""
    st.session_state[_ASKED] = model
    st.session_state.pop(_REMOVAL_FAILED, None)


def question() -> None:
    """Draw the question while it is asked, and say once what was removed."""
    if name := st.session_state.pop(_REMOVED, None):
        st.success(f"Removed: {plain(name)}.")
    model = st.session_state.get(_ASKED)
    if isinstance(model, Model):
        st.dialog("Remove this model?", on_dismiss=_keep)(_draw)(model)


def _draw(model: Model) -> None:
    if _ASKED not in st.session_state:
        st.rerun()
    st.markdown(
        f"**{plain(model.name)}** is deleted from {plain(' and '.join(model.hosts))}: {size(model.size_bytes)}."
    )
    if is_same(model.name, settings().model):
        st.warning("It is the model that describes your frames: without it the work stops.")
    st.markdown("What it has described stays. It can be got again, which downloads it anew.")
    if failed := st.session_state.get(_REMOVAL_FAILED):
        st.error(f"It was not removed: {plain(failed)}")
    with st.container(horizontal=True):
        st.button("Remove it", type="primary", on_click=_remove, args=[model])
        st.button("Keep it", on_click=_keep)


def _remove(model: Model) -> None:
    outcome = run_command(settings(), "models", "remove", model.name, "--yes", seconds=REMOVE_SECONDS)
    inquiries().forget()
    if outcome.is_good:
        st.session_state[_REMOVED] = model.name
        _keep()
    else:
        st.session_state[_REMOVAL_FAILED] = outcome.error


def _keep() -> None:
    st.session_state.pop(_ASKED, None)


def models_in(rows: Sequence[dict[str, Any]]) -> list[Model]:
    """The models that a list of them tells of; the same one on several servers is one."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(str(row["name"]), []).append(row)
    return [_model(name, same) for name, same in by_name.items()]


def is_same(name: str, other: str) -> bool:
    """Whether two names mean one model: `moondream` is `moondream:latest`."""
    return _whole(name) == _whole(other)


def memory(model: Model) -> str:
    """Whether it is loaded, and whether it fits the GPU, in words."""
    if not model.is_loaded:
        return "not loaded; whether it fits the GPU shows once it is"
    return {
        True: "loaded, fits the GPU",
        False: "loaded, does not fit the GPU: slow",
        None: "loaded, on the processor: no GPU is used",
    }[model.fits_gpu]


def pace(model: Model) -> str:
    """How fast it has been here, in words."""
    return "not measured here yet" if model.seconds is None else f"{number(model.seconds)} s a frame here"


def number(seconds: float) -> str:
    """Seconds as precisely as they matter: 12, 2.4, 0.03."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}" if seconds >= 0.1 else f"{seconds:.2f}"  # noqa: PLR2004


def weight(model: Model) -> str:
    """How large it is, in words."""
    return size(model.size_bytes) + (f", {model.parameter_size} parameters" if model.parameter_size else "")


def _model(name: str, rows: list[dict[str, Any]]) -> Model:
    first = rows[0]
    fits = [row["fits_gpu"] for row in rows if row["loaded"]]
    return Model(
        name=name,
        size_bytes=max(int(row["size_bytes"]) for row in rows),
        parameter_size=str(first["parameter_size"]),
        sees=all(row["sees"] for row in rows),
        is_cloud=any(row["is_cloud"] for row in rows),
        is_loaded=bool(fits),
        fits_gpu=False if False in fits else True if True in fits else None,
        seconds=first["seconds_per_frame"],
        hosts=tuple(str(row["host"]) for row in rows),
    )


def _whole(name: str) -> str:
    return (name if ":" in name.rsplit("/", maxsplit=1)[-1] else f"{name}:latest").lower()
