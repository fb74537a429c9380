"""Which addresses may be reached where others choose the host."""

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from orchestrator.net.address import Unreachable, checked, denial, lookup, unwrap

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]

# What it is called, and whether allow_private lets it through.
DENIED = [
    ("127.0.0.1", "loopback", True),
    ("127.255.255.254", "loopback", True),
    ("::1", "loopback", True),
    ("10.0.0.1", "private", True),
    ("10.255.255.255", "private", True),
    ("172.16.0.1", "private", True),
    ("172.31.255.255", "private", True),
    ("192.168.1.1", "private", True),
    ("fc00::1", "private", True),
    ("fd12:3456::1", "private", True),
    ("fec0::1", "private", True),
    ("100.64.0.1", "shared", True),
    ("100.127.255.255", "shared", True),
    ("198.18.0.1", "benchmarking", True),
    ("169.254.169.254", "cloud metadata", False),
    ("169.254.170.2", "cloud metadata", False),
    ("100.100.100.200", "cloud metadata", False),
    ("168.63.129.16", "cloud metadata", False),
    ("192.0.0.192", "cloud metadata", False),
    ("fd00:ec2::254", "cloud metadata", False),
    ("fd20:ce::254", "cloud metadata", False),
    ("169.254.0.1", "link local", False),
    ("fe80::1", "link local", False),
    ("fe80::1%eth0", "link local", False),
    ("0.0.0.0", "unspecified", False),  # noqa: S104 - nothing is bound
    ("0.1.2.3", "unspecified", False),
    ("::", "unspecified", False),
    ("224.0.0.1", "multicast", False),
    ("239.255.255.255", "multicast", False),
    ("ff02::1", "multicast", False),
    ("240.0.0.1", "reserved", False),
    ("255.255.255.255", "reserved", False),
    ("192.0.0.8", "reserved", False),
    ("192.88.99.1", "reserved", False),
    ("100::1", "reserved", False),
    ("64:ff9b:1::7f00:1", "reserved", False),
    ("192.0.2.1", "documentation", False),
    ("198.51.100.7", "documentation", False),
    ("203.0.113.9", "documentation", False),
    ("2001:db8::1", "documentation", False),
    ("3fff::1", "documentation", False),
    # forms that hide an IPv4 address
    ("::ffff:127.0.0.1", "loopback", True),
    ("::ffff:10.1.2.3", "private", True),
    ("::ffff:169.254.169.254", "cloud metadata", False),
    ("::ffff:0:7f00:1", "loopback", True),
    ("::127.0.0.1", "loopback", True),
    ("::a9fe:a9fe", "cloud metadata", False),
    ("64:ff9b::7f00:1", "loopback", True),
    ("64:ff9b::a00:1", "private", True),
    ("64:ff9b::a9fe:a9fe", "cloud metadata", False),
    ("2002:7f00:1::", "loopback", True),
    ("2002:c0a8:101::1", "private", True),
    ("2002:a9fe:a9fe::1", "cloud metadata", False),
    ("2001:0:4136:e378:8000:63bf:80ff:fffe", "loopback", True),
    ("2001:0:4136:e378:8000:63bf:f5ff:fffe", "private", True),
    ("2606:4700::5efe:7f00:1", "loopback", True),
    ("2606:4700::200:5efe:a00:1", "private", True),
    # neither named nor global
    ("2001:2::1", "not global", False),
    ("not an address", "no address", False),
    ("", "no address", False),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_reached(address: str) -> None:
    assert denial(address) is None


@pytest.mark.parametrize(("address", "reason", "permitted"), DENIED)
def test_any_other_is_denied(address: str, reason: str, permitted: bool) -> None:
    assert denial(address) == reason
    assert denial(address, private=True) == (None if permitted else reason)


def test_what_hides_nothing_stays_as_it_is() -> None:
    for address in ("8.8.8.8", "::", "::1", "2606:4700::1"):
        assert unwrap(ip_address(address)) == ip_address(address)


def _resolver(*addresses: str) -> "Resolving":
    return Resolving(addresses)


class Resolving:
    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        return self.addresses


async def test_one_denied_address_spoils_all() -> None:
    with pytest.raises(Unreachable, match=r"^a\.test is 10\.0\.0\.1 \(private\)") as caught:
        await checked("a.test", 443, _resolver("8.8.8.8", "1.1.1.1", "8.8.4.4", "10.0.0.1"), private=False)
    assert caught.value.denied


async def test_permitted_ones_come_back_in_order_and_few() -> None:
    found = _resolver("8.8.8.8", "10.0.0.1", "::1", "1.1.1.1")
    assert await checked("a.test", 443, found, private=True) == ("8.8.8.8", "10.0.0.1", "::1")


async def test_metadata_is_denied_even_where_private_is_allowed() -> None:
    with pytest.raises(Unreachable, match="cloud metadata") as caught:
        await checked("a.test", 443, _resolver("169.254.169.254"), private=True)
    assert caught.value.denied


async def test_a_name_without_an_address_is_a_failure() -> None:
    with pytest.raises(Unreachable, match="has no address"):
        await checked("a.test", 443, _resolver(), private=False)
    with pytest.raises(Unreachable, match="has no address"):
        await checked("a" * 64 + ".test", 443, lookup, private=False)


async def test_the_system_reads_odd_forms_and_they_are_checked_as_it_reads_them() -> None:
    for host in ("127.1", "0x7f000001", "2130706433", "localhost"):
        with pytest.raises(Unreachable, match="loopback"):
            await checked(host, 443, lookup, private=False)
