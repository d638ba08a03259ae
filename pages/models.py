"""Models: what is installed and how fast it is here, getting and removing, and the audition."""

import streamlit as st

from db.counts import total_counts
from pages.parts.inquiry import follow, inquiries
from pages.parts.models.audition import draw_audition
from pages.parts.models.getting import draw_getting
from pages.parts.models.installed import draw_shelf, models_in, question, say_choice
from pages.parts.plain import plain
from pages.parts.session import reading, settings

FRESH_SECONDS = 20.0
PATIENCE_SECONDS = 0.7  # in which Ollama mostly answers: the page comes at once with what it says
OLLAMA = "https://ollama.com/download"

st.title("Models")
found = settings()
answer = inquiries().ask(found, "models", fresh_seconds=FRESH_SECONDS, patience_seconds=PATIENCE_SECONDS)
with reading() as connection:
    has_frames = total_counts(connection).kept > 0
with st.container():  # what comes and goes has its place, so that nothing below is drawn anew for it
    say_choice()
    question()
    if answer.is_asking:
        follow(found, "models")
outcome = answer.outcome
models = models_in(outcome.data or []) if outcome is not None and outcome.is_good else []
st.subheader("Installed", anchor=False)
if outcome is None:
    st.info("Asking Ollama …")
elif not outcome.is_good:
    st.error(plain(outcome.error))
    st.markdown(f"Ollama runs the models on this machine. Start it, or [get it]({OLLAMA}) first, then look again.")
else:
    if outcome.error:  # one of several servers does not answer
        st.warning(plain(outcome.error))
    if not any(model.sees for model in models):
        st.info("No model that sees is installed yet. Get one below; the smallest has 1.7 GB.")
    draw_shelf(found, models)
st.button("Look again", on_click=inquiries().forget, type="tertiary", icon=":material/refresh:")
if outcome is not None and outcome.is_good:
    st.subheader("Get another", anchor=False)
    draw_getting(found, models)
st.subheader("Audition", anchor=False)
draw_audition(found, models, has_frames=has_frames)
