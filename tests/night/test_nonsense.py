"""Each kind of nonsense reply by itself: the frame is asked about again, and ends with its own words.

A kind fails here in seconds that would be hard to find in `test_hostile_night.py`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enrich.worker.run_options import RunEnd
from tests.night.night import assert_complete
from tests.standin.hostile import HostileStandIn, Ledger
from tests.standin.nonsense import NONSENSE, TRUTHFUL
from tests.worker.workspace import Workspace, open_workspace, truthful

FRAMES = 40
SHARE = 0.3  # of the frames
SEED = 5
CALLS = 4

pytestmark = pytest.mark.slow


@pytest.fixture
def hostile(request: pytest.FixtureRequest) -> Iterator[HostileStandIn]:
    """A host that sends one kind of nonsense."""
    with HostileStandIn(Ledger(seed=SEED, share=SHARE, kinds=(request.param,)), parallel=CALLS, delay=0.005) as server:
        yield server


@pytest.mark.parametrize(("hostile", "kind"), [(kind, kind) for kind in NONSENSE], indirect=["hostile"], ids=NONSENSE)
async def test_frames_with_a_nonsense_reply_get_their_own_words(
    hostile: HostileStandIn, kind: str, tmp_path: Path, clip: Callable[..., Path], short_pauses: None
) -> None:
    workspace: Workspace = open_workspace(tmp_path / "home", ollama_hosts=hostile.address, concurrency=CALLS)
    workspace.add(clip(FRAMES))
    summary = await workspace.enrich()
    workspace.library.engine.dispose()

    assert summary.ending is RunEnd.FINISHED
    replies = hostile.ledger.taken()
    nonsense = [number for number, sent, _, _ in replies if sent is not None]
    assert len(nonsense) == len(set(nonsense)) >= FRAMES * SHARE / 2
    own_words = {frame.index: frame.local_description for frame in workspace.frames()}
    wrong = {index: text for index, text in own_words.items() if truthful(index or 0) not in (text or "")}
    assert wrong == {}, f"of {len(nonsense)} frames with nonsense"
    assert_complete(workspace, most_attempts=len(nonsense))
    good = [number for number, sent, _, _ in replies if sent is None]
    assert len(good) == len(set(good)), "a good reply is never asked for twice"
    if kind in TRUTHFUL:
        return
    assert set(good) == set(range(FRAMES))
