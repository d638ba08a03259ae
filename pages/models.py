"""Models: the installed ones and their speed, downloading and removing, and comparing them on your own frames."""

import streamlit as st

from db.counts import total_counts
from enrich.wording import markdown_text
from pages.parts.inquiry import follow, inquiries
from pages.parts.models.audition import draw_comparison
from pages.parts.models.installed import draw_choice, draw_downloads, draw_installed, draw_removal, models_in
from pages.parts.session import reading, settings

FRESH_SECONDS = 20.0
PATIENCE_SECONDS = 0.7  # usually enough for Ollama to respond, so that the page is complete when it appears
OLLAMA = "https://ollama.com/download"

st.title("Models")
found = settings()
answer = inquiries().ask(found, "models", fresh_seconds=FRESH_SECONDS, patience_seconds=PATIENCE_SECONDS)
with reading() as connection:
    has_frames = total_counts(connection).kept > 0
with st.container():  # one place for passing messages, so that Streamlit does not redraw what follows
    draw_choice()
    draw_removal()
    if answer.is_asking:
        follow(found, "models")
outcome = answer.outcome
models = models_in(outcome.data or []) if outcome is not None and outcome.is_good else []
st.subheader("Installed", anchor=False)
if outcome is None:
    st.info("Connecting to Ollama…")
elif not outcome.is_good:
    st.error(markdown_text(outcome.error))
    st.markdown(f"Ollama runs the models on this computer. Start it, or [install it]({OLLAMA}), then press Refresh.")
else:
    if outcome.error:  # one of several servers does not respond
        st.warning(markdown_text(outcome.error))
    if not any(model.sees for model in models):
        st.info("No vision model is installed yet. Download one below; the smallest is 1.7 GB.")
    draw_installed(found, models)
st.button("Refresh", on_click=inquiries().forget, type="tertiary", icon=":material/refresh:")
if outcome is not None and outcome.is_good:
    st.subheader("Download a model", anchor=False)
    draw_downloads(found, models)
st.subheader("Compare models", anchor=False)
draw_comparison(found, models, has_frames=has_frames)
