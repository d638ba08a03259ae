"""The installed models that see, each with what is known of it, a button that chooses it and one that removes it."""

from collections.abc import Sequence

import streamlit as st

from enrich.settings import Settings
from pages.parts.models.choosing import choose, fixed_by
from pages.parts.models.discarding import ask
from pages.parts.models.installed import Model, is_same, memory, pace, weight
from pages.parts.plain import plain

NAME_CHARACTERS = 60


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
