"""The stand-in's batches: accepted at once, in progress until finished, with results in a different order."""

import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.standin_claude.request import Refusal, Request, invalid

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MOST_REQUESTS = 100_000
RESULTS = ("succeeded", "errored", "canceled", "expired")


@dataclass
class Batch:
    """One batch; `results` exist once it has ended."""

    id: str
    requests: list[tuple[str, Request | Refusal]]
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    ended_at: datetime | None = None
    cancel_at: datetime | None = None
    results: list[dict[str, Any]] = field(default_factory=list)

    def shown(self, address: str) -> dict[str, Any]:
        """The batch in the API's form."""
        kinds = [line["result"]["type"] for line in self.results]
        counts = {kind: kinds.count(kind) for kind in RESULTS}
        status = "ended" if self.ended_at else "canceling" if self.cancel_at else "in_progress"
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts | {"processing": 0 if self.ended_at else len(self.requests)},
            "created_at": self.created_at.isoformat(),
            "expires_at": (self.created_at + timedelta(hours=24)).isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "archived_at": None,
            "cancel_initiated_at": self.cancel_at.isoformat() if self.cancel_at else None,
            "results_url": f"{address}/v1/messages/batches/{self.id}/results" if self.ended_at else None,
        }

    def lines(self) -> bytes:
        """The results as JSON lines in reverse order, since the API guarantees no order."""
        return b"".join(json.dumps(line).encode() + b"\n" for line in reversed(self.results))


def custom_ids(body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The ids and parameters of a batch's requests. Raises Refusal."""
    if set(body) != {"requests"} or not isinstance(body["requests"], list) or not body["requests"]:
        raise invalid("requests: Field required")
    if len(body["requests"]) > MOST_REQUESTS:
        raise invalid(f"requests: List should have at most {MOST_REQUESTS} items")
    found: dict[str, dict[str, Any]] = {}
    for place, request in enumerate(body["requests"]):
        if set(request) != {"custom_id", "params"}:
            raise invalid(f"requests.{place}: Extra inputs are not permitted")
        name = request["custom_id"]
        if not isinstance(name, str) or not CUSTOM_ID.fullmatch(name):
            raise invalid(f"requests.{place}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if name in found:
            raise invalid(f"requests: custom_id must be unique, {name} is not")
        found[name] = request["params"]
    return list(found.items())


def page(batches: list[Batch], query: dict[str, list[str]], address: str) -> dict[str, Any]:
    """One page of the list, newest first."""
    newest = sorted(batches, key=lambda batch: batch.created_at, reverse=True)
    limit = int(query.get("limit", ["20"])[0])
    if not 1 <= limit <= 1000:
        raise invalid("limit: must be between 1 and 1000")
    if after := query.get("after_id"):
        ids = [batch.id for batch in newest]
        if after[0] not in ids:
            raise invalid("after_id: no such batch")
        newest = newest[ids.index(after[0]) + 1 :]
    shown = [batch.shown(address) for batch in newest[:limit]]
    return {
        "data": shown,
        "has_more": len(newest) > limit,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
