"""Disturbances of a supervised worker, chosen by a seeded random generator, and a record of what happened when.

`Disturbances` is driven by one thread: call `tick` often. It never waits longer than a command of `enrich.control`
does. Disturbances overlap: an outage, for example, lasts while the worker is killed, paused or restarted.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import httpx
import psutil

from enrich.control import control
from enrich.errors import ControlError
from enrich.process import find_process, is_alive
from enrich.settings import Settings
from tests.control.background import Background
from tests.standin import Trick
from tests.waiting import wait_until
from tests.worker.workspace import Workspace

OUTAGES = [
    None, Trick.ERROR, Trick.BUSY, Trick.HANG, Trick.BAD_GATEWAY, Trick.HTML, Trick.HALF, Trick.DIE, Trick.MISSING,
    Trick.BROKEN_JSON,
]  # fmt: skip  # None: connections are refused
HOUR_SECONDS = 3600
CLOCK_HOURS = [-24, -5, -1, 0, 1, 3, 24, 7 * 24]
OUTAGE_SECONDS = (0.5, 5.0)
SUPERVISED_CRASHES = 3  # after which the supervisor is killed too: it doubles its pause with every crash
DEAD_SECONDS = 12.0  # without a worker, which is longer than the supervisor waits after SUPERVISED_CRASHES


def has_ended(process: psutil.Process | None) -> bool:
    """Whether a process has ended; where no parent reaps it, it stays as a zombie."""
    try:
        return process is None or not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Kind(StrEnum):
    """The kinds of disturbance."""

    KILL_WORKER = "worker killed"
    KILL_BOTH = "supervisor and worker killed"
    KILL_TWICE = "worker killed twice"  # again while it starts
    STOP = "stopped and started"
    PAUSE = "paused and resumed"
    OUTAGE = "outage"
    JUMP = "clock jump"


KILLS = frozenset((Kind.KILL_WORKER, Kind.KILL_BOTH, Kind.KILL_TWICE))
FATAL = KILLS | {Kind.STOP}  # end the life of a worker
DECK = {
    Kind.KILL_WORKER: 4, Kind.KILL_BOTH: 3, Kind.KILL_TWICE: 1, Kind.STOP: 2, Kind.PAUSE: 2, Kind.OUTAGE: 6,
    Kind.JUMP: 3,
}  # fmt: skip  # how often each comes before the next round


@dataclass(frozen=True)
class Event:
    """Something that happened, at a monotonic second."""

    at: float
    text: str


@dataclass(frozen=True)
class Kill:
    """A worker that was killed, at a monotonic second; `during` names the kinds of its claimed tasks."""

    at: float
    during: tuple[str, ...]


@dataclass
class Disturbances:
    """The disturbances of one night. `kinds` are those allowed."""

    settings: Settings
    workspace: Workspace
    background: Background
    hosts: list[str]
    clock: Path
    rng: random.Random
    mean_seconds: float  # between two disturbances
    kinds: frozenset[Kind] = frozenset(Kind)
    events: list[Event] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)  # what no disturbance explains
    _deck: list[Kind] = field(default_factory=list)
    _due_at: float = 0.0
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _supervised_crashes: int = 0
    _seen_alive_at: float = 0.0
    _disturbed_hosts: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Start the worker; the first disturbance follows soon."""
        self.clock.write_text("0")
        self._start()
        self._due_at = time.monotonic() + self.rng.uniform(0, self.mean_seconds)

    def tick(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        for due in [entry for entry in self._later if entry[0] <= now]:
            self._later.remove(due)
            due[1]()
        if now >= self._due_at:
            self._disturb()
            self._due_at = time.monotonic() + min(3 * self.mean_seconds, self.rng.expovariate(1 / self.mean_seconds))
        self._restart_if_dead()

    def allow(self, kinds: frozenset[Kind], mean_seconds: float) -> None:
        """Change which kinds may follow, and how often."""
        self.kinds, self.mean_seconds = kinds, mean_seconds
        self._deck.clear()

    def end(self) -> None:
        """End all outages."""
        self.kinds = frozenset()
        wait_until(self._is_calm, "the outages are over")

    def note(self, text: str) -> None:
        """Add an event to the timeline."""
        self.events.append(Event(time.monotonic(), text))

    def timeline(self, began: float, last: int | None = None) -> str:
        """The events, with the seconds since `began`."""
        chosen = self.events[-last:] if last else self.events
        return "\n".join(f"{event.at - began:7.1f} s  {event.text}" for event in chosen)

    def _is_calm(self) -> bool:
        self.tick()
        return not self._later

    def _disturb(self) -> None:
        if not self._deck:
            self._deck = [kind for kind, count in DECK.items() if kind in self.kinds for _ in range(count)]
            self.rng.shuffle(self._deck)
        if not self._deck:
            return
        kind = self._deck.pop()
        if kind in (Kind.KILL_WORKER, Kind.KILL_TWICE) and not self._may_count_crash():
            kind = Kind.KILL_BOTH
        actions = {
            Kind.KILL_WORKER: self._kill_worker, Kind.KILL_BOTH: self._kill_both, Kind.KILL_TWICE: self._kill_twice,
            Kind.STOP: self._stop_and_start, Kind.PAUSE: self._pause, Kind.OUTAGE: self._outage, Kind.JUMP: self._jump,
        }  # fmt: skip
        if actions[kind]():
            self.counts[kind] += 1

    def _may_count_crash(self) -> bool:
        """Whether a crash may be counted: three of them would rightly fail a task, and the supervisor slows down."""
        if self._supervised_crashes >= SUPERVISED_CRASHES - 1:  # KILL_TWICE adds two
            return False
        return not self.workspace.ask(
            "SELECT 1 FROM tasks WHERE (status = 'doing' AND crashes > 0) OR (status <> 'done' AND crashes > 1)"
        )

    def _processes(self) -> tuple[psutil.Process | None, psutil.Process | None]:
        """The supervisor and its worker, which may not have registered a run yet."""
        run = self.background.run()
        supervisor = find_process(run.supervisor) if run.supervisor is not None else None
        worker = find_process(run.process)
        if worker is None and supervisor is not None:
            with suppress(psutil.Error):
                worker = next(iter(supervisor.children()), None)
        return supervisor, worker

    def _killed(self, worker: psutil.Process | None) -> bool:
        during = self.workspace.ask("SELECT DISTINCT kind FROM tasks WHERE status = 'doing' ORDER BY kind")
        if worker is None:
            return False
        with suppress(psutil.NoSuchProcess):
            worker.kill()
        self.kills.append(Kill(time.monotonic(), tuple(kind for (kind,) in during) or ("start",)))
        self.note(f"kill -9 of worker {worker.pid} during {', '.join(self.kills[-1].during)}")
        return True

    def _kill_worker(self) -> bool:
        _, worker = self._processes()
        self._supervised_crashes += 1
        return self._killed(worker)

    def _kill_both(self) -> bool:
        supervisor, worker = self._processes()
        if supervisor is not None:
            supervisor.kill()
            self.note(f"kill -9 of supervisor {supervisor.pid}")
        was_killed = self._killed(worker)
        for process in (supervisor, worker):
            wait_until(lambda process=process: has_ended(process), "the killed process has ended")
        self._start()
        return was_killed or supervisor is not None

    def _kill_twice(self) -> bool:
        if not self._kill_worker():
            return False
        supervisor, _ = self._processes()
        ends_at = time.monotonic() + DEAD_SECONDS
        while supervisor is not None and supervisor.is_running() and time.monotonic() < ends_at:
            with suppress(psutil.Error):
                if children := supervisor.children():
                    time.sleep(self.rng.uniform(0.0, 1.5))  # a random moment of its start
                    self._supervised_crashes += 1
                    return self._killed(children[0])
            time.sleep(0.02)
        return True

    def _stop_and_start(self) -> bool:
        run = self.background.run()
        is_starting = run.has_ended or not is_alive(run)
        stopped = control.stop(self.settings)
        if stopped is not None and stopped.was_killed:
            self.kills.append(Kill(time.monotonic(), ("stop",)))
            self.unexpected.append(f"the worker {stopped.run.process.pid} did not stop in time and was killed")
        how = ", by force" if stopped is not None and stopped.was_killed else ""
        self.note(f"stopped{how}{' while it started' if is_starting else ''}" if stopped else "nothing to stop")
        time.sleep(self.rng.uniform(0, 0.5))
        self._start()
        return stopped is not None

    def _pause(self) -> bool:
        try:
            result = control.pause(self.settings)
        except ControlError:
            self.note("nothing to pause: the worker is being restarted")
            return False
        self.note(f"paused{'' if result.is_done else ', not yet done'}")
        self._after(self.rng.uniform(0.2, 2.0), self._resume)
        return True

    def _resume(self) -> None:
        try:
            control.resume(self.settings)
        except ControlError:
            self.note("nothing to resume: the worker is being restarted")
            return
        self.note("resumed")

    def _outage(self) -> bool:
        """An outage of one host or of all."""
        free = [host for host in self.hosts if host not in self._disturbed_hosts]
        chosen = free if self.rng.random() < 0.5 else free[:1]
        trick = self.rng.choice(OUTAGES)
        seconds = self.rng.uniform(*OUTAGE_SECONDS)
        everywhere = self.rng.random() < 0.5
        for host in chosen:
            if trick is None:
                self._tell(host, "refuse", seconds=seconds)
            else:
                self._tell(host, "play", trick=str(trick), stubborn=True, everywhere=everywhere)
            self._disturbed_hosts.add(host)
        if chosen:
            name = trick or "connections refused"
            self.note(f"outage of {len(chosen)} of {len(self.hosts)} hosts for {seconds:.1f} s: {name}")
            self._after(seconds + (0.5 if trick is None else 0.0), lambda: self._end_outage(chosen, str(name)))
        return bool(chosen)

    def _end_outage(self, hosts: list[str], name: str) -> None:
        for host in hosts:
            wait_until(lambda host=host: self._tell(host, "calm"), f"{host} is up")
            self._disturbed_hosts.discard(host)
        self.note(f"the outage is over: {name}")

    def _tell(self, host: str, action: str, **body: object) -> bool:
        try:
            httpx.post(f"{host}/standin/{action}", json=body, timeout=10)
        except httpx.TransportError:
            return False
        return True

    def _jump(self) -> bool:
        before = float(self.clock.read_text()) / HOUR_SECONDS
        after = self.rng.choice([hours for hours in CLOCK_HOURS if hours != before])
        other = self.clock.with_suffix(".new")
        other.write_text(str(after * HOUR_SECONDS))
        other.replace(self.clock)
        self.note(f"the clock jumps from {before:+.0f} h to {after:+d} h")
        return True

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, action))

    def _start(self) -> None:
        self._supervised_crashes = 0
        for attempt in range(3):
            try:
                started = control.start(self.settings)
            except ControlError as error:
                self.unexpected.append(f"start, attempt {attempt + 1}: {error}")
                self.note(self.unexpected[-1])
                continue
            self.note(f"worker {started.run.process.pid} runs{' already' if started.was_running else ''}")
            break
        self._seen_alive_at = time.monotonic()

    def _restart_if_dead(self) -> None:
        """Start a worker if the supervisor has given up or waits too long: nothing should have made it."""
        run = self.background.run()
        if not run.has_ended and is_alive(run):
            self._seen_alive_at = time.monotonic()
            return
        supervisor, _ = self._processes()
        if supervisor is not None and time.monotonic() - self._seen_alive_at < DEAD_SECONDS:
            return
        self.unexpected.append(
            f"no worker runs; run {run.id} is {run.state}: {run.error or run.reason}; "
            f"{'its supervisor waits' if supervisor is not None else 'its supervisor has ended'}"
        )
        self.note(self.unexpected[-1])
        if supervisor is not None:
            supervisor.kill()
            wait_until(lambda: has_ended(supervisor), "the supervisor has ended")
        self._start()
