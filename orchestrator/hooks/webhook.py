"""Sends a signed POST to the user's own receiver: Standard Webhooks 1.0 (its spec read 2026-11)."""

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
import standardwebhooks
from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from orchestrator import __version__
from orchestrator.config.duration import Duration
from orchestrator.config.manifest import HookOptions
from orchestrator.config.secret import Secret, SecretRef
from orchestrator.config.url import is_loopback
from orchestrator.core.delivery import Delivery
from orchestrator.errors import HookError, HookGone, SecretError
from orchestrator.hooks._references import References, at_most, form
from orchestrator.hooks._reply import clean
from orchestrator.hooks.base import TROUBLED, Hook, Preview, utc_now
from orchestrator.net.address import (
    Dialled,
    Resolver,
    Unreachable,
    checked,
    host_of,
    lookup,
    place_of,
    port_of,
)
from orchestrator.net.exchange import CONNECT_SECONDS, Answer, Connections, Unanswered, Unsent
from orchestrator.net.retry_after import retry_after
from orchestrator.net.tls import trust

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""The fewest and the most bytes a secret may have."""
MOST_SECRETS = 5
READ = 65536
"""Bytes read of a reply, undecoded."""
LIKE_A_TOKEN = 16
"""From this many characters on, a part of the URL is hidden if a receiver repeats it."""
LOOKUP_SECONDS = 10.0
"""Time limit for looking up secrets and addresses, apart from the delivery's own."""


def make_secret() -> str:
    """Return a new webhook secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key(secret: str) -> bytes:
    """Decode a webhook secret strictly; raises `HookError`, which never quotes it."""
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


Rotated = Annotated[
    tuple[SecretRef, ...],
    Field(strict=False, json_schema_extra={"minItems": 1, "maxItems": MOST_SECRETS}),
    AfterValidator(at_most(MOST_SECRETS, "secrets")),
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
        Discriminator(form),
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
            place = place_of(url)
        except ValueError as error:
            raise PydanticCustomError("url", "{text}", {"text": str(error)}) from error
        allowed = info.data.get("allow_private", False)
        if place.scheme == "http" and not _allows(allowed, host_of(place)):
            raise PydanticCustomError("url", "is plain http; allow_private = true permits it")
        return url

    @property
    def private(self) -> bool:
        """Whether its host may be private or loopback, and its scheme plain http."""
        return _allows(self.allow_private, host_of(place_of(self.url)))


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
        self._place = place_of(self.options.url)
        self._host = host_of(self._place)
        self._private = self.options.private
        self._port = port_of(self._place)
        self._lookup = addresses
        self._patience = patience
        self._dialled = Dialled(self._place)
        self._connections = Connections(tls or trust(system=True))
        self._secrets = References(self.options.secret, root, env)

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._place.scheme}://{host}:{self._port}"

    @property
    def local(self) -> bool:
        """Whether its host is a loopback address or `localhost`."""
        return is_loopback(self._host)

    @property
    def deadline(self) -> timedelta:
        """The time limits of looking up, connecting and the exchange together."""
        return timedelta(seconds=self._patience + CONNECT_SECONDS) + self.options.timeout

    async def check(self) -> None:
        """Raise `SecretError` or `HookError` if a secret is missing or malformed."""
        for secret in await self._secrets.resolved():
            key(secret.reveal())

    async def send(self, delivery: Delivery) -> str | None:
        """POST it once; 2xx is success, 410 ends the hook, any other answer is a failure."""
        try:
            with anyio.fail_after(self._patience):
                resolved = await self._secrets.to_send()
                keys = [key(secret.reveal()) for secret in resolved]
                addresses = await self._addresses()
        except TimeoutError as error:
            raise HookError(f"not sent: no secret or no address within {self._patience:g} s") from error
        now = self.now()
        headers = _headers(delivery, now, signature(keys, delivery.id, now, delivery.body))
        answer = await self._post(addresses, headers, delivery.body)
        said = clean(answer.body, hide=self._hidden(resolved)) if answer.body else ""
        return _judge(answer, said, now)

    async def _addresses(self) -> Sequence[str]:
        try:
            return await checked(self._host, self._port, self._lookup, private=self._private)
        except Unreachable as error:
            hint = f'allow_private = ["{self._host}"] in its table, if that is intended'
            raise HookError(
                f"not sent: {error}",
                down=not error.denied,
                hint=hint if error.denied and not self._private else None,
            ) from error

    async def _post(self, addresses: Sequence[str], headers: Mapping[str, str], body: bytes) -> Answer:
        timeout = self.options.timeout.total_seconds()
        connect = CONNECT_SECONDS / (2 * len(addresses))  # for TCP and TLS each
        requests = self._dialled.requests("POST", addresses, headers, body)
        try:
            return await self._connections.send(
                requests, cap=lambda _: READ, connect=connect, seconds=timeout
            )
        except Unsent as error:
            why = str(error.__cause__) or f"none within {connect:g} s"
            raise HookError(f"not sent: no connection to {addresses[-1]} ({why})", down=True) from error
        except Unanswered as error:
            why = f"the connection broke before an answer ({type(error.__cause__).__name__})"
            if isinstance(error.__cause__, TimeoutError):
                why = f"no answer within {timeout:g} s"
            raise HookError(f"uncertain: {why}", down=True) from error

    async def preview(self, delivery: Delivery) -> Preview:
        """Show the request, signed if the secret resolves."""
        now = self.now()
        try:
            keys = [key(secret.reveal()) for secret in await self._secrets.resolved()]
            signed = signature(keys, delivery.id, now, delivery.body)
        except (SecretError, HookError) as error:
            signed = f"v1,<no secret: {error.message}>"
        headers = {"host": self._place.netloc.decode("ascii"), **_headers(delivery, now, signed)}
        head = (f"POST {self.options.url}", *(f"{name}: {value}" for name, value in headers.items()))
        return Preview(head=head, body=delivery.body)

    def _hidden(self, resolved: Sequence[Secret]) -> Iterator[str]:
        """Yield what must be hidden if a reply repeats it: the secrets, and tokens in the URL."""
        for secret in resolved:
            text = secret.reveal().removeprefix(PREFIX)
            yield from (text, text.rstrip("="), quote(text, safe=""))
        target = self._place.raw_path.decode("ascii")
        yield from (part for part in (target, *target.split("?", 1)) if len(part) > 1)
        yield from (part for part in re.split("[/?&=]", target) if len(part) >= LIKE_A_TOKEN)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._connections.aclose()


def _headers(delivery: Delivery, now: datetime, signed: str) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "user-agent": f"finetune-orchestrator/{__version__}",
        "webhook-id": delivery.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signed,
    }


def _judge(reply: Answer, said: str, now: datetime) -> str:
    code = reply.status
    answer = f"HTTP {code}: {said}" if said else f"HTTP {code}"
    if 200 <= code < 300:
        return answer
    if code == 410:
        raise HookGone(answer, code=code)
    if 300 <= code < 400:
        hint = "a redirect is not followed: write the final address into url"
        raise HookError(answer, code=code, hint=hint)
    wait = retry_after(reply.headers, now) if code in (429, 503) else None
    raise HookError(answer, code=code, retry_after=wait, down=code in TROUBLED)
