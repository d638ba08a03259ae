"""Keeping the computer awake while there is work: asked of the system through wakepy, for as long as it is held.

The system is asked from a thread of its own: what wakepy begins in a thread must end there, and a desktop that does
not answer holds up nobody. What cannot be had is a line in the log, never an error. A closed lid, an empty battery and
a restart for updates are beyond it.
"""

import logging
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from enrich.logs import Action, about

if TYPE_CHECKING:
    from wakepy import Mode

log = logging.getLogger(__name__)

POWER_CHECK_SECONDS = 30.0
RETRY_SECONDS = 600.0  # after the system refused: a desktop may have come up since
LET_GO_SECONDS = 10.0  # a desktop that hangs is given up by wakepy after some seconds
LONGEST_REASON = 200  # characters
POWER_SUPPLIES = Path("/sys/class/power_supply")


class SleepInhibitor:
    """Keeps the computer awake in a mode: on `mains`, `always` or `never`. To be used by one thread at a time."""

    def __init__(
        self, mode: Literal["mains", "always", "never"] = "mains", *, on_mains: Callable[[], bool] | None = None
    ) -> None:
        self._mode = mode
        self._ask_mains = on_mains or is_on_mains
        self._is_on_mains = True
        self._next_power_check = 0.0  # monotonic
        self._holding: _InhibitRequest | None = None
        self._why_not = "there is no work"
        self._said = ""

    @property
    def state(self) -> bool | None:
        """True while the computer is kept awake, False while it may sleep, None where the system refuses."""
        return self._holding.state if self._holding is not None else False

    @property
    def reason(self) -> str | None:
        """Why the computer is not kept awake; None if it is."""
        return self._holding.reason if self._holding is not None else self._why_not

    def refresh(self, has_work: bool) -> None:
        """Hold or let go, whichever is right now; for each heartbeat. Waits for nothing."""
        if self._mode == "never":
            self._release("the setting keep_awake says never")
        elif not has_work:
            self._release("there is no work")
        elif self._mode == "mains" and not self._has_mains():
            self._release("it runs on battery")
        else:
            self.hold()

    def hold(self) -> None:
        """Ask the system to stay awake, unless that is done already. Waits for nothing."""
        if self._holding is not None and self._holding.was_refused_for(RETRY_SECONDS):
            self._holding = None
        if self._holding is None:
            self._holding = _InhibitRequest(self._say)
            self._holding.begin()

    def release_inhibitor(self) -> None:
        """Let the computer sleep again; waits until the system knows, or does not answer."""
        holding = self._holding
        self._release("the worker has ended")
        if holding is not None:
            holding.join(LET_GO_SECONDS)

    def _release(self, why: str) -> None:
        self._why_not = why
        if self._holding is None:
            return
        if self._holding.state:
            self._say(f"the computer may sleep again: {why}")
        self._holding.end()
        self._holding = None

    def _has_mains(self) -> bool:
        if time.monotonic() >= self._next_power_check:
            self._next_power_check = time.monotonic() + POWER_CHECK_SECONDS
            self._is_on_mains = self._ask_mains()
        return self._is_on_mains

    def _say(self, text: str) -> None:
        """Log what is new: a refusal is repeated every few minutes all night."""
        if text != self._said:
            self._said = text
            log.info("%s", text, extra=about(Action.SLEEP_INHIBITOR_CHANGED))


class _InhibitRequest:
    """One request to the system, held by its thread until it is ended."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.state: bool | None = False
        self.reason: str | None = "the system is being asked"
        self._say = say
        self._refused_at: float | None = None  # monotonic
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everyframe-awake", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def was_refused_for(self, seconds: float) -> bool:
        return self._refused_at is not None and time.monotonic() - self._refused_at >= seconds

    def _run(self) -> None:
        try:
            self._hold()
        except Exception as error:  # noqa: BLE001  # desktops and their libraries raise anything; the night goes on
            self._refused(f"{type(error).__name__}: {error}")

    def _hold(self) -> None:
        from wakepy import keep

        with keep.running(on_fail="pass") as mode:
            if not mode.active:
                self._refused(_why(mode))
                _hang_up(mode)
                return
            if not self._over.is_set():
                self._say("the computer is kept awake")
            self.state, self.reason = True, None
            self._over.wait()

    def _refused(self, why: str) -> None:
        self.state, self.reason = None, textwrap.shorten(why, LONGEST_REASON, placeholder=" …")
        self._refused_at = time.monotonic()
        if not self._over.is_set():
            self._say(f"the computer cannot be kept awake: {self.reason}")


def is_on_mains(supplies: Path = POWER_SUPPLIES) -> bool:
    """Whether the computer runs on mains, as far as it knows; without a battery of its own it does."""
    if sys.platform == "linux":  # where psutil takes a mouse's battery for the computer's
        on_mains = _have_mains(supplies)
    else:
        battery = psutil.sensors_battery()
        on_mains = battery is None or battery.power_plugged is not False
    return on_mains


def _have_mains(supplies: Path) -> bool:
    is_discharging = False
    for supply in supplies.glob("*"):
        if _fact(supply, "scope") == "Device":
            continue
        if _fact(supply, "online") == "1":
            return True
        is_discharging = is_discharging or _fact(supply, "status") == "Discharging"
    return not is_discharging


def _fact(supply: Path, name: str) -> str:
    """What a power supply says of itself; nothing if it does not."""
    try:
        return (supply / name).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _why(mode: "Mode") -> str:
    """Why the system's ways failed, each reason once, its first sentence."""
    tried = [way.failure_reason.split("failed with message: ")[-1] for way in mode.result.list_methods()]
    reasons = [reason.split("! ")[0].rstrip("\"')") for reason in tried]
    return "; ".join(dict.fromkeys(reasons)) or "no way is known on this system"


def _hang_up(mode: "Mode") -> None:
    """Close the connection to the desktop, which wakepy leaves open when it was refused."""
    adapter = mode._dbus_adapter_instance  # noqa: SLF001  # there is no public way to it
    if adapter is not None:
        adapter.close_connections()
