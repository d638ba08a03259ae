"""The frame of the dashboard: `streamlit run app.py`. It checks the library and hands over to a page."""

import streamlit as st

from pages.parts.session import library_problem

st.set_page_config(page_title="EveryFrame", page_icon="🎞️", layout="wide")
page = st.navigation([st.Page("pages/overview.py", title="Overview", icon="🧠", default=True)])
if problem := library_problem():
    st.title("EveryFrame")
    st.info(problem)
else:
    page.run()
