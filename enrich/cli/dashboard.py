"""The command `dashboard`: runs Streamlit with fixed settings, from any working directory."""

import importlib.util
import signal
import subprocess
import time
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from enrich.cli.output import print_error, say
from enrich.control.access_token import (
    WILDCARD_ADDRESSES,
    access_token,
    browser_host,
    is_answering,
    opening_address,
    opening_page,
    running_dashboard,
    withdraw_dashboard,
)
from enrich.errors import ControlError, SettingsError
from enrich.network import LAST_PORT, free_port, is_loopback, network_addresses, own_names
from enrich.settings import dashboard_password, data_folder, environment_with, load_settings

APP = Path(__file__).resolve().parents[2] / "app.py"
START_TIMEOUT_SECONDS = 90.0  # a busy machine takes long to import Streamlit
POLL_SECONDS = 0.1
STOP_TIMEOUT_SECONDS = 10.0
DEFAULT_PORT = 8501
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
    ] = DEFAULT_PORT,
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

    Runs until you press Ctrl-C. The background worker keeps running. If the dashboard already runs, opens that one.

    Example: everyframe dashboard --address 0.0.0.0
    """
    if importlib.util.find_spec("streamlit") is None:
        raise ControlError(
            "Streamlit, which serves the dashboard, is not installed: run `pip install --upgrade everyframe`"
        )
    if not APP.is_file():
        raise ControlError(f"{APP} is missing: reinstall EveryFrame")
    is_private = is_loopback(address)
    has_password = False
    with suppress(SettingsError) if is_private else nullcontext():  # the dashboard shows it, with the fix
        has_password = bool(dashboard_password())
    if not is_private and not has_password:
        raise SettingsError(
            f"listening on {address} would let others see your videos and change your library. Set a password first: "
            "`everyframe settings set dashboard_password -`"
        )
    token = None if has_password else access_token()
    running = running_dashboard()
    if running and running.address == address and port in (running.port, DEFAULT_PORT) and not name:
        say("The dashboard is already running.")
        _show(opening_address(address, running.port, token), token, is_opened=not no_browser)
        return
    free = free_port(address, port)
    if free != port:
        say(f"Port {port} is in use; using {free} instead.")
    with _served(address, free, [*own_names(address), *(name or [])]) as server:
        _wait(server, address, free)
        _show(opening_address(address, free, token), token, is_opened=not no_browser)
        if not is_private:
            for one in network_addresses() if address in WILDCARD_ADDRESSES else [address]:
                say(f"  From other devices (password required): http://{f'[{one}]' if ':' in one else one}:{free}")
            say("  The connection is not encrypted. Use it only on a network you trust.")
        say("Press Ctrl-C to stop the dashboard. The background worker keeps running.")
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
        "browser.serverAddress": browser_host(address),
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
        withdraw_dashboard(server.pid)  # if it was killed


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
        if is_answering(address, port):
            return
        time.sleep(POLL_SECONDS)
    raise ControlError(f"the dashboard did not respond within {START_TIMEOUT_SECONDS:.0f} s")


def _show(url: str, token: str | None, *, is_opened: bool) -> None:
    """Print the dashboard's address, and open it in a browser."""
    say(f"Dashboard: {url}")
    if token:
        say("  Its token keeps other users of this computer out. Do not share it.")
    if is_opened:
        _open(url, has_token=token is not None)


def _open(url: str, *, has_token: bool) -> None:
    """Open a graphical browser, if there is one. A text browser would take over the terminal."""
    with suppress(webbrowser.Error, OSError):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(opening_page(url).as_uri() if has_token else url)
