"""What a worker is doing: told by lanes and decoder from any thread, written with each heartbeat, read by `status`.

Calls, hosts and decoding say since when they have been as they are: so one that hangs is told from one that works.
"""

import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from enrich.worker.extract_task import ExtractionProgress
from enrich.worker.prefetch import PrefetchedFrame


@dataclass(frozen=True, slots=True)
class RequestInFlight:
    """A frame a host is being asked about. `timestamp`: of the frame, in seconds."""

    frame_id: int
    video_id: int
    timestamp: float

    @classmethod
    def of(cls, item: PrefetchedFrame) -> "RequestInFlight":
        """The call about a claimed frame."""
        if item.job.frame_id is None:
            raise ValueError("a task to describe names no frame")
        return cls(item.job.frame_id, item.job.video_id, item.question.images[0].timestamp)


@dataclass(slots=True)
class _Host:
    state: str
    reason: str | None
    slots: int
    since: datetime
    calls: dict[RequestInFlight, datetime] = field(default_factory=dict)  # since when


class Activity:
    """What one run is doing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}
        self._skimming: dict[int, datetime] = {}
        self._canaries: dict[str, str] = {}
        self._extracting: ExtractionProgress | None = None
        self._decoded = 0
        self._decoded_at = datetime.now(UTC)
        self._last_progress_at: datetime | None = None

    def enter(self, host: str, state: str, reason: str | None, slots: int) -> None:
        """A host is in another state."""
        with self._lock:
            calls = self._hosts[host].calls if host in self._hosts else {}
            self._hosts[host] = _Host(state, reason, slots, datetime.now(UTC), calls)

    def begin_call(self, host: str, call: RequestInFlight) -> None:
        """A host is asked about a frame; asked again about the same one, it is still the same call."""
        with self._lock:
            self._hosts[host].calls.setdefault(call, datetime.now(UTC))

    def end_call(self, host: str, call: RequestInFlight) -> None:
        """A frame is not in a host's hands any more."""
        with self._lock:
            self._hosts[host].calls.pop(call, None)

    def extract(self, extracting: ExtractionProgress | None) -> None:
        """Another video is being decoded, or none."""
        with self._lock:
            self._extracting, self._decoded, self._decoded_at = extracting, 0, datetime.now(UTC)

    def begin_skim(self, video_id: int) -> None:
        """A video is being looked at by seeking."""
        with self._lock:
            self._skimming[video_id] = datetime.now(UTC)

    def end_skim(self, video_id: int) -> None:
        """It is not any more."""
        with self._lock:
            self._skimming.pop(video_id, None)

    def warn(self, sentences: dict[str, str]) -> None:
        """What is wrong with hosts that answer, by host."""
        with self._lock:
            self._canaries = dict(sentences)

    def record_progress(self) -> None:
        """Something was finished just now."""
        with self._lock:
            self._last_progress_at = datetime.now(UTC)

    def last_progress_at(self) -> datetime | None:
        """When something was finished, or decoding got on, last."""
        with self._lock:
            self._look_at_decoding()
            return self._last_progress_at

    def as_dict(self) -> dict[str, Any]:
        """For the runs table; moments in ISO 8601, UTC."""
        with self._lock:
            self._look_at_decoding()
            return {
                "hosts": [
                    {
                        "host": name,
                        "state": host.state,
                        "reason": host.reason,
                        "since": host.since.isoformat(),
                        "slots": host.slots,
                        "calls": [asdict(call) | {"since": at.isoformat()} for call, at in host.calls.items()],
                    }
                    for name, host in self._hosts.items()
                ],
                "extracting": self._decoding(),
                "skimming": [
                    {"video_id": video_id, "since": since.isoformat()} for video_id, since in self._skimming.items()
                ],
                "canary": [{"host": host, "sentence": sentence} for host, sentence in self._canaries.items()],
            }

    def _look_at_decoding(self) -> None:
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
