"""Which addresses may be connected to when somebody else chooses the host.

The host is looked up for every request and all its addresses are checked. The connection then goes to a
checked address, with the host's name in the request and in the TLS handshake.
"""

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import anyio
import httpx

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host and port, best first; raises OSError."""
Content = bytes | AsyncIterator[bytes] | None

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")

MOST_ADDRESSES = 3
"""How many addresses of a host are tried."""


def _networks(**names: str) -> tuple[tuple[IPv4Network | IPv6Network, str], ...]:
    return tuple(
        (ip_network(network), name.replace("_", " "))
        for name, networks in names.items()
        for network in networks.split()
    )


# Checked first, since some lie inside private networks; nobody runs a receiver on these.
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

# IPv6 forms that contain an IPv4 address, and its offset from the right in bits; `ipaddress` ignores it.
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
    """Say why the address `text` may not be connected to, or return None."""
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
    """Return the IPv4 address that an IPv6 address contains, else the address itself."""
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
    """Ask the system for the addresses of `host`; a literal address needs no lookup."""
    try:
        return (str(ip_address(host)),)
    except ValueError:
        pass
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(place[0]) for *_, place in found))


def place_of(url: str) -> httpx.URL:
    """Parse a URL to send to; raises ValueError, which never quotes it, since it may contain a token."""
    try:
        place = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise ValueError("not a URL") from None
    if place.scheme not in ("http", "https"):
        raise ValueError("starts with neither https:// nor http://")
    if place.userinfo:
        raise ValueError("contains a user name or password, which are not sent")
    if not _HOST.fullmatch(place.raw_host.decode("ascii")):
        raise ValueError("has no host, or an invalid one")
    if place.port is not None and not 0 < place.port < 65536:
        raise ValueError("has an invalid port")
    return place


def host_of(place: httpx.URL) -> str:
    """Return the host's name in the form that is compared and looked up."""
    return place.raw_host.decode("ascii").lower().rstrip(".")


def port_of(place: httpx.URL) -> int:
    """Return the port, explicit or the scheme's default."""
    return place.port or (443 if place.scheme == "https" else 80)


class Unreachable(Exception):
    """A host has no address, or one that may not be connected to (`denied`); the text says which."""

    def __init__(self, message: str, *, denied: bool) -> None:
        super().__init__(message)
        self.denied = denied


async def checked(host: str, port: int, resolve: Resolver, *, private: bool) -> Sequence[str]:
    """Return the addresses of `host` to try; raises `Unreachable` if any of them is not allowed."""
    try:
        addresses = await resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{host} has no address ({error})", denied=False) from error
    if not addresses:
        raise Unreachable(f"{host} has no address", denied=False)
    for address in addresses:
        if reason := denial(address, private=private):
            what = reason if address == host else f"{address} ({reason})"
            raise Unreachable(f"{host} is {what}", denied=True)
    return addresses[:MOST_ADDRESSES]


class Dialled:
    """Builds requests to a URL that go to given addresses of its host."""

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self._head = {"host": url.netloc.decode("ascii")}
        self._name = url.raw_host.decode("ascii").rstrip(".")
        self._last: tuple[str, httpx.URL] | None = None

    def requests(
        self, method: str, addresses: Sequence[str], headers: Mapping[str, str], content: Content
    ) -> Iterator[httpx.Request]:
        """Yield the same request to each of `addresses`."""
        for address in addresses:
            yield httpx.Request(
                method,
                self._at(address),
                headers={**self._head, **headers},
                content=content,
                extensions={"sni_hostname": self._name},
            )

    def _at(self, address: str) -> httpx.URL:
        # The last address is cached: it seldom changes, and building the URL costs 0.1 ms.
        if self._last is None or self._last[0] != address:
            self._last = address, self._url.copy_with(host=address)
        return self._last[1]
