"""Addresses and ports for the dashboard: which are loopback, what this machine is called, which port is free."""

import contextlib
import ipaddress
import socket

import psutil

from enrich.errors import ControlError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
PORTS_TRIED = 50
LAST_PORT = 65535


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server bound to this address or name; False if it does not resolve."""
    try:
        texts = {str(entry[4][0]) for entry in socket.getaddrinfo(address.strip("[]"), None)} if address else set()
        found = [ipaddress.ip_address(text) for text in texts]
    except (OSError, ValueError):
        return False
    mapped = [getattr(one, "ipv4_mapped", None) or one for one in found]
    return bool(mapped) and all(one.is_loopback for one in mapped)


def own_names(address: str) -> list[str]:
    """The host names and addresses under which browsers may reach a dashboard bound to `address`."""
    names = [*LOOPBACK_NAMES]
    if not is_loopback(address):
        host = socket.gethostname()
        names += [host, f"{host.split('.')[0]}.local", socket.getfqdn()]
        names += network_addresses()
        names += [address]
    return [name for name in dict.fromkeys(name.lower() for name in names) if name not in ("0.0.0.0", "::")]  # noqa: S104  # bind addresses, not host names


def network_addresses() -> list[str]:
    """The IP addresses of this machine, loopback excluded."""
    families = (socket.AF_INET, socket.AF_INET6)
    entries = [entry for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in families]
    found = [entry.address.split("%")[0] for entry in entries]
    return [one for one in dict.fromkeys(found) if not is_loopback(one)]


def free_port(address: str, port: int) -> int:
    """The first free port, starting at `port`. Raises ControlError if there is none."""
    problem: OSError | None = None
    last = min(port + PORTS_TRIED, LAST_PORT)
    for tried in range(port, last + 1):
        try:
            _try_to_bind(address, tried)
        except PermissionError as error:  # below 1024, or reserved by Windows
            problem = error
        except OSError as error:
            if not _is_taken(address, tried):
                raise ControlError(f"cannot serve the dashboard at {address}: {error.strerror or error}") from error
            problem = error
        else:
            return tried
    raise ControlError(f"no free port at {address} from {port} to {last}: {problem}. Choose another with --port")


def _try_to_bind(address: str, port: int) -> None:
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    with contextlib.closing(socket.socket(family, kind, protocol)) as one:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that just ended does not block it
        one.bind(place)


def _is_taken(address: str, port: int) -> bool:
    """Whether binding failed because of the port: the address itself can be bound at another one."""
    with contextlib.suppress(OSError):
        _try_to_bind(address, 0)
        return port != 0
    return False
