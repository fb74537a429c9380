"""The TLS contexts that all connections share, since each takes 834 KiB and 21 ms to make."""

import ssl
from functools import cache

import certifi


@cache
def trust(*, system: bool = False) -> ssl.SSLContext:
    """Return the context that trusts certifi's roots and, with `system`, the system's too.

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
    """Return a context without any roots, for plain http, which needs none."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
