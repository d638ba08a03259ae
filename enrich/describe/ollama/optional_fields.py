"""Fields of a chat request that some servers or models refuse: `format` and `think`.

A host that refuses one is asked without it from then on: the prompt states the form of the reply, too. Servers report a
refusal with various statuses and messages, some of them the same as for any other failure. So a refusal is believed
only once a request without the field has succeeded.
"""

import logging
import re
from http import HTTPStatus
from typing import Any

from enrich.describe.ollama.client import ResponseStatusError

log = logging.getLogger(__name__)

REFUSAL_STATUSES = frozenset(
    (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.NOT_IMPLEMENTED,
    )
)
# What the server's message says if it names the field.
NAMED_BY = {
    "format": re.compile(r"(?<!image )\bformat\b|grammar|json.?schema|structured output", re.IGNORECASE),
    "think": re.compile(r"\bthink", re.IGNORECASE),
}


class OptionalFields:
    """What is known about each host of one model. One instance per describer, used from one event loop."""

    def __init__(self) -> None:
        self._refused: dict[str, frozenset[str]] = {}
        self._accepted: dict[str, frozenset[str]] = {}
        self._guessed: set[str] = set()  # hosts where a failure without a clear reason was tried without the fields

    def without_refused(self, host: str, request: dict[str, Any]) -> dict[str, Any]:
        """The request as the host accepts it."""
        return _without(request, self._refused.get(host, frozenset()))

    def accepted(self, host: str, request: dict[str, Any]) -> None:
        """A request succeeded: its fields are not refused, those it lacks are not known."""
        self._accepted[host] = self._accepted.get(host, frozenset()) | _present(request)

    def guess_again(self, host: str) -> None:
        """The host is prepared anew, and may be another version of the server."""
        self._guessed.discard(host)

    def alternatives(self, host: str, request: dict[str, Any], error: ResponseStatusError) -> list[dict[str, Any]]:
        """The requests to try after this one failed, each without some of the fields.

        If the message names no field, there is at most one, without all fields that the host is not known to accept,
        and one per preparation: an ordinary failure must not cost further requests each time.
        """
        if error.status not in REFUSAL_STATUSES:
            return []
        named = named_fields(request, error)
        unknown = _present(request) - self._accepted.get(host, frozenset())
        if not named:
            if not unknown or host in self._guessed:
                return []
            self._guessed.add(host)
            return [_without(request, unknown)]
        choices = [frozenset((name,)) for name in named]
        every = unknown.union(named)
        return [_without(request, names) for names in (*choices, *([every] if len(every) > 1 else []))]

    def narrower(
        self, request: dict[str, Any], accepted: dict[str, Any], error: ResponseStatusError
    ) -> list[dict[str, Any]]:
        """The requests to try after one succeeded without fields that the message of the failed one does not name.

        The first is the same request: the failure may have passed.
        """
        if named_fields(request, error):
            return []
        names = _present(request) - _present(accepted)
        singles = [
            _without(request, frozenset((name,))) for name in sorted(names, reverse=True)
        ]  # `format` is worth more
        return [request, *(singles if len(singles) > 1 else [])]

    def refused(self, host: str, model: str, sent: dict[str, Any], accepted: dict[str, Any]) -> None:
        """A request failed and succeeded without some fields: send none of them to this host any more."""
        self.accepted(host, accepted)
        names = _present(sent) - _present(accepted)
        if not names:
            return
        self._refused[host] = self._refused.get(host, frozenset()) | names
        log.warning(
            "`%s` at %s refuses %s: asking without it from now on",
            model,
            host,
            " and ".join(f"`{name}`" for name in sorted(names)),
        )


def named_fields(request: dict[str, Any], error: ResponseStatusError) -> list[str]:
    """The request's optional fields that the server's message names."""
    return [name for name in sorted(_present(request)) if NAMED_BY[name].search(error.reason)]


def _present(request: dict[str, Any]) -> frozenset[str]:
    return frozenset(name for name in NAMED_BY if request.get(name) is not None)


def _without(request: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name not in names}
