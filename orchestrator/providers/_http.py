"""The one way to a provider: deadlines, caps, rate limit, redaction, and what each failure means."""

import logging
import ssl
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import IO, Any, Final

import anyio
import certifi
import httpx

from orchestrator.errors import Misread, NotSent, ProviderError, Throttled, Transient, Unclear
from orchestrator.net.redaction import redact, redact_all
from orchestrator.net.text import clean
from orchestrator.providers._limit import Limiter
from orchestrator.providers._meaning import LEAST_THROTTLE, of_create, of_read, quota_wait, retry_after
from orchestrator.providers._read import WIRE_CAP, error_text, inflate, parse

DEADLINE: Final = 30.0
UPLOAD_DEADLINE: Final = 600.0
ERROR_CAP: Final = 64 * 2**10
_LOGGERS: Final = ("httpx", *(f"httpcore{part}" for part in ("", ".connection", ".http11", ".proxy")))

# Before a byte of the request is written; creates use a fresh connection, so these prove it.
_UNSENT: Final = (
    httpx.PoolTimeout,
    httpx.ConnectTimeout,
    httpx.ConnectError,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
# OSError holds TLS errors in mid-stream and time-outs, which httpx lets through; ValueError odd host names.
_TROUBLE: Final = (
    httpx.HTTPError,
    httpx.StreamError,
    OSError,
    ValueError,
    RuntimeError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was expected; `payload` is its JSON, None where the body was empty."""

    status: int
    headers: Mapping[str, str]
    payload: Any


@dataclass(frozen=True, slots=True)
class _Raw:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """The requests of one account to one origin; raises `ProviderError`s and nothing else."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        limiter: Limiter,
        *,
        deadline: float = DEADLINE,
        upload_deadline: float = UPLOAD_DEADLINE,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._limiter = limiter
        self._deadline = deadline
        self._upload_deadline = upload_deadline
        self.withheld: str | None = None
        """Why no text of an error is shown: it may hold a secret that we do not know."""
        self.may_change: Callable[[], bool] = lambda: True
        """Asked right before a request that changes something leaves: may it still?"""
        context = _tls() if self._base.lower().startswith("https:") else _no_tls()
        self._pooled = _client(headers, context, keep=2)
        # A create never shares a connection: a kept one that closes under it would leave it in doubt.
        self._fresh = _client({**headers, "Connection": "close"}, context, keep=0)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._pooled.aclose()
        await self._fresh.aclose()

    @property
    def blocked(self) -> float:
        """How many seconds the provider wants to be left alone."""
        return self._limiter.blocked

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, IO[bytes]]] | None = None,
        creating: bool = False,
        endpoint: bool = False,
        expect: Container[int] = (200,),
    ) -> Reply:
        """Make one request and return its answer.

        `creating` judges a failure by the closed table of creates; `endpoint` says that the path holds
        no id, so that 404 speaks of the endpoint. The deadline is for all of it, waiting included.
        """
        seconds = self._upload_deadline if files else self._deadline
        ends = anyio.current_time() + seconds
        asked = f"{method} {path}"
        wait = await self._limiter.wait(seconds / 3)
        if wait:
            raise NotSent(f"{asked} is waiting for the rate limit", retry_after=wait)
        client = self._fresh if creating or files else self._pooled
        limits = httpx.Timeout(seconds, connect=min(10.0, seconds / 4))  # for a create: to know it is unsent
        try:
            request = client.build_request(
                method, self._base + path, params=params, json=json, data=data, files=files, timeout=limits
            )
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            raise NotSent(f"{asked} could not be written: {type(error).__name__}") from error
        if method != "GET" and not self.may_change():
            raise NotSent(f"{asked} was not sent: the program stood still before it")
        raw = await self._exchange(client, request, asked, creating, expect, ends)
        if raw.status not in expect:
            raise self._refusal(raw, asked, creating=creating, endpoint=endpoint)
        try:
            body = _decoded(raw)
            return Reply(raw.status, raw.headers, redact_all(parse(body), written=body))
        except Misread as error:
            raise (Unclear if creating else Misread)(f"{asked}: {error.message}", code=raw.status) from error

    async def _exchange(
        self,
        client: httpx.AsyncClient,
        request: httpx.Request,
        asked: str,
        creating: bool,
        expect: Container[int],
        ends: float,
    ) -> _Raw:
        vague = Unclear if creating else Transient
        try:
            with anyio.fail_after(max(ends - anyio.current_time(), 0)):
                response = await client.send(request, stream=True)
                try:
                    raw = await _receive(response, wanted=response.status_code in expect)
                finally:
                    await response.aclose()
        except _UNSENT as error:
            said = redact(clean(str(error)))
            raise NotSent(f"{asked} could not connect: {type(error).__name__}: {said}") from error
        except TimeoutError as error:
            raise vague(f"{asked} got no answer in time") from error
        except Misread as error:
            raise (Unclear if creating else Misread)(f"{asked}: {error.message}") from error
        except _TROUBLE as error:
            raise vague(f"{asked} was cut off: {type(error).__name__}") from error
        spent = quota_wait(raw.headers)
        if spent:
            self._limiter.push_back(spent)
        return raw

    def _refusal(self, raw: _Raw, asked: str, *, creating: bool, endpoint: bool) -> ProviderError:
        code = raw.status
        kind = of_create(code) if creating else of_read(code, endpoint=endpoint)
        wait = retry_after(raw.headers)
        if kind is Throttled:
            wait = max(wait or 0.0, LEAST_THROTTLE if creating else 1.0)
            self._limiter.push_back(wait)
        said = f"was redirected, which is not followed: check base_url ({code})"
        if not 300 <= code < 400:
            said = f"answered {code}"
            found = self._error_text(raw)
            said = f"{said}: {found}" if found else said
        return kind(f"{asked} {said}", code=code, retry_after=wait)

    def _error_text(self, raw: _Raw) -> str:
        if self.withheld is not None:
            return self.withheld
        try:
            body = _decoded(raw)
        except Misread:
            return ""
        try:
            found = error_text(parse(body))
        except Misread:
            found = body.decode("utf-8", "replace")
            found = "" if found.lstrip().startswith(("<", "{", "[")) else found
        # Redacted before the cut, which could leave half a key.
        return clean(redact(clean(found, ERROR_CAP)))


async def _receive(response: httpx.Response, *, wanted: bool) -> _Raw:
    headers = {key.lower(): value for key, value in response.headers.items()}
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in response.aiter_raw():
            chunks.append(chunk)
            size += len(chunk)
            if size > (WIRE_CAP if wanted else ERROR_CAP):
                break
    except httpx.HTTPError:
        if wanted:
            raise
        chunks.clear()  # the code alone says what is to be known
    if wanted and size > WIRE_CAP:
        raise Misread("the answer is larger than 4 MB")
    return _Raw(response.status_code, headers, b"".join(chunks))


def _decoded(raw: _Raw) -> bytes:
    return inflate(raw.body, raw.headers.get("content-encoding", ""))


@cache
def _tls() -> ssl.SSLContext:
    """Make the one context that all accounts share: each costs 834 KiB and 21 ms.

    Not `create_default_context`, which would write session keys where SSLKEYLOGFILE says.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=certifi.where())
    return context


@cache
def _no_tls() -> ssl.SSLContext:
    """Make a context that trusts nobody, for plain http, where none is used."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _client(headers: Mapping[str, str], context: ssl.SSLContext, *, keep: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=keep, keepalive_expiry=4.0)
    transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits, retries=0)
    ours = {
        "Accept": "application/json, */*",
        "Accept-Encoding": "gzip",
        "User-Agent": "finetune-orchestrator",
    }
    return httpx.AsyncClient(
        headers={**ours, **headers},
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


def quiet_loggers() -> None:
    """Keep the client's own logs, which show URLs and headers, from ever going below a warning."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        if _warnings_only not in logger.filters:
            logger.addFilter(_warnings_only)


def _warnings_only(entry: logging.LogRecord) -> bool:
    return entry.levelno >= logging.WARNING
