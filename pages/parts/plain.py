"""Render untrusted text (model output, user input, file names, camera metadata) as text, never as Markdown or HTML.

Long texts go through `st.text`, which interprets nothing; `shown` prepares them. `plain` is for labels, captions and
titles, which Streamlit renders as Markdown.
"""

from enrich.wording import markdown_text as plain
from enrich.wording import printable as shown

__all__ = ["plain", "shown"]
