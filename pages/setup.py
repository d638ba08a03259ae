"""Setup: the system check and the settings."""

import streamlit as st

from pages.parts.session import settings
from pages.parts.setup import draw_checkup, draw_preferences

st.title("Setup")
st.subheader("System check", anchor=False)
draw_checkup(settings())
st.subheader("Settings", anchor=False)
draw_preferences()
