"""Uploading in a real browser: the upload field reports what it stored and what it rejected."""

import re
from pathlib import Path

import pytest

from tests.clips import numbered_clip


@pytest.mark.slow
def test_upload_field_reports_stored_and_rejected_files(empty_dashboard, new_tab, tmp_path: Path):
    tab = new_tab(empty_dashboard).open("/library?do=add&from=upload")
    video = numbered_clip(tmp_path / "party.mp4", frames=5)
    (tmp_path / "empty.mp4").touch()
    tab.page.locator("input[type=file]").set_input_files([tmp_path / "empty.mp4", video])
    tab.sees("empty.mp4: the file is empty")
    tab.sees(re.compile("Uploaded: party. Selected below"))
    tab.sees("Remove from selection")
