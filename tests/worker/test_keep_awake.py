"""Keeping awake, through the real wakepy: granted, refused, and asked of a desktop that does not answer.

A D-Bus of the test's own stands in for the desktop where there is a `dbus-daemon`. What it cannot show is that a real
desktop then does not sleep.
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

PATIENCE_SECONDS = 20.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="D-Bus and power supplies as files are Linux's")


@pytest.fixture(autouse=True)
def no_desktop(monkeypatch):
    """Whatever desktop runs the tests is left alone."""
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_SESSION_DESKTOP", "WAKEPY_FAKE_SUCCESS", "WAKEPY_FORCE_FAILURE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def granted(monkeypatch):
    """Wakepy's own way to say yes without asking the system."""
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "1")


@pytest.fixture
def refused(monkeypatch):
    monkeypatch.setenv("WAKEPY_FORCE_FAILURE", "1")


def wait_for(condition):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == keep_awake.__name__]


def test_it_holds_once_and_lets_go_once(granted, caplog):
    keeper = SleepInhibitor("always")
    assert (keeper.state, keeper.reason) == (False, "there is no work")
    keeper.hold()
    keeper.hold()
    wait_for(lambda: keeper.state)
    assert keeper.reason is None
    assert [thread.name for thread in running_threads()].count("everyframe-awake") == 1
    keeper.release_inhibitor()
    keeper.release_inhibitor()
    assert keeper.state is False
    assert "everyframe-awake" not in [thread.name for thread in running_threads()]
    assert said(caplog) == ["the computer is kept awake", "sleep is allowed again: the worker has ended"]


def test_it_holds_while_there_is_work_and_only_then(granted):
    keeper = SleepInhibitor("always")
    keeper.refresh(False)
    assert keeper.state is False
    keeper.refresh(True)
    wait_for(lambda: keeper.state)
    keeper.refresh(False)
    assert (keeper.state, keeper.reason) == (False, "there is no work")
    keeper.refresh(True)
    wait_for(lambda: keeper.state)
    keeper.release_inhibitor()


def test_never_means_never(granted):
    keeper = SleepInhibitor("never")
    keeper.refresh(True)
    assert (keeper.state, keeper.reason) == (False, "the setting keep_awake says never")
    keeper.release_inhibitor()


def test_on_mains_it_lets_go_when_the_plug_is_pulled_and_holds_when_it_is_back(granted, monkeypatch):
    monkeypatch.setattr(keep_awake, "POWER_CHECK_SECONDS", 0)
    plug = [True]
    keeper = SleepInhibitor("mains", on_mains=lambda: plug[0])
    keeper.refresh(True)
    wait_for(lambda: keeper.state)
    plug[0] = False
    keeper.refresh(True)
    assert (keeper.state, keeper.reason) == (False, "it runs on battery")
    plug[0] = True
    keeper.refresh(True)
    wait_for(lambda: keeper.state)
    keeper.release_inhibitor()


def test_always_does_not_look_at_the_plug(granted):
    keeper = SleepInhibitor("always", on_mains=lambda: False)
    keeper.refresh(True)
    wait_for(lambda: keeper.state)
    keeper.release_inhibitor()


def test_a_refusal_is_said_once_tried_again_later_and_never_an_error(refused, monkeypatch, caplog):
    keeper = SleepInhibitor("always")
    keeper.refresh(True)
    wait_for(lambda: keeper.state is None)
    keeper.refresh(True)
    assert keeper.state is None  # it is too early to ask again
    monkeypatch.setattr(keep_awake, "RETRY_SECONDS", 0)
    keeper.refresh(True)
    wait_for(lambda: keeper.state is None)
    monkeypatch.delenv("WAKEPY_FORCE_FAILURE")
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "1")
    keeper.refresh(True)
    wait_for(lambda: keeper.state)
    keeper.release_inhibitor()
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == []
    refusals = [text for text in said(caplog) if text.startswith("the computer cannot be kept awake: ")]
    assert len(refusals) == 1


@linux_only
def test_without_a_desktop_it_says_why_and_asks_nobody():
    keeper = SleepInhibitor("always")
    keeper.refresh(True)
    wait_for(lambda: keeper.state is None)
    assert "DBUS_SESSION_BUS_ADDRESS is not set" in keeper.reason
    keeper.release_inhibitor()


@linux_only
@pytest.mark.slow
def test_a_desktop_that_does_not_answer_holds_up_nobody(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "bus"))
        silent.listen(5)
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
        keeper = SleepInhibitor("always")
        began = time.monotonic()
        keeper.refresh(True)
        assert time.monotonic() - began < 0.5
        wait_for(lambda: keeper.state is None)
        keeper.release_inhibitor()


class Desktop:
    """The part of GNOME's session manager that is asked not to suspend."""

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
    """A session bus of the test's own; its address."""
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
def test_a_desktop_is_asked_over_its_bus_and_told_when_it_is_over(bus):
    desktop = Desktop(bus)
    try:
        keeper = SleepInhibitor("always")
        keeper.refresh(True)
        wait_for(lambda: keeper.state)
        assert desktop.held == [1]
        keeper.release_inhibitor()
        assert desktop.held == []
    finally:
        desktop.close()


@linux_only
def test_a_bus_without_a_desktop_is_hung_up(bus):
    keeper = SleepInhibitor("always")
    keeper.refresh(True)
    wait_for(lambda: keeper.state is None)
    keeper.release_inhibitor()
    gc.collect()  # a connection left open is a warning, and a warning an error here


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
def test_what_power_supplies_say_of_the_plug(tmp_path, supplies, mains):
    for name, facts in supplies.items():
        supply(tmp_path, name, **facts)
    assert is_on_mains(tmp_path) is mains


def test_this_computer_knows_whether_it_is_on_mains():
    assert is_on_mains() in (True, False)
