"""Where the dashboard can be served: which addresses only this machine reaches, what leads to them, what is free."""

import contextlib
import ipaddress
import socket

import psutil

from enrich.errors import ControlError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
PORTS_TRIED = 50
LAST_PORT = 65535


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach what is bound to an address or a name; False if nobody knows."""
    try:
        texts = {str(entry[4][0]) for entry in socket.getaddrinfo(address.strip("[]"), None)} if address else set()
        found = [ipaddress.ip_address(text) for text in texts]
    except (OSError, ValueError):
        return False
    mapped = [getattr(one, "ipv4_mapped", None) or one for one in found]
    return bool(mapped) and all(one.is_loopback for one in mapped)


def own_names(address: str) -> list[str]:
    """The names a browser may call this machine by, when the dashboard is bound to `address`."""
    names = [*LOOPBACK_NAMES]
    if not is_loopback(address):
        host = socket.gethostname()
        names += [host, f"{host.split('.')[0]}.local", socket.getfqdn()]
        names += network_addresses()
        names += [address]
    return [name for name in dict.fromkeys(name.lower() for name in names) if name not in ("0.0.0.0", "::")]  # noqa: S104  # what a server binds is not where a client goes


def network_addresses() -> list[str]:
    """The addresses of this machine in its networks."""
    families = (socket.AF_INET, socket.AF_INET6)
    entries = [entry for entries in psutil.net_if_addrs().values() for entry in entries if entry.family in families]
    found = [entry.address.split("%")[0] for entry in entries]
    return [one for one in dict.fromkeys(found) if not is_loopback(one)]


def free_port(address: str, port: int) -> int:
    """The first port from `port` on that nobody listens at. Raises ControlError, which says why there is none."""
    problem: OSError | None = None
    for tried in range(port, min(port + PORTS_TRIED, LAST_PORT) + 1):
        try:
            _try_to_bind(address, tried)
        except PermissionError as error:  # below 1024, or Windows keeps it for itself
            problem = error
        except OSError as error:
            if not _is_taken(address, tried):
                raise ControlError(f"the dashboard cannot be served at {address}: {error.strerror or error}") from error
            problem = error
        else:
            return tried
    raise ControlError(f"no port from {port} on is free at {address}: {problem}")


def _try_to_bind(address: str, port: int) -> None:
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    with contextlib.closing(socket.socket(family, kind, protocol)) as one:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has just ended does not hold a port
        one.bind(place)


def _is_taken(address: str, port: int) -> bool:
    """Whether a failure to bind is the port's fault: the address itself can be bound at some other."""
    with contextlib.suppress(OSError):
        _try_to_bind(address, 0)
        return port != 0
    return False
