"""The command `dashboard`: runs Streamlit with fixed settings, from any working directory."""

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
START_TIMEOUT_SECONDS = 90.0  # a busy machine takes long to import Streamlit
POLL_SECONDS = 0.1
STOP_TIMEOUT_SECONDS = 10.0
WILDCARD_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # bind address: what the browser opens
# The user's own Streamlit configuration must not weaken these; the rest is in .streamlit/config.toml next to app.py.
# browser.serverAddress is set as well: without it Streamlit queries a public service for this machine's address.
FIXED_OPTIONS = {
    "server.headless": "true",
    "server.enableCORS": "true",
    "server.enableXsrfProtection": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
}


def dashboard(
    port: Annotated[
        int, typer.Option("--port", min=1, max=LAST_PORT, help="Port to use; if it is taken, the next free one.")
    ] = 8501,
    address: Annotated[
        str,
        typer.Option(
            "--address", help="Address to listen on. Anything but this computer's loopback address needs a password."
        ),
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Additional host name of this computer to accept. Repeatable.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
) -> None:
    """Open the dashboard in your browser.

    Runs until you press Ctrl-C. The background worker keeps running.

    Example: everyframe dashboard --address 0.0.0.0
    """
    if importlib.util.find_spec("streamlit") is None:
        raise ControlError(
            "Streamlit, which serves the dashboard, is not installed: run `pip install --upgrade everyframe`"
        )
    if not APP.is_file():
        raise ControlError(f"{APP} is missing: reinstall EveryFrame")
    is_private = is_loopback(address)
    if not is_private and not dashboard_password():
        raise SettingsError(
            f"listening on {address} would let others see your videos and change your library. Set a password first: "
            "`everyframe settings set dashboard_password -`"
        )
    free = free_port(address, port)
    if free != port:
        say(f"Port {port} is in use; using {free} instead.")
    with _served(address, free, [*own_names(address), *(name or [])]) as server:
        _wait(server, address, free)
        url = f"http://{_host(address)}:{free}"
        say(f"Dashboard: {url}")
        if not is_private:
            for one in network_addresses() if address in WILDCARD_ADDRESSES else [address]:
                say(f"  From other devices (password required): http://{f'[{one}]' if ':' in one else one}:{free}")
            say("  The connection is not encrypted. Use it only on a network you trust.")
        say("Press Ctrl-C to stop the dashboard. The background worker keeps running.")
        if not no_browser:
            _open(url)
        code = server.wait()
    if code != 0:
        raise ControlError(f"the dashboard stopped unexpectedly (exit code {code})")


@contextmanager
def _served(address: str, port: int, names: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Streamlit in a child process, stopped on exit. It survives only if this process is killed with SIGKILL."""
    from enrich.process import python_command

    options = FIXED_OPTIONS | {
        "server.address": address,
        "server.port": str(port),
        "browser.serverAddress": _host(address),
    }
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
    except KeyboardInterrupt:  # Ctrl-C is how it ends
        raise typer.Exit(0) from None
    finally:
        _end(server)


def _end(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT_SECONDS)
    if server.poll() is None:
        server.kill()
        server.wait()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _environment() -> dict[str, str]:
    """This environment with relative paths made absolute, as the server runs in another folder."""
    from enrich.control.launch import environment_for

    try:
        return environment_for(load_settings())
    except SettingsError as error:  # the dashboard also shows it, with the fix
        print_error(str(error))
        return environment_with(EVERYFRAME_HOME=str(data_folder()))


def _wait(server: "subprocess.Popen[bytes]", address: str, port: int) -> None:
    """Wait until the server responds. Raises ControlError if it does not."""
    end = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise ControlError(f"the dashboard did not start (exit code {server.returncode})")
        connection = http.client.HTTPConnection(_host(address).strip("[]"), port, timeout=STOP_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/_stcore/health")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            time.sleep(POLL_SECONDS)
        else:
            return
        finally:
            connection.close()
    raise ControlError(f"the dashboard did not respond within {START_TIMEOUT_SECONDS:.0f} s")


def _host(address: str) -> str:
    """The host that a browser on this machine opens."""
    host = WILDCARD_ADDRESSES.get(address, address)
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _open(url: str) -> None:
    """Open a graphical browser, if there is one. A text browser would take over the terminal."""
    with suppress(webbrowser.Error, OSError):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(url)
