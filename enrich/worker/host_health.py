"""The health of hosts: when each is due for the canary, what came of it, and which is set aside.

A host whose canary is bad is set aside only while the canary of another one is good and that one answers: where all
are bad the model is weak, and weak descriptions are better than none. One Health serves all lanes of a run, from one
event loop.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from enrich.describe.health_check import HealthCheckResult
from enrich.worker.run_options import RunOptions

HEALTH_CHECK_SECONDS = 2 * 3600.0  # of a long run, until a host is asked again
UNHEALTHY_RECHECK_SECONDS = 300.0  # until one that is set aside is asked again
GONE_SECONDS = 300.0  # a host that does not answer is well for so long: it may only be starting again
FEWEST_FRAMES = 50  # ahead of a run, and between two canaries of a host: six calls more do not matter then
SUSPICIOUS_FRAMES = 200  # since its last canary: after so many, a suspicion is enough to ask a host early
SAME_TEXTS_IN_A_ROW = 5  # for frames that look different: more than these are suspicious


@dataclass(slots=True)
class _HostRecord:
    """What is known of one host. Moments are monotonic seconds."""

    asked_at: float | None = None  # when its last canary began; None: it is due as if it were new
    result: HealthCheckResult | None = None  # of the last canary that came to its end
    answers: int = 0  # about frames, since asked_at
    looked_at: int | None = None  # `answers` when the frames ahead were last counted
    same_in_a_row: int = 0
    gone_since: float | None = None


class HostHealth:
    """`count_ahead` says how many frames the run will probably describe from now on."""

    def __init__(
        self, count_ahead: Callable[[], Awaitable[int]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count_ahead = count_ahead
        self._clock = clock
        self._hosts: dict[str, _HostRecord] = {}

    async def is_due(self, host: str) -> bool:
        """Whether the host should be asked the canary's pictures now."""
        known = self._known(host)
        if self.is_unhealthy(host):
            return known.asked_at is None or self._clock() - known.asked_at >= UNHEALTHY_RECHECK_SECONDS
        if not self._is_time(known) or known.looked_at == known.answers:
            return False
        known.looked_at = known.answers  # it is counted in the database: not again before there is news
        return await self._count_ahead() >= FEWEST_FRAMES

    def begin(self, host: str) -> None:
        """The host is being asked; should nothing be reported, it is asked again after FEWEST_FRAMES."""
        known = self._known(host)
        known.asked_at, known.answers, known.looked_at = self._clock(), 0, None

    def report(self, host: str, result: HealthCheckResult) -> None:
        """The host's canary came to its end."""
        self._known(host).result = result

    def same_text(self, host: str) -> None:
        """A frame was described with the text of another one, which looks different."""
        self._answered(host).same_in_a_row += 1

    def fine(self, host: str) -> None:
        """A frame was described with a text of its own."""
        self._answered(host).same_in_a_row = 0

    def empty(self, host: str) -> None:
        """Of a frame the host said nothing."""
        self._answered(host)

    def gone(self, host: str) -> None:
        """The host rests: it does not answer, or answers nothing but errors."""
        known = self._known(host)
        if known.gone_since is None and not self.is_unhealthy(host):
            known.gone_since = self._clock()

    def back(self, host: str) -> None:
        """The host answers. If its canary was bad, it may have been mended: it is asked again."""
        known = self._known(host)
        if known.gone_since is not None and _is_bad(known):
            known.asked_at, known.looked_at = None, None
        known.gone_since = None

    def is_bad(self, host: str) -> bool:
        """Whether the host's last canary was bad."""
        return _is_bad(self._known(host))

    def is_unhealthy(self, host: str) -> bool:
        """Whether the host is to describe nothing: its canary was bad, and another host is well."""
        return self.is_bad(host) and any(self._is_well(other) for other in self._hosts.values())

    def sentences(self) -> dict[str, str]:
        """What is wrong, by host, for people; hosts with which nothing is wrong are left out."""
        said = {}
        for host, known in self._hosts.items():
            if known.result is not None and known.result.is_bad:
                aside = "; set aside, since another host is well" if self.is_unhealthy(host) else ""
                said[host] = known.result.sentence + aside
            elif known.same_in_a_row > SAME_TEXTS_IN_A_ROW:
                said[host] = (
                    f"{host} said of {known.same_in_a_row} frames in a row what it had said of others that look "
                    "different: the model may be weak, or Ollama may need a restart"
                )
        return said

    def _is_time(self, known: _HostRecord) -> bool:
        if known.asked_at is None:
            return True
        if known.answers < FEWEST_FRAMES:
            return False
        if known.result is None or self._clock() - known.asked_at >= HEALTH_CHECK_SECONDS:
            return True
        return known.same_in_a_row > SAME_TEXTS_IN_A_ROW and known.answers >= SUSPICIOUS_FRAMES

    def _is_well(self, known: _HostRecord) -> bool:
        if known.result is None or known.result.is_bad:
            return False
        return known.gone_since is None or self._clock() - known.gone_since < GONE_SECONDS

    def _answered(self, host: str) -> _HostRecord:
        self.back(host)
        known = self._known(host)
        known.answers += 1
        return known

    def _known(self, host: str) -> _HostRecord:
        return self._hosts.setdefault(host, _HostRecord())


def frames_ahead(order: RunOptions, *, left: int, described: int, seconds: float, time_left: float | None) -> int:
    """How many frames a run will probably describe from now on.

    So many are `left` and were `described` in the run's `seconds`. Its limit and its time are reckoned with; at the
    beginning of a run of limited time nobody knows. `time_left` in seconds, None: there is no end.
    """
    ahead = left
    if order.limit is not None:
        ahead = min(ahead, order.limit - described)
    if time_left is not None:
        ahead = min(ahead, int(described * max(0.0, time_left) / seconds)) if seconds > 0 else 0
    return ahead


def _is_bad(known: _HostRecord) -> bool:
    return known.result is not None and known.result.is_bad
