"""What a failed answer means for a run: one table for reads, and a closed one for creates."""

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.errors import (
    Denied,
    Gone,
    Misread,
    Missing,
    ProviderError,
    Rejected,
    Throttled,
    Transient,
    Unclear,
)

LEAST_THROTTLE: Final = 15.0

_READ: Mapping[int, type[ProviderError]] = {
    401: Denied,
    402: Denied,
    403: Denied,
    404: Missing,
    408: Transient,
    425: Transient,
    429: Throttled,
    498: Denied,
}

# Only answers that prove that nothing was made; after any other the request may have been applied.
_CREATE: Mapping[int, type[ProviderError]] = {
    400: Rejected,
    401: Denied,
    402: Denied,
    403: Denied,
    404: Gone,
    405: Rejected,
    410: Gone,
    413: Rejected,
    415: Rejected,
    422: Rejected,
    429: Throttled,
    498: Denied,
}


def of_read(code: int, *, endpoint: bool = False) -> type[ProviderError]:
    """Return the error that a status code means for a read; `endpoint` if the path contains no id."""
    if endpoint and code in (404, 410):
        return Gone
    if code < 400:
        return Misread
    return _READ.get(code, Transient if code >= 500 else Rejected)


def of_create(code: int) -> type[ProviderError]:
    """Return the error that a status code means for a create: in doubt, unless nothing can have been made."""
    return _CREATE.get(code, Unclear)


def error_name(headers: Mapping[str, str], payload: Any) -> str | None:
    """Return the provider's own name for an error, such as ConflictException or ALREADY_EXISTS."""
    if named := headers.get("x-amzn-errortype") or headers.get("x-error-code"):
        return named.partition(":")[0].rpartition("#")[2].strip() or None
    match payload:
        case (
            {"error": {"status": str(name)}} | {"error": {"code": str(name)}} | {"error": {"type": str(name)}}
        ):
            return name
        case {"code": str(name)} | {"error_code": str(name)}:
            return name
        case _:
            return None
