"""Models: to be drawn."""

import streamlit as st

st.title("Models")
