"""Requests to a provider: deadlines, size limits, rate limit, redaction, and what each failure means."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

import anyio
import httpx

from orchestrator.errors import Misread, NotSent, ProviderError, Throttled, Transient, Unclear
from orchestrator.net.exchange import CONNECT_SECONDS, Answer, Connections, Unanswered, Unsent
from orchestrator.net.redaction import redact_all, shown
from orchestrator.net.retry_after import quota_wait, retry_after
from orchestrator.net.tls import trust, trust_nobody
from orchestrator.providers._limit import Limiter
from orchestrator.providers._meaning import LEAST_THROTTLE, error_name, of_create, of_read
from orchestrator.providers._read import WIRE_CAP, error_text, inflate, parse

DEADLINE: Final = 30.0
UPLOAD_DEADLINE: Final = 600.0
ERROR_CAP: Final = 64 * 2**10
HEADERS: Final = {
    "Accept": "application/json, */*",
    "Accept-Encoding": "gzip",
    "User-Agent": "finetune-orchestrator",
}
Params = Mapping[str, str | int] | Sequence[tuple[str, str]]
"""The query of a request; a sequence of pairs where a key is repeated."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An expected answer; `payload` is its JSON, None for an empty body or a redirect."""

    status: int
    headers: Mapping[str, str]
    payload: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """How one request is named in errors, how long it may take, and how its answer is judged."""

    name: str
    expect: Container[int]
    ends: float
    """The deadline for the whole call, by the event loop's clock."""
    connect: float
    changes: bool = False
    """It changes something at the provider, so it is sent at most once."""
    creating: bool = False
    endpoint: bool = False
    alone: bool = False

    def vague(self, why: str) -> ProviderError:
        """Return the error for a request that may or may not have been applied."""
        return (Unclear if self.creating else Transient)(f"{self.name} {why}")

    def misread(self, why: str, code: int | None = None) -> ProviderError:
        """Return the error for an answer that cannot be read."""
        return (Unclear if self.creating else Misread)(f"{self.name}: {why}", code=code)


class Http:
    """Sends the requests of one account to its provider; raises only `ProviderError`s."""

    def __init__(
        self,
        base_url: str,
        auth: httpx.Auth,
        limiter: Limiter,
        *,
        headers: Mapping[str, str] | None = None,
        refusals: Mapping[str, type[ProviderError]] | None = None,
        deadline: float = DEADLINE,
        upload_deadline: float = UPLOAD_DEADLINE,
    ) -> None:
        self.base = base_url.rstrip("/")
        self.upload_deadline = upload_deadline
        self._auth = auth
        self._headers = {**HEADERS, **(headers or {})}
        self._refusals = refusals or {}
        self._limiter = limiter
        self._deadline = deadline
        self.withheld: str | None = None
        """Why the provider's texts must not be shown, or None: they may contain a secret we cannot redact."""
        self.may_change: Callable[[], bool] = lambda: True
        """Called right before a request that changes something is sent; False stops it."""
        secure = self.base.lower().startswith("https:")
        self._connections = Connections(trust() if secure else trust_nobody())

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    @property
    def blocked(self) -> float:
        """For how many more seconds the provider asked us to send nothing."""
        return self._limiter.blocked

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, IO[bytes]]] | None = None,
        creating: bool = False,
        endpoint: bool = False,
        expect: Container[int] = (200,),
    ) -> Reply:
        """Make one request and return its answer.

        With `creating`, a failure is judged by the closed table for creates. `endpoint` says that the path
        contains no id, so a 404 is about the endpoint itself. The deadline covers everything, waiting for
        the rate limit included. Redirects are never followed; one listed in `expect` is returned.
        """
        seconds = self.upload_deadline if files else self._deadline
        call = Call(
            name=f"{method} {path}",
            expect=expect,
            ends=anyio.current_time() + seconds,
            connect=min(CONNECT_SECONDS, seconds / 4),
            changes=method != "GET",
            creating=creating,
            endpoint=endpoint,
            # A create gets its own connection: a reused one that the server closes would leave it in doubt.
            alone=creating or files is not None,
        )
        wait = await self._limiter.wait(seconds / 3)
        if wait:
            raise NotSent(f"{call.name} is waiting for the rate limit", retry_after=wait)
        headers = {**self._headers, "Connection": "close"} if call.alone else self._headers
        query = httpx.QueryParams(params) if params else None  # type: ignore[arg-type]  # its own type is narrower
        try:
            request = httpx.Request(
                method, self.base + path, params=query, headers=headers, json=json, data=data, files=files
            )
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            raise NotSent(f"{call.name} could not be written: {type(error).__name__}") from error
        return self.judged(await self._authorised(request, call), call)

    async def _authorised(self, request: httpx.Request, call: Call) -> Answer:
        """Send `request` with its credentials, after any request the auth needs first, as for a token."""
        flow = self._auth.async_auth_flow(request)
        answer: Answer | None = None
        try:
            wanted = await anext(flow)
            # Once a change has been answered, nothing more is sent for it, whatever the auth asks for.
            while answer is None or not call.changes:
                if wanted is request:
                    self.check_may_leave(call)
                    answer = await self._exchange(request, call)
                    wanted = await flow.asend(httpx.Response(answer.status, request=request))
                else:
                    wanted = await flow.asend(await self._for_auth(wanted, call))
        except StopAsyncIteration:
            pass
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            if answer is None:
                raise NotSent(f"{call.name} could not be signed: {type(error).__name__}") from error
        finally:
            await flow.aclose()
        if answer is None:
            raise NotSent(f"{call.name} was not sent: its auth gave it up")
        return answer

    async def _for_auth(self, request: httpx.Request, call: Call) -> httpx.Response:
        """Make a request that an auth needs first; if it fails, the actual request was not sent."""
        connections = Connections(trust() if request.url.scheme == "https" else trust_nobody())
        try:
            answer = await connections.send(
                [request], cap=lambda _: ERROR_CAP, connect=call.connect, until=call.ends, alone=True
            )
            body = inflate(answer.body, answer.headers.get("content-encoding", ""))
        except (Unsent, Unanswered) as error:
            why = f"no answer from {request.url.host} for it: {type(error.__cause__).__name__}"
            raise NotSent(f"{call.name} has no access token: {why}") from error
        except Misread as error:
            raise NotSent(f"{call.name} has no access token: {error.message}") from error
        finally:
            await connections.aclose()
        kept = {name: value for name, value in answer.headers.items() if name in ("retry-after", "date")}
        return httpx.Response(answer.status, headers=kept, content=body, request=request)

    def check_may_leave(self, call: Call) -> None:
        """Raise `NotSent` if another process may have taken this work over."""
        if call.changes and not self.may_change():
            raise NotSent(f"{call.name} was not sent: the program stood still before it")

    async def _exchange(self, request: httpx.Request, call: Call) -> Answer:
        answer = await exchanged(self._connections, [request], call)
        spent = quota_wait(answer.headers)
        if spent:
            self._limiter.push_back(spent)
        return answer

    def judged(self, answer: Answer, call: Call) -> Reply:
        """Return an expected answer, or raise the error that it means."""
        if answer.status not in call.expect:
            raise self._refusal(answer, call)
        if 300 <= answer.status < 400:
            return Reply(answer.status, answer.headers, None)
        try:
            body = _decoded(answer)
            return Reply(answer.status, answer.headers, redact_all(parse(body), written=body))
        except Misread as error:
            raise call.misread(error.message, answer.status) from error

    def _refusal(self, answer: Answer, call: Call) -> ProviderError:
        code, found, name = answer.status, "", error_name(answer.headers, None)
        if not 300 <= code < 400:
            found, name = self._said(answer)
        kind = of_create(code) if call.creating else of_read(code, endpoint=call.endpoint)
        if call.creating and name is not None and kind is not Unclear:
            kind = self._refusals.get(name, kind)  # a name may take a proof back, but never gives one
        wait = retry_after(answer.headers)
        if kind is Throttled:
            wait = max(wait or 0.0, LEAST_THROTTLE if call.creating else 1.0)
            self._limiter.push_back(wait)
        said = f"was redirected, which is not followed: check base_url ({code})"
        if not 300 <= code < 400:
            said = f"answered {code}: {found}" if found else f"answered {code}"
        return kind(f"{call.name} {said}", code=code, retry_after=wait, name=name)

    def _said(self, answer: Answer) -> tuple[str, str | None]:
        """Return an error's text, safe to show, and the provider's name for it."""
        body, payload = b"", None
        try:
            body = _decoded(answer)
            payload = parse(body)
            found = error_text(payload)
        except Misread:
            found = body.decode("utf-8", "replace")
            found = "" if found.lstrip().startswith(("<", "{", "[")) else found
        name = error_name(answer.headers, payload)
        return (shown(found[:ERROR_CAP]) if self.withheld is None else self.withheld), name


async def exchanged(connections: Connections, requests: Sequence[httpx.Request], call: Call) -> Answer:
    """Send the first of `requests` that gets a connection; raises only `ProviderError`s."""
    try:
        answer = await connections.send(
            requests,
            cap=lambda status: WIRE_CAP if status in call.expect else ERROR_CAP,
            connect=call.connect,
            until=call.ends,
            alone=call.alone,
        )
    except Unsent as error:
        why = error.__cause__
        raise NotSent(f"{call.name} could not connect: {type(why).__name__}: {shown(str(why))}") from error
    except Unanswered as error:
        if isinstance(error.__cause__, TimeoutError):
            raise call.vague("got no answer in time") from error
        raise call.vague(f"was cut off: {type(error.__cause__).__name__}") from error
    expected = answer.status in call.expect
    if isinstance(answer.cut, TimeoutError):
        raise call.vague("got no answer in time") from answer.cut
    if expected and answer.cut is not None:
        raise call.vague(f"was cut off: {type(answer.cut).__name__}") from answer.cut
    if expected and answer.larger:
        raise call.misread("the answer is larger than 4 MB")
    return answer


def _decoded(answer: Answer) -> bytes:
    if answer.cut is not None:
        return b""  # the body of an error broke off; the status code is enough
    return inflate(answer.body, answer.headers.get("content-encoding", ""))
