"""The sleep inhibitor: keeps the computer awake while there is work, through wakepy.

Every request has a thread of its own: wakepy must end a request in the thread that began it, and a desktop that hangs
must not block the worker. A refused request is logged and never an error. A closed lid, an empty battery and a restart
for updates cannot be prevented.
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
    from wakepy import DBusAdapter, Mode

log = logging.getLogger(__name__)

POWER_CHECK_SECONDS = 30.0
RETRY_SECONDS = 600.0  # after a refusal: a desktop session may have started since
RELEASE_SECONDS = 10.0  # wakepy gives up on a hanging desktop after some seconds
LONGEST_REASON = 200  # characters
POWER_SUPPLIES = Path("/sys/class/power_supply")


class SleepInhibitor:
    """Keeps the computer awake: on `mains` power, `always` or `never`. For one thread at a time."""

    def __init__(
        self, mode: Literal["mains", "always", "never"] = "mains", *, on_mains: Callable[[], bool] | None = None
    ) -> None:
        self._mode = mode
        self._check_mains = on_mains or is_on_mains
        self._is_on_mains = True
        self._next_power_check = 0.0  # monotonic
        self._request: _InhibitRequest | None = None
        self._why_not = "there is no work"
        self._logged = ""

    @property
    def state(self) -> bool | None:
        """True while the computer is kept awake, False while it may sleep, None where the system refuses."""
        return self._request.state if self._request is not None else False

    @property
    def reason(self) -> str | None:
        """Why the computer is not kept awake; None if it is."""
        return self._request.reason if self._request is not None else self._why_not

    def refresh(self, has_work: bool) -> None:
        """Hold or release, as the mode and the power supply require. Called with each heartbeat; does not wait."""
        if self._mode == "never":
            self._release("keep_awake is set to never")
        elif not has_work:
            self._release("there is no work")
        elif self._mode == "mains" and not self._has_mains():
            self._release("the computer runs on battery")
        else:
            self.hold()

    def hold(self) -> None:
        """Ask the system to stay awake, unless already requested. Does not wait."""
        if self._request is not None and self._request.was_refused_for(RETRY_SECONDS):
            self._request = None
        if self._request is None:
            self._request = _InhibitRequest(self._say)
            self._request.begin()

    def close(self) -> None:
        """Allow sleep again. Waits until the system confirms, at most RELEASE_SECONDS."""
        request = self._request
        self._release("the worker has ended")
        if request is not None:
            request.join(RELEASE_SECONDS)

    def _release(self, why: str) -> None:
        self._why_not = why
        if self._request is None:
            return
        if self._request.state:
            self._say(f"sleep is allowed again: {why}")
        self._request.end()
        self._request = None

    def _has_mains(self) -> bool:
        if time.monotonic() >= self._next_power_check:
            self._next_power_check = time.monotonic() + POWER_CHECK_SECONDS
            try:
                self._is_on_mains = self._check_mains()
            except Exception as error:  # noqa: BLE001  # psutil raises anything on odd hardware; the run continues
                self._say(f"the power supply cannot be read ({type(error).__name__}: {error}): assuming mains power")
                self._is_on_mains = True
        return self._is_on_mains

    def _say(self, text: str) -> None:
        """Log a change once: a refusal is repeated every few minutes."""
        if text != self._logged:
            self._logged = text
            log.info("%s", text, extra=about(Action.SLEEP_INHIBITOR_CHANGED))


class _InhibitRequest:
    """One request to the system, held by its thread until it ends."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.state: bool | None = False
        self.reason: str | None = "waiting for the system to reply"
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
        except Exception as error:  # noqa: BLE001  # desktop libraries raise anything; the run continues
            self._refused(f"{type(error).__name__}: {error}")

    def _hold(self) -> None:
        from wakepy import keep

        buses: list[DBusAdapter] = []
        with keep.running(on_fail="pass", dbus_adapter=_bus_adapters(buses)) as mode:
            if not mode.active:
                self._refused(_why(mode))
                for bus in buses:  # wakepy leaves their connections open after a refusal
                    bus.close_connections()
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
    """Whether the computer runs on mains power. True without a battery."""
    if sys.platform == "linux":  # psutil takes the battery of a mouse for the computer's
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
    """An attribute of a power supply; "" if it has none."""
    try:
        return (supply / name).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _why(mode: "Mode") -> str:
    """Why the available methods failed: the first sentence of every distinct reason."""
    tried = [way.failure_reason.split("failed with message: ")[-1] for way in mode.result.list_methods()]
    reasons = [reason.split("! ")[0].rstrip("\"')") for reason in tried]
    return "; ".join(dict.fromkeys(reasons)) or "no method is known for this system"


def _bus_adapters(made: "list[DBusAdapter]") -> "list[type[DBusAdapter]]":
    """What talks to D-Bus for wakepy: its own adapter, which adds itself to `made`. Empty where there is no D-Bus."""
    try:
        from wakepy import JeepneyDBusAdapter
    except ImportError:  # jeepney is installed on Linux only
        return []

    class RecordedAdapter(JeepneyDBusAdapter):  # type: ignore[misc, valid-type]  # declared as a variable
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    return [RecordedAdapter]
