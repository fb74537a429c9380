"""Which requests are let in, by host name, token, origin and size, before any route sees them."""

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
import structlog
from starlette.responses import JSONResponse

from orchestrator.web.listen import TOKEN, Listener

log: structlog.stdlib.BoundLogger = structlog.get_logger("orchestrator.web")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

BODY_CAP: Final = 64 << 10
BODY_SECONDS: Final = 10.0
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITE: Final = frozenset({"same-origin", "none"})
LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS: Final = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)
"""On every answer; there is no CORS header, so that no other site's script reads one."""

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}?)\.?(?::([0-9]{0,5}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a request is refused."""

    status: int
    error: str
    hint: str | None = None

    def response(self) -> JSONResponse:
        """Return it as the answer."""
        headers = {"www-authenticate": "Bearer"} if self.status == 401 else None
        return JSONResponse({"error": self.error, "hint": self.hint}, self.status, headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """What a request to one address must bring; `hosts` is None where any host name will do."""

    hosts: frozenset[str] | None
    token: str | None
    open_to_read: bool

    @classmethod
    def of(cls, listener: Listener) -> "Gate":
        """Make the gate of `listener`."""
        # A wildcard address has names that we do not know. Nothing is lost: all of it needs the token,
        # which no browser adds by itself, so that a rebound name gains nothing.
        hosts = None if listener.everywhere else LOCAL | {listener.host.lower().removesuffix(".")}
        return cls(hosts=hosts, token=listener.token, open_to_read=listener.loopback)

    def refusal(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
        """Say why a request is refused, or None."""
        given: dict[str, list[str]] = {}
        for name, value in headers:
            given.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        host = _authority(_only(given.get("host")))
        if not path.startswith("/"):  # an absolute-form target names a host of its own
            return Refusal(status=400, error="expected a path")
        if host is None or (self.hosts is not None and host[0] not in self.hosts):
            return Refusal(status=421, error="this server does not answer to that host name")
        if method not in SAFE and not _same_site(given, host):
            return Refusal(status=403, error="a request from another site cannot change anything")
        if method in SAFE and self.open_to_read:
            return None
        return self._denial(_only(given.get("authorization")))

    def _denial(self, authorization: str | None) -> Refusal | None:
        if self.token is None:
            hint = f"start the daemon with {TOKEN} set to a long random text"
            return Refusal(status=403, error="no token is configured, so nothing can be changed", hint=hint)
        scheme, _, given = (authorization or "").partition(" ")
        wanted = self.token.encode()
        # Header bytes are read as latin-1: so encoded, they are what the client sent.
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), wanted):
            return None
        return Refusal(status=401, error="the token is missing or wrong", hint="Authorization: Bearer TOKEN")


def _only(values: list[str] | None) -> str | None:
    return values[0] if values and len(values) == 1 else None


def _authority(text: str | None) -> tuple[str, str] | None:
    """Read `host[:port]` as a browser does; None for anything else."""
    found = _AUTHORITY.fullmatch((text or "").strip().lower())
    if found is None:
        return None
    host, port = found.group(1), found.group(2) or ""
    if not host.startswith("["):
        return host, port
    try:
        return str(ipaddress.IPv6Address(host[1:-1])), port
    except ValueError:
        return None


def _same_site(given: dict[str, list[str]], host: tuple[str, str]) -> bool:
    if not OWN_SITE.issuperset(given.get("sec-fetch-site", ())):
        return False
    for origin in given.get("origin", ()):
        scheme, _, rest = origin.partition("://")
        if scheme not in ("http", "https") or _authority(rest) != host:
            return False
    return True


def guarded(app: App, gate: Gate) -> App:
    """Put `gate` before an ASGI application, and our headers on every answer."""

    async def guard(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        begun = False

        async def reply(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                ours = [(name.encode(), value.encode()) for name, value in HEADERS]
                message["headers"] = [*message.get("headers", ()), *ours]
            await send(message)

        refused = gate.refusal(scope["method"], scope["path"], scope["headers"])
        body = refused or await _body(scope, receive)
        if isinstance(body, Refusal):
            await body.response()(scope, receive, reply)
            return
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            await app(inner, _replay(body, receive), reply)
        except Exception:
            log.exception("web.failed", method=scope["method"])
            if not begun:
                broken = Refusal(status=500, error="this is a bug; the log says more")
                await broken.response()(scope, receive, reply)

    return guard


async def _body(scope: MutableMapping[str, Any], receive: Receive) -> bytes | Refusal:
    """Read the whole body of a request before anything is done for it."""
    too_large = Refusal(status=413, error=f"a request's body may have at most {BODY_CAP} bytes")
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > BODY_CAP:
            return too_large
    if scope["method"] in SAFE:
        return b""  # nobody will look at it
    read = bytearray()
    with anyio.move_on_after(BODY_SECONDS):
        while True:
            message = await receive()
            read += message.get("body", b"")
            if len(read) > BODY_CAP:
                return too_large
            if not message.get("more_body", False):
                gone = message["type"] == "http.disconnect"
                return Refusal(status=400, error="the request ended early") if gone else bytes(read)
    return Refusal(status=408, error="the request took too long to arrive")


def _replay(body: bytes, receive: Receive) -> Receive:
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return parts.pop() if parts else await receive()

    return replayed
