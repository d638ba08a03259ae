"""The dashboard's access token, and the record of the dashboard that runs for a library.

The token is a random value in an owner-only file in the data folder, so only the user who owns the library can read it.
It is not a new one for each start: an open tab, a bookmark and the printed address stay valid when the dashboard
restarts, and every start of the command finds the token of the dashboard that already runs. Deleting the file ends all
sessions. A token that other users could have read is replaced.

The record names the process and the address of the dashboard that started last. It is only a hint: the process may have
been killed, and more than one may run.
"""

import http.client
import json
import os
import secrets
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from db.runs import ProcessIdentity
from enrich.errors import ControlError
from enrich.private_files import FILE_MODE, OTHERS, PART_SUFFIX, write_durably
from enrich.process import is_process_alive, this_process
from enrich.settings import data_folder

TOKEN_FILE, RECORD_FILE, OPENING_FILE = "dashboard-token", "dashboard.json", "dashboard.html"
TOKEN_BYTES = 32
HEALTH_PATH = "/_stcore/health"
ANSWER_SECONDS = 5.0
WILDCARD_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # bind address: what the browser opens
# A browser that is started with an address shows it to other users in the list of processes. It gets this file instead.
OPENING_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url={address}">
<title>EveryFrame</title>
</head>
<body><p><a href="{address}">Open the dashboard</a></p></body>
</html>
"""


@dataclass(frozen=True, slots=True)
class RunningDashboard:
    """A dashboard process, and the address and port it listens on."""

    process: ProcessIdentity
    address: str
    port: int


def access_token() -> str:
    """The token of the current library's dashboard; created if there is none. Raises ControlError."""
    file = data_folder() / TOKEN_FILE
    try:
        if file.exists() and (_was_exposed(file) or not _read(file)):  # not read: damaged, for example by a power cut
            file.unlink()
        if not file.exists():
            _write(file, secrets.token_urlsafe(TOKEN_BYTES), is_new=True)
        token = _read(file)
    except OSError as error:
        raise ControlError(
            f"the dashboard's access token cannot be stored in {file}: {error.strerror or error}. Make sure that you "
            "may write to this folder, and that its disk is not full"
        ) from error
    if not token:
        raise ControlError(f"the dashboard's access token in {file} is damaged: delete the file, then start again")
    return token


def browser_host(address: str) -> str:
    """The host that a browser on this machine opens for a server bound to `address`."""
    host = WILDCARD_ADDRESSES.get(address, address)
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def opening_address(address: str, port: int, token: str | None, scheme: str = "http") -> str:
    """The address that opens the dashboard; `token` is None if it has a password instead."""
    return f"{scheme}://{browser_host(address)}:{port}" + (f"/?token={token}" if token else "")


def opening_page(address: str) -> Path:
    """Write a page that leads to this address and that only its owner can read; its path. Raises OSError."""
    page = data_folder() / OPENING_FILE
    _write(page, OPENING_PAGE.format(address=escape(address)))
    return page


def record_dashboard(address: str, port: int) -> None:
    """Record that this process serves the dashboard. Without the record, the command starts a second one."""
    running = RunningDashboard(this_process(), address, port)
    with suppress(OSError):
        _write(data_folder() / RECORD_FILE, json.dumps(asdict(running)))


def withdraw_dashboard(pid: int) -> None:
    """Delete the record and the opening page of the dashboard with this process id."""
    found = _recorded()
    if found is not None and found.process.pid == pid:
        for name in (RECORD_FILE, OPENING_FILE):
            with suppress(OSError):
                (data_folder() / name).unlink(missing_ok=True)


def running_dashboard() -> RunningDashboard | None:
    """The dashboard of the current library, if it runs on this machine and answers."""
    found = _recorded()
    if found is None or not is_process_alive(found.process) or not is_answering(found.address, found.port):
        return None
    return found


def is_answering(address: str, port: int) -> bool:
    """Whether a web server answers there. Nothing secret is sent."""
    connection = http.client.HTTPConnection(browser_host(address).strip("[]"), port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", HEALTH_PATH)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _recorded() -> RunningDashboard | None:
    try:
        found = json.loads((data_folder() / RECORD_FILE).read_text(encoding="utf-8"))
        return RunningDashboard(ProcessIdentity(**found["process"]), str(found["address"]), int(found["port"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read(file: Path) -> str:
    """The token in the file; "" if the file is damaged. Raises OSError."""
    try:
        token = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:  # another process has just replaced it
        return ""
    except UnicodeDecodeError:
        return ""
    return token if len(token) == len(secrets.token_urlsafe(TOKEN_BYTES)) else ""


def _was_exposed(file: Path) -> bool:
    """Make the file private; whether others could read it before. On Windows, the folder's access list decides.

    A file system without modes, such as exFAT, shows a file as exposed whatever is done, which counts for nothing.
    """
    if sys.platform == "win32" or not file.stat().st_mode & OTHERS:
        return False
    with suppress(PermissionError):
        file.chmod(FILE_MODE)
    return not file.stat().st_mode & OTHERS


def _write(file: Path, text: str, *, is_new: bool = False) -> None:
    """Write a file that only its owner can read. With `is_new`, a file that another process has just made stays."""
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        write_durably(part, text.encode())
        if is_new:
            with suppress(OSError):  # made by another process, or a file system without hard links
                os.link(part, file)
        if not is_new or not file.exists():
            part.replace(file)
    finally:
        part.unlink(missing_ok=True)
