"""The socket that the daemon answers on, bound before anything is submitted."""

import errno
import ipaddress
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog

from orchestrator.config.manifest import Settings
from orchestrator.config.secret import Secret
from orchestrator.errors import OrchestratorError, SettingsError

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.web")

TOKEN: Final = "ORCHESTRATOR_TOKEN"  # noqa: S105 - the variable's name
PORTS: Final = 20
"""How many ports the default address tries."""
BACKLOG: Final = 128

Address = tuple[socket.AddressFamily, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A bound socket, who can reach it, and the token that it asks for."""

    socket: socket.socket
    host: str
    """As the settings write it, without brackets."""
    token: str | None

    @property
    def url(self) -> str:
        """The address for a person to open."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.socket.getsockname()[1]}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return _loopback(self.socket.getsockname())

    @property
    def everywhere(self) -> bool:
        """Whether every name and address of this machine reaches it."""
        return _ip(self.socket.getsockname()).is_unspecified


@contextmanager
def listening(settings: Settings, env: Mapping[str, str]) -> Iterator[Listener | None]:
    """Hold the socket of `listen`; None where it is turned off.

    The default moves on when its port is taken; one that was set is then an `OrchestratorError`.
    """
    if not settings.listen:
        yield None
        return
    host, _, port = settings.listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    token = env.get(TOKEN, "").strip() or None
    if token is not None:
        Secret(token)  # known from now on, so that no text shows it
    addresses = _resolve(host, int(port))
    if token is None and not all(_loopback(place) for _, place in addresses):
        raise SettingsError(
            f"{settings.listen} can be reached from other machines, so everything needs a token",
            hint=f'set {TOKEN} to a long random text, or listen = "127.0.0.1:{port}"',
        )
    bound = _bind(addresses, PORTS if "listen" not in settings.model_fields_set else 1, settings.listen)
    with bound:
        listener = Listener(socket=bound, host=host, token=token)
        if int(port) not in (0, bound.getsockname()[1]):
            log.warning("listen.moved", taken=settings.listen, url=listener.url)
        yield listener


def _resolve(host: str, port: int) -> Sequence[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise SettingsError(
            f"cannot listen on {host}: no such host", hint="listen takes host:port"
        ) from error
    return [(family, place) for family, _, _, _, place in found]


def _loopback(place: Any) -> bool:
    found = _ip(place)
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _ip(place: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(place[0])


def _bind(addresses: Sequence[Address], ports: int, listen: str) -> socket.socket:
    """Bind the first of the addresses that this machine has, at its first free port."""
    first = addresses[0][1][1]
    for port in range(first, first + ports):
        for family, (host, _, *rest) in addresses:
            try:
                return _listen(family, (host, port, *rest))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    break
                if (family, host) == (addresses[-1][0], addresses[-1][1][0]):
                    raise SettingsError(f"cannot listen on {listen}: {error.strerror}") from error
    last = f" to {first + ports - 1}" if ports > 1 else ""
    raise OrchestratorError(
        f"port {first}{last} is in use",
        hint='stop what uses it, or set another `listen` in [orchestrator]; "" turns it off',
    )


def _listen(family: socket.AddressFamily, place: Any) -> socket.socket:
    # With its protocol named: only then does asyncio turn Nagle's delay off on what it accepts.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(place)
        made.listen(BACKLOG)  # now: of two that start at once both may bind, only one may listen
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
