"""The sleep inhibitor with the real wakepy: granted, refused, and with a desktop that does not respond.

Where a `dbus-daemon` is installed, a private D-Bus replaces the desktop. It cannot show that a real one stays awake.
"""

import gc
import logging
import shutil
import socket
import subprocess
import sys
import time
from threading import Thread
from threading import enumerate as running_threads

import pytest

from enrich.worker import keep_awake
from enrich.worker.keep_awake import SleepInhibitor, is_on_mains
from tests.waiting import wait_until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has D-Bus and power supplies as files")


@pytest.fixture(autouse=True)
def no_desktop(monkeypatch):
    """Tests do not reach the desktop of the person who runs them."""
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_SESSION_DESKTOP", "WAKEPY_FAKE_SUCCESS", "WAKEPY_FORCE_FAILURE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def granted(monkeypatch):
    """Wakepy pretends to succeed without asking the system."""
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "1")


@pytest.fixture
def refused(monkeypatch):
    monkeypatch.setenv("WAKEPY_FORCE_FAILURE", "1")


def logged(caplog):
    return [record.getMessage() for record in caplog.records if record.name == keep_awake.__name__]


def test_sleep_is_inhibited_once_and_released_once(granted, caplog):
    inhibitor = SleepInhibitor("always")
    assert (inhibitor.state, inhibitor.reason) == (False, "there is no work")
    inhibitor.hold()
    inhibitor.hold()
    wait_until(lambda: inhibitor.state, "sleep is inhibited")
    assert inhibitor.reason is None
    assert [thread.name for thread in running_threads()].count("everyframe-awake") == 1
    inhibitor.close()
    inhibitor.close()
    assert inhibitor.state is False
    assert "everyframe-awake" not in [thread.name for thread in running_threads()]
    assert logged(caplog) == ["the computer is kept awake", "sleep is allowed again: the worker has ended"]


def test_sleep_is_inhibited_only_while_there_is_work(granted):
    inhibitor = SleepInhibitor("always")
    inhibitor.refresh(False)
    assert inhibitor.state is False
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state, "sleep is inhibited")
    inhibitor.refresh(False)
    assert (inhibitor.state, inhibitor.reason) == (False, "there is no work")
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state, "sleep is inhibited")
    inhibitor.close()


def test_sleep_is_never_inhibited_with_the_setting_never(granted):
    inhibitor = SleepInhibitor("never")
    inhibitor.refresh(True)
    assert (inhibitor.state, inhibitor.reason) == (False, "keep_awake is set to never")
    inhibitor.close()


def test_sleep_is_allowed_on_battery_and_inhibited_on_mains(granted, monkeypatch):
    monkeypatch.setattr(keep_awake, "POWER_CHECK_SECONDS", 0)
    mains_power = [True]
    inhibitor = SleepInhibitor("mains", on_mains=lambda: mains_power[0])
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state, "sleep is inhibited")
    mains_power[0] = False
    inhibitor.refresh(True)
    assert (inhibitor.state, inhibitor.reason) == (False, "the computer runs on battery")
    mains_power[0] = True
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state, "sleep is inhibited")
    inhibitor.close()


def test_unreadable_power_supply_counts_as_mains(granted):
    """An error would end the heartbeat, which asks for the power supply, and with it the run."""

    def fail():
        raise RuntimeError("odd hardware")

    inhibitor = SleepInhibitor("mains", on_mains=fail)
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state, "sleep is inhibited")
    inhibitor.close()


def test_setting_always_ignores_the_power_supply(granted):
    inhibitor = SleepInhibitor("always", on_mains=lambda: False)
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state, "sleep is inhibited")
    inhibitor.close()


def test_refusal_is_logged_once_and_retried_later(refused, monkeypatch, caplog):
    inhibitor = SleepInhibitor("always")
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state is None, "sleep is not inhibited")
    inhibitor.refresh(True)
    assert inhibitor.state is None  # too early for a retry
    monkeypatch.setattr(keep_awake, "RETRY_SECONDS", 0)
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state is None, "sleep is not inhibited")
    monkeypatch.delenv("WAKEPY_FORCE_FAILURE")
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "1")
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state, "sleep is inhibited")
    inhibitor.close()
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == []
    refusals = [text for text in logged(caplog) if text.startswith("the computer cannot be kept awake: ")]
    assert len(refusals) == 1


@linux_only
def test_without_a_desktop_the_reason_is_given():
    inhibitor = SleepInhibitor("always")
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state is None, "sleep is not inhibited")
    assert "DBUS_SESSION_BUS_ADDRESS is not set" in inhibitor.reason
    inhibitor.close()


@linux_only
@pytest.mark.slow
def test_unresponsive_desktop_blocks_nothing(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "bus"))
        silent.listen(5)
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
        inhibitor = SleepInhibitor("always")
        began = time.monotonic()
        inhibitor.refresh(True)
        assert time.monotonic() - began < 0.5
        wait_until(lambda: inhibitor.state is None, "sleep is not inhibited")
        inhibitor.close()


class Desktop:
    """The inhibitor interface of GNOME's session manager."""

    def __init__(self, address):
        from jeepney import DBusAddress, new_method_call
        from jeepney.io.blocking import open_dbus_connection

        self.held = []
        self._next_cookie = 0
        self._connection = open_dbus_connection(address)
        bus = DBusAddress("/org/freedesktop/DBus", bus_name="org.freedesktop.DBus", interface="org.freedesktop.DBus")
        request = new_method_call(bus, "RequestName", "su", ("org.gnome.SessionManager", 0))
        self._connection.send_and_get_reply(request)
        self._is_over = False
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        from jeepney import HeaderFields, MessageType, new_method_return

        while not self._is_over:
            try:
                message = self._connection.receive(timeout=0.1)
            except TimeoutError:
                continue
            if message.header.message_type is not MessageType.method_call:
                continue
            if message.header.fields[HeaderFields.member] == "Inhibit":
                self._next_cookie += 1
                self.held.append(self._next_cookie)
                self._connection.send(new_method_return(message, "u", (self._next_cookie,)))
            else:
                self.held.remove(message.body[0])
                self._connection.send(new_method_return(message))

    def close(self):
        self._is_over = True
        self._thread.join()
        self._connection.close()


@pytest.fixture
def bus(monkeypatch):
    """The address of a private session bus."""
    program = shutil.which("dbus-daemon")
    if program is None:
        pytest.skip("there is no dbus-daemon here")
    with subprocess.Popen(
        [program, "--session", "--nofork", "--nopidfile", "--print-address"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as daemon:
        address = daemon.stdout.readline().strip()
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        yield address
        daemon.terminate()


@linux_only
def test_desktop_inhibitor_is_taken_and_released_over_dbus(bus):
    desktop = Desktop(bus)
    try:
        inhibitor = SleepInhibitor("always")
        inhibitor.refresh(True)
        wait_until(lambda: inhibitor.state, "sleep is inhibited")
        assert desktop.held == [1]
        inhibitor.close()
        assert desktop.held == []
    finally:
        desktop.close()


@linux_only
def test_connection_to_a_bus_without_a_desktop_is_closed(bus):
    inhibitor = SleepInhibitor("always")
    inhibitor.refresh(True)
    wait_until(lambda: inhibitor.state is None, "sleep is not inhibited")
    inhibitor.close()
    gc.collect()  # an open connection would be a ResourceWarning, and so an error


def supply(folder, name, **facts):
    (folder / name).mkdir()
    for fact, value in facts.items():
        (folder / name / fact).write_text(f"{value}\n")


@linux_only
@pytest.mark.parametrize(
    ("supplies", "mains"),
    [
        ({}, True),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}, "AC": {"type": "Mains", "online": "0"}}, False),
        ({"BAT0": {"type": "Battery", "status": "Charging"}, "AC": {"type": "Mains", "online": "1"}}, True),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}, "AC": {"type": "Mains", "online": "1"}}, True),
        ({"BAT0": {"type": "Battery", "status": "Not charging"}}, True),
        ({"BAT0": {"type": "Battery", "status": "Full"}, "BAT1": {"type": "Battery", "status": "Discharging"}}, False),
        ({"hidpp_battery_0": {"type": "Battery", "status": "Discharging", "scope": "Device"}}, True),
    ],
    ids=["no battery", "unplugged", "plugged", "weak charger", "kept at 80 %", "two batteries", "a mouse"],
)
def test_power_source_is_read_from_the_supplies(tmp_path, supplies, mains):
    for name, facts in supplies.items():
        supply(tmp_path, name, **facts)
    assert is_on_mains(tmp_path) is mains


def test_power_source_of_this_computer_can_be_read():
    assert is_on_mains() in (True, False)
