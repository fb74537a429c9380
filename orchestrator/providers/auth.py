"""The ways to authenticate: each an `httpx.Auth`, which is asked for every request.

An auth adds credentials to the request, and may first make others, to get an access token. It never sends
the request twice: the worker decides what follows a refused create, and tokens are renewed before they
expire, not after a refusal.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio
import httpx

from orchestrator.config.secret import Secret
from orchestrator.errors import Denied, Misread, NotSent, ProviderError
from orchestrator.net.redaction import shown
from orchestrator.net.retry_after import retry_after
from orchestrator.providers._read import error_text, parse

EARLY: Final = timedelta(minutes=2)
"""How long before it expires a token is renewed, since a request can take a while; at most half its life."""
SHORT: Final = timedelta(minutes=5)
"""The lifetime of a token whose answer does not say how long it lasts."""
HIDDEN: Final = timedelta(days=1)
"""How long an expired token stays registered for redaction: a year of them would make every search slow."""


class Headers(httpx.Auth):
    """Sends credentials unchanged, in the given headers."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise Denied("a credential contains characters that are not allowed in an HTTP header")
        self.headers = dict(headers)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the headers."""
        request.headers.update(self.headers)
        yield request


class Bearer(Headers):
    """Sends a token as `Authorization: Bearer`."""

    def __init__(self, token: Secret) -> None:
        super().__init__({"Authorization": f"Bearer {token.reveal()}"})


class Signature(httpx.Auth):
    """Signs each request, body included; SigV4 is one such scheme."""

    requires_request_body = True

    @abstractmethod
    def signed(self, request: httpx.Request, now: datetime) -> Mapping[str, str]:
        """Return the headers that sign the method, the target as it is sent, the headers and the body."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the signature."""
        request.headers.update(self.signed(request, datetime.now(UTC)))
        yield request


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """An access token, when to renew it and when it expires."""

    secret: Secret
    renew_at: datetime
    ends_at: datetime


@dataclass
class AccessToken(httpx.Auth):
    """Sends an access token, fetched when first needed and renewed shortly before it expires.

    `ask` builds the token request: an OAuth grant with a refresh token, a signed assertion or the like.
    """

    ask: Callable[[], httpx.Request]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _token: Token | None = None
    _lock: anyio.Lock = field(default_factory=anyio.Lock)
    _hidden: deque[Token] = field(default_factory=deque)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token, after fetching one if there is none or it expires soon."""
        async with self._lock:
            if self._token is None or self.clock() >= self._token.renew_at:
                response = yield self.ask()
                self._token = granted(response, self.clock())
                self._hide(self._token)
            token = self._token
        request.headers["Authorization"] = f"Bearer {token.secret.reveal()}"
        yield request

    def _hide(self, token: Token) -> None:
        self._hidden.append(token)
        while self._hidden[0].ends_at < self.clock() - HIDDEN:
            self._hidden.popleft().secret.retire()


def granted(response: httpx.Response, now: datetime) -> Token:
    """Read the answer of an OAuth token endpoint (RFC 6749 section 5)."""
    try:
        payload = parse(response.content)
    except Misread:
        payload = None
    if response.status_code != httpx.codes.OK:
        said = shown(error_text(payload)) if response.status_code < 500 else ""
        message = f"no access token: answered {response.status_code}{said and f': {said}'}"
        kind: type[ProviderError] = NotSent
        if response.status_code in (400, 401, 403):
            kind = Denied
        raise kind(message, code=response.status_code, retry_after=retry_after(response.headers))
    match payload:
        case {"access_token": str(value), **rest} if value.isascii() and value.isprintable() and value:
            seconds = str(rest.get("expires_in", ""))
            known = seconds.isascii() and seconds.isdecimal()
            lasts = timedelta(seconds=int(seconds[:6])) if known else SHORT
            renew_at = now + max(lasts - EARLY, lasts / 2)
            return Token(secret=Secret(value), renew_at=renew_at, ends_at=now + lasts)
        case _:
            raise NotSent("no access token: the answer contains none")
