"""A signed POST to a receiver of the user's own: Standard Webhooks 1.0 (its spec read 2026-11)."""

import base64
import binascii
import os
import re
import secrets
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import quote

import anyio
import httpx
import standardwebhooks
from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from orchestrator import __version__
from orchestrator.config.duration import Duration
from orchestrator.config.manifest import HookOptions
from orchestrator.config.secret import Secret, SecretRef, resolve
from orchestrator.config.url import is_loopback
from orchestrator.core.delivery import Delivery
from orchestrator.errors import HookError, HookGone, SecretError
from orchestrator.hooks._address import Resolver, checked, lookup
from orchestrator.hooks._post import CONNECT_SECONDS, Poster, Reply
from orchestrator.hooks._reply import clean, retry_after
from orchestrator.hooks.base import Hook, Preview, utc_now

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret."""
MOST_SECRETS = 5
FRESH = 60.0
"""Seconds for which a resolved secret is used again."""
LIKE_A_TOKEN = 16
"""Characters of a part of a URL that is not shown, should a receiver repeat it."""
LOOKUP_SECONDS = 10.0
"""How long secrets and addresses may take, before a delivery and apart from its own limit."""
TROUBLED = (429, 502, 503, 504)
"""Answers that speak for the receiver as a whole, not for what it was sent."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")


def make_secret() -> str:
    """Make a new webhook secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key(secret: str) -> bytes:
    """Decode a webhook secret strictly; raises `HookError`, which never shows it."""
    text = secret.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if text == secret or not SHORTEST <= len(raw) <= LONGEST:
        wanted = f"{PREFIX} and the base64 of {SHORTEST} to {LONGEST} bytes"
        raise HookError(f"the webhook secret is not {wanted}", hint="make one: orchestrator hooks secret")
    return raw


def signature(keys: Sequence[bytes], delivery_id: str, moment: datetime, body: bytes) -> str:
    """Sign `id.timestamp.body` with each key, the newest first; `moment` is in UTC."""
    text = body.decode()
    return " ".join(standardwebhooks.Webhook(raw).sign(delivery_id, moment, text) for raw in keys)


def _place(url: str) -> httpx.URL:
    """Read a URL; raises ValueError, which never shows it: there may be a token in it."""
    try:
        place = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise ValueError("not a URL") from None
    if place.scheme not in ("http", "https"):
        raise ValueError("starts with neither https:// nor http://")
    if place.userinfo:
        raise ValueError("contains a user name or password; the signature shows who sent it")
    if not _HOST.fullmatch(place.raw_host.decode("ascii")):
        raise ValueError("has no host, or an invalid one")
    if place.port is not None and not 0 < place.port < 65536:
        raise ValueError("has an invalid port")
    return place


def _host(place: httpx.URL) -> str:
    return place.raw_host.decode("ascii").lower().rstrip(".")


def _form(value: object) -> str:
    return "list" if isinstance(value, list | tuple) else "one"


def _few(references: tuple[SecretRef, ...]) -> tuple[SecretRef, ...]:
    # Not as min_length, which is also told where the only item has a fault of its own.
    if not 1 <= len(references) <= MOST_SECRETS:
        raise PydanticCustomError("secrets", "expected 1 to 5 secrets")
    return references


Rotated = Annotated[
    tuple[SecretRef, ...],
    Field(strict=False, json_schema_extra={"minItems": 1, "maxItems": MOST_SECRETS}),
    AfterValidator(_few),
]


class WebhookOptions(HookOptions):
    """`[hooks.NAME]` of kind `webhook`."""

    # Before `url`, whose check needs it.
    allow_private: bool | Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=False,
        description="Also allow plain http and private or loopback addresses: true, or a list of hosts.",
    )
    url: str = Field(description="Where to POST; https, unless allow_private says otherwise.")
    secret: Annotated[
        Annotated[SecretRef, Tag("one")] | Annotated[Rotated, Tag("list")],
        Discriminator(_form),
        Field(description="The signing secret; a list while it is being rotated."),
    ]
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(seconds=60))] = Field(
        default=timedelta(seconds=15), description="How long the receiver may take to answer, 60s at most."
    )

    @field_validator("allow_private", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        if isinstance(value, bool) or (
            isinstance(value, list | tuple) and all(isinstance(host, str) for host in value)
        ):
            return value
        raise PydanticCustomError("allow_private", "expected true, false or a list of hosts")

    @field_validator("url")
    @classmethod
    def _checked(cls, url: str, info: ValidationInfo) -> str:
        try:
            place = _place(url)
        except ValueError as error:
            raise PydanticCustomError("url", "{text}", {"text": str(error)}) from error
        allowed = info.data.get("allow_private", False)
        if place.scheme == "http" and not _allows(allowed, _host(place)):
            raise PydanticCustomError("url", "is plain http; allow_private = true permits it")
        return url

    @property
    def private(self) -> bool:
        """Say whether its host may be private, loopback or plain http."""
        return _allows(self.allow_private, _host(_place(self.url)))


def _allows(allowed: bool | tuple[str, ...], host: str) -> bool:
    if isinstance(allowed, bool):
        return allowed
    return host in {name.lower().strip("[]").rstrip(".") for name in allowed}


class Webhook(Hook):
    """Posts the stored bytes of a delivery, signed anew at every attempt."""

    kind: ClassVar[str] = "webhook"
    Options: ClassVar[type[HookOptions]] = WebhookOptions
    options: WebhookOptions

    def __init__(
        self,
        options: HookOptions,
        root: Path,
        *,
        now: Callable[[], datetime] = utc_now,
        env: Mapping[str, str] = os.environ,
        addresses: Resolver = lookup,
        tls: ssl.SSLContext | None = None,
        patience: float = LOOKUP_SECONDS,
    ) -> None:
        super().__init__(options, root, now=now, env=env)
        self._place = _place(self.options.url)
        self._host = _host(self._place)
        self._private = self.options.private
        self._port = self._place.port or (443 if self._place.scheme == "https" else 80)
        self._lookup = addresses
        self._patience = patience
        self._poster = Poster(self._place, tls)
        self._lock = anyio.Lock()
        self._secrets: tuple[Secret, ...] = ()
        self._stale_at = 0.0

    @property
    def origin(self) -> str:
        """Name scheme, host and port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._place.scheme}://{host}:{self._port}"

    @property
    def local(self) -> bool:
        """Whether its host is a loopback address or `localhost`."""
        return is_loopback(self._host)

    @property
    def deadline(self) -> timedelta:
        """What looking up, connecting and the exchange may take, each for itself."""
        return timedelta(seconds=self._patience + CONNECT_SECONDS) + self.options.timeout

    async def check(self) -> None:
        """Raise `SecretError` or `HookError` where a secret is missing or malformed."""
        for secret in await self._resolved():
            key(secret.reveal())

    async def send(self, delivery: Delivery) -> str | None:
        """POST it once; 2xx is done, 410 the end of the hook, anything else a failure."""
        try:
            with anyio.fail_after(self._patience):
                resolved = await self._resolved()
                keys = [key(secret.reveal()) for secret in resolved]
                addresses = await checked(self._host, self._port, self._lookup, private=self._private)
        except TimeoutError as error:
            raise HookError(f"not sent: no secret or no address within {self._patience:g} s") from error
        except SecretError as error:
            raise HookError(f"not sent: {error.message}", hint=error.hint) from error
        now = self.now()
        headers = _headers(delivery, now, signature(keys, delivery.id, now, delivery.body))
        timeout = self.options.timeout.total_seconds()
        reply = await self._poster.post(addresses, headers, delivery.body, timeout=timeout)
        said = clean(reply.body, hide=self._hidden(resolved)) if reply.body else ""
        return _judge(reply, said, now)

    async def preview(self, delivery: Delivery) -> Preview:
        """Show the request, signed where the secret is to be had."""
        now = self.now()
        try:
            keys = [key(secret.reveal()) for secret in await self._resolved()]
            signed = signature(keys, delivery.id, now, delivery.body)
        except (SecretError, HookError) as error:
            signed = f"v1,<no secret: {error.message}>"
        headers = {"host": self._place.netloc.decode("ascii"), **_headers(delivery, now, signed)}
        head = (f"POST {self.options.url}", *(f"{name}: {value}" for name, value in headers.items()))
        return Preview(head=head, body=delivery.body)

    async def _resolved(self) -> Sequence[Secret]:
        async with self._lock:
            if not self._secrets or anyio.current_time() >= self._stale_at:
                given = self.options.secret
                references = given if isinstance(given, tuple) else (given,)
                self._secrets = tuple([await resolve(one, self.root, self.env) for one in references])
                self._stale_at = anyio.current_time() + FRESH
            return self._secrets

    def _hidden(self, resolved: Sequence[Secret]) -> Iterator[str]:
        """Yield what a reply may echo and nobody is to see: the secrets, and a token in the URL."""
        for secret in resolved:
            text = secret.reveal().removeprefix(PREFIX)
            yield from (text, text.rstrip("="), quote(text, safe=""))
        target = self._place.raw_path.decode("ascii")
        yield from (part for part in (target, *target.split("?", 1)) if len(part) > 1)
        yield from (part for part in re.split("[/?&=]", target) if len(part) >= LIKE_A_TOKEN)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._poster.aclose()


def _headers(delivery: Delivery, now: datetime, signed: str) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "user-agent": f"finetune-orchestrator/{__version__}",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signed,
    }


def _judge(reply: Reply, said: str, now: datetime) -> str:
    code = reply.code
    answer = f"HTTP {code}: {said}" if said else f"HTTP {code}"
    if 200 <= code < 300:
        return answer
    if code == 410:
        raise HookGone(answer, code=code)
    if 300 <= code < 400:
        hint = "a redirect is not followed: write the final address into url"
        raise HookError(answer, code=code, hint=hint)
    wait = retry_after(reply.headers.get("retry-after"), now) if code in (429, 503) else None
    raise HookError(answer, code=code, retry_after=wait, down=code in TROUBLED)
