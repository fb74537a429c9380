"""The TLS contexts of this process: each costs 834 KiB and 21 ms, so all connections share them."""

import ssl
from functools import cache

import certifi


@cache
def trust(*, system: bool = False) -> ssl.SSLContext:
    """Return the context that trusts certifi's roots, and the system's too where `system` says so.

    Not `create_default_context`, which would write session keys where SSLKEYLOGFILE says.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=certifi.where())
    if system:
        context.load_default_certs()
    return context


@cache
def trust_nobody() -> ssl.SSLContext:
    """Return a context without roots, for plain http, where loading them would be for nothing."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
