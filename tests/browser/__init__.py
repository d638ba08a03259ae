"""The dashboard in a real browser, served by `everyframe dashboard`. Skipped, with a reason, without Chromium."""
