"""The dashboard in a real browser, served as people serve it. Skipped, with the reason, where there is no Chromium."""
