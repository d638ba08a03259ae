"""The command `dashboard`: serves the dashboard with our own settings for Streamlit, wherever it is called from."""

import http.client
import importlib.util
import signal
import subprocess
import time
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from enrich.cli.output import print_error, say
from enrich.errors import ControlError, SettingsError
from enrich.network import LAST_PORT, free_port, is_loopback, network_addresses, own_names
from enrich.settings import dashboard_password, data_folder, environment_with, load_settings

APP = Path(__file__).resolve().parents[2] / "app.py"
START_SECONDS = 90.0  # a machine that is busy takes its time to import Streamlit
LOOK_SECONDS = 0.1
END_SECONDS = 10.0
ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # where a browser goes if the server is bound so
# A person's own Streamlit settings must not weaken these; the rest is in .streamlit/config.toml beside app.py. With
# browser.serverAddress Streamlit asks nobody in the internet for this machine's address, only to print it.
FIRM = {
    "server.headless": "true",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
}


def dashboard(
    port: Annotated[int, typer.Option("--port", min=1, max=LAST_PORT, help="The first one to try.")] = 8501,
    address: Annotated[
        str, typer.Option("--address", help="What to listen at; another than this machine's own needs a password.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Another name browsers may call this machine by.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
) -> None:
    """Serve the dashboard and open it in the browser.

    Ctrl-C ends it; work in the background goes on.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise ControlError(
            "Streamlit, which serves the dashboard, is not installed: run `pip install --upgrade everyframe`"
        )
    if not APP.is_file():
        raise ControlError(f"the dashboard is not where it was installed, {APP}: install EveryFrame again")
    is_private = is_loopback(address)
    if not is_private and not dashboard_password():
        raise SettingsError(
            f"at {address} others could see your films and change your library: set a password first, with "
            "`everyframe settings set dashboard_password -`"
        )
    free = free_port(address, port)
    if free != port:
        say(f"Port {port} is in use, so it is {free} this time.")
    with _served(address, free, [*own_names(address), *(name or [])]) as server:
        _wait(server, address, free)
        url = f"http://{_host(address)}:{free}"
        say(f"EveryFrame's dashboard: {url}")
        if not is_private:
            for one in network_addresses() if address in ANY else [address]:
                say(f"  for others, with the password: http://{f'[{one}]' if ':' in one else one}:{free}")
            say("  What crosses the network is not encrypted: do this only where you trust everyone.")
        say("Ctrl-C ends it; work in the background goes on.")
        if not no_browser:
            _open(url)
        code = server.wait()
    if code != 0:
        raise ControlError(f"the dashboard has ended by itself (exit code {code})")


@contextmanager
def _served(address: str, port: int, names: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Streamlit in a process of its own, which ends with this one, unless this one is killed without a word."""
    options = FIRM | {"server.address": address, "server.port": str(port), "browser.serverAddress": _host(address)}
    from enrich.control.launch import python_command

    command = python_command("streamlit", "run", str(APP))
    command += [f"--{option}={value}" for option, value in options.items()]
    command += [f"--server.allowedHosts={name}" for name in names]
    for number in ("SIGTERM", "SIGHUP"):
        if number in signal.Signals.__members__:
            signal.signal(signal.Signals[number], _interrupt)
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=APP.parent, env=_environment()
    )
    try:
        yield server
    except KeyboardInterrupt:  # that is how it is ended
        raise typer.Exit(0) from None
    finally:
        _end(server)


def _end(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(END_SECONDS)
    if server.poll() is None:
        server.kill()
        server.wait()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _environment() -> dict[str, str]:
    """Ours, with what is relative to our folder made absolute: the server runs in another."""
    from enrich.control.launch import environment_for

    try:
        return environment_for(load_settings())
    except SettingsError as error:  # the dashboard says so too, and how to mend it
        print_error(str(error))
        return environment_with(EVERYFRAME_HOME=str(data_folder()))


def _wait(server: "subprocess.Popen[bytes]", address: str, port: int) -> None:
    """Wait until somebody answers. Raises ControlError if nobody does."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise ControlError(f"the dashboard did not start (exit code {server.returncode})")
        connection = http.client.HTTPConnection(_host(address).strip("[]"), port, timeout=END_SECONDS)
        try:
            connection.request("GET", "/_stcore/health")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            time.sleep(LOOK_SECONDS)
        else:
            return
        finally:
            connection.close()
    raise ControlError(f"the dashboard has not answered within {START_SECONDS:.0f} s")


def _host(address: str) -> str:
    """Where a browser on this machine goes."""
    host = ANY.get(address, address)
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _open(url: str) -> None:
    """Open the browser, if there is one with a window: one within the terminal would take it over."""
    with suppress(webbrowser.Error, OSError):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(url)
