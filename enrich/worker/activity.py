"""The activity of a run: what its hosts and its decoder are doing. Written to the runs table with each heartbeat.

Requests, hosts and decoding carry the time since which they have been in their state, so that `status` can tell one
that hangs from one that works.
"""

import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from enrich.worker.extract_task import ExtractionProgress


@dataclass(frozen=True, slots=True)
class RequestInFlight:
    """A request about a frame at `timestamp` (seconds) that a host has not answered yet."""

    frame_id: int
    video_id: int
    timestamp: float


@dataclass(slots=True)
class _Host:
    state: str
    reason: str | None
    slots: int
    since: datetime
    requests: dict[RequestInFlight, datetime] = field(default_factory=dict)  # sent at


class Activity:
    """Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}
        self._skimming: dict[int, datetime] = {}
        self._health_warnings: dict[str, str] = {}
        self._extracting: ExtractionProgress | None = None
        self._decoded = 0
        self._decoded_at = datetime.now(UTC)
        self._last_progress_at: datetime | None = None

    def enter(self, host: str, state: str, reason: str | None, slots: int) -> None:
        """Record a host's state."""
        with self._lock:
            requests = self._hosts[host].requests if host in self._hosts else {}
            self._hosts[host] = _Host(state, reason, slots, datetime.now(UTC), requests)

    def begin_request(self, host: str, request: RequestInFlight) -> None:
        """Record that a request was sent; a retry about the same frame keeps the first time."""
        with self._lock:
            self._hosts[host].requests.setdefault(request, datetime.now(UTC))

    def end_request(self, host: str, request: RequestInFlight) -> None:
        """Record that a request ended."""
        with self._lock:
            self._hosts[host].requests.pop(request, None)

    def extract(self, extracting: ExtractionProgress | None) -> None:
        """Record which video is being extracted, if any."""
        with self._lock:
            self._extracting, self._decoded, self._decoded_at = extracting, 0, datetime.now(UTC)

    def begin_skim(self, video_id: int) -> None:
        """Record that a video is being skimmed."""
        with self._lock:
            self._skimming[video_id] = datetime.now(UTC)

    def end_skim(self, video_id: int) -> None:
        """Record that skimming a video ended."""
        with self._lock:
            self._skimming.pop(video_id, None)

    def warn(self, sentences: dict[str, str]) -> None:
        """Replace the health warnings, by host."""
        with self._lock:
            self._health_warnings = dict(sentences)

    def record_progress(self) -> None:
        """Set the progress timestamp to now."""
        with self._lock:
            self._last_progress_at = datetime.now(UTC)

    def last_progress_at(self) -> datetime | None:
        """When something was finished or a frame was decoded last."""
        with self._lock:
            self._update_decoding()
            return self._last_progress_at

    def as_dict(self) -> dict[str, Any]:
        """For the runs table; times in ISO 8601, UTC."""
        with self._lock:
            self._update_decoding()
            return {
                "hosts": [
                    {
                        "host": name,
                        "state": host.state,
                        "reason": host.reason,
                        "since": host.since.isoformat(),
                        "slots": host.slots,
                        "calls": [asdict(one) | {"since": at.isoformat()} for one, at in host.requests.items()],
                    }
                    for name, host in self._hosts.items()
                ],
                "extracting": self._decoding(),
                "skimming": [
                    {"video_id": video_id, "since": since.isoformat()} for video_id, since in self._skimming.items()
                ],
                "canary": [{"host": host, "sentence": sentence} for host, sentence in self._health_warnings.items()],
            }

    def _update_decoding(self) -> None:
        decoded = self._extracting.decoded if self._extracting is not None else 0
        if decoded != self._decoded:
            self._decoded, self._decoded_at = decoded, datetime.now(UTC)
            self._last_progress_at = self._decoded_at

    def _decoding(self) -> dict[str, Any] | None:
        if self._extracting is None:
            return None
        return {
            "video_id": self._extracting.video.id,
            "decoded": self._decoded,
            "total": self._extracting.video.frame_count,
            "since": self._decoded_at.isoformat(),
        }
