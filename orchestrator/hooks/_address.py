"""Which addresses a webhook may reach: looked up at every attempt, all checked, then dialled as checked."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import anyio

from orchestrator.errors import HookError

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host and a port to its addresses, the best first; raises OSError."""

MOST_ADDRESSES = 3
"""How many are dialled before it counts as no connection."""


def _networks(**names: str) -> tuple[tuple[IPv4Network | IPv6Network, str], ...]:
    return tuple(
        (ip_network(network), name.replace("_", " "))
        for name, networks in names.items()
        for network in networks.split()
    )


# First, since some of them lie inside private networks: nobody runs a receiver on these.
_NEVER = _networks(
    cloud_metadata=(
        "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::/32 fd20:ce::254"
    ),
    link_local="169.254.0.0/16 fe80::/10",
    unspecified="0.0.0.0/8 ::/128",
    multicast="224.0.0.0/4 ff00::/8",
    reserved="192.0.0.0/24 192.88.99.0/24 240.0.0.0/4 100::/64 64:ff9b:1::/48",
    documentation="192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20",
)
_PRIVATE = _networks(
    loopback="127.0.0.0/8 ::1/128",
    private="10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10",
    shared="100.64.0.0/10",
    benchmarking="198.18.0.0/15",
)

# Forms that carry an IPv4 address, and how far it is from the right; `ipaddress` judges by their outside.
_CARRIERS: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)
_TEREDO = IPv6Network("2001::/32")
_ISATAP = 0x00005EFE


def denial(text: str, *, private: bool = False) -> str | None:
    """Say why a webhook may not reach the address `text`, or None where it may."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return "no address"
    address = unwrap(address)
    for network, name in _NEVER:
        if address in network:
            return name
    for network, name in _PRIVATE:
        if address in network:
            return None if private else name
    return None if address.is_global else "not global"


def unwrap(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 form stands for, else the address itself."""
    if isinstance(address, IPv4Address) or int(address) <= 1:
        return address
    for network, shift in _CARRIERS:
        if address in network:
            return IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    if address in _TEREDO:
        return IPv4Address(~int(address) & 0xFFFFFFFF)
    if int(address) >> 32 & 0xFDFFFFFF == _ISATAP:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


async def lookup(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of `host`; one that is an address already costs no thread."""
    try:
        return (str(ip_address(host)),)
    except ValueError:
        pass
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(place[0]) for *_, place in found))


async def checked(host: str, port: int, resolve: Resolver, *, private: bool) -> Sequence[str]:
    """Return addresses of `host` that may be dialled; one that may not spoils them all."""
    try:
        addresses = await resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise HookError(f"not sent: {host} has no address ({error})", down=True) from error
    if not addresses:
        raise HookError(f"not sent: {host} has no address", down=True)
    for address in addresses:
        if reason := denial(address, private=private):
            hint = None if private else f'allow_private = ["{host}"] in its table, if that is intended'
            what = reason if address == host else f"{address} ({reason})"
            raise HookError(f"not sent: {host} is {what}", hint=hint)
    return addresses[:MOST_ADDRESSES]
