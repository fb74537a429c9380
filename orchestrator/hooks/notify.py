"""Sends messages for people to chat, mail and the other services that apprise supports."""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import quote, urlsplit

import anyio
from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from orchestrator.config.duration import Duration
from orchestrator.config.manifest import HookOptions
from orchestrator.config.secret import Secret, SecretRef
from orchestrator.core.delivery import Delivery
from orchestrator.errors import HookError
from orchestrator.hooks._message import FIELDS, TABLES, Message, Sent, default, fields, tone
from orchestrator.hooks._process import Task, run
from orchestrator.hooks._references import References, at_most, form
from orchestrator.hooks._reply import clean
from orchestrator.hooks.base import TROUBLED, Hook, Preview, utc_now

LARGEST_TEMPLATE: Final = 8192
"""The most bytes a template may have."""
LONGEST: Final = 16_000
"""Characters of a message; a service that accepts fewer gets a shortened one."""
LONGEST_TITLE: Final = 250
RENDER: Final = timedelta(seconds=10)
MOST_URLS: Final = 10
THREADS: Final = 20
"""As many as a hook sends at once."""
LEAST_HIDDEN: Final = 6
MISSING: Final = "needs apprise: pip install 'finetune-orchestrator[notify]'"
_RENDERER: Final = Path(__file__).with_name("_render.py")
_CODE: Final = re.compile(r"\berror=(\d{3})\b")


def _template(source: str) -> str:
    if len(source.encode()) > LARGEST_TEMPLATE:
        raise PydanticCustomError("template", "a template is at most 8 KB")
    from orchestrator.hooks._template import fault

    wrong = fault(source, FIELDS, TABLES)
    if wrong:
        raise PydanticCustomError("template", "{text}", {"text": wrong})
    return source


Template = Annotated[str, AfterValidator(_template)]


class NotifyOptions(HookOptions):
    """`[hooks.NAME]` of kind `notify`."""

    url: Annotated[
        Annotated[SecretRef, Tag("one")]
        | Annotated[
            tuple[SecretRef, ...],
            Field(strict=False, json_schema_extra={"minItems": 1, "maxItems": MOST_URLS}),
            AfterValidator(at_most(MOST_URLS, "addresses")),
            Tag("list"),
        ],
        Discriminator(form),
        Field(
            description="A reference to an apprise URL, which holds the service's token, or a list of them."
        ),
    ]
    title: Template | None = Field(default=None, description="A template for the first line.")
    template: Template | None = Field(default=None, description="A template for the text.")
    timeout: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(minutes=5))] = Field(
        default=timedelta(seconds=30), description="How long a service may take, 1s to 5m."
    )


class Notify(Hook):
    """Sends a message for each event; a retry leaves out the services that have taken it."""

    kind: ClassVar[str] = "notify"
    Options: ClassVar[type[HookOptions]] = NotifyOptions
    options: NotifyOptions

    def __init__(
        self,
        options: HookOptions,
        root: Path,
        *,
        now: Callable[[], datetime] = utc_now,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        super().__init__(options, root, now=now, env=env)
        self._urls = References(self.options.url, root, env)
        self._taken: dict[str, set[int]] = {}
        # Threads of its own: a service that hangs takes none from anything else.
        self._threads = anyio.CapacityLimiter(THREADS)

    @property
    def origin(self) -> str:
        """Name the references, since the addresses themselves are secrets."""
        return "notify " + " ".join(_place(one) for one in self._urls.all)

    @property
    def deadline(self) -> timedelta:
        """The time limits of all services, templates and addresses together."""
        return self.options.timeout * len(self._urls.all) + RENDER + timedelta(seconds=10)

    def problems(self) -> Mapping[str, str]:
        """Say if apprise is not installed."""
        return {} if find_spec("apprise") else {"kind": MISSING}

    async def check(self) -> None:
        """Raise `SecretError` or `HookError` if an address is missing or belongs to no service."""
        self._installed()
        for secret in await self._urls.resolved():
            wrong = await anyio.to_thread.run_sync(_problem, secret.reveal(), limiter=self._threads)
            if wrong:
                raise HookError(wrong, hint="https://appriseit.com/services lists what it knows")

    async def preview(self, delivery: Delivery) -> Preview:
        """Show the message."""
        message = await self._message(delivery)
        return Preview(head=(f"title: {message.title}", f"tone: {message.tone}"), body=message.text.encode())

    async def send(self, delivery: Delivery) -> str | None:
        """Send the message to every address that has not taken it yet."""
        self._installed()
        message = await self._message(delivery)
        urls = await self._urls.to_send()
        taken = self._taken.setdefault(delivery.id, set())
        names = [
            await self._one(number, secret, message, taken)
            for number, secret in enumerate(urls)
            if number not in taken
        ]
        self._taken.pop(delivery.id, None)
        return clean(f"told {', '.join(name for name in names if name)}".encode())

    async def _one(self, number: int, secret: Secret, message: Message, taken: set[int]) -> str:
        seconds = self.options.timeout.total_seconds()
        try:
            with anyio.fail_after(seconds + 5):
                sent = await anyio.to_thread.run_sync(
                    _send,
                    secret.reveal(),
                    message,
                    seconds,
                    abandon_on_cancel=True,
                    limiter=self._threads,
                )
        except TimeoutError as error:
            raise HookError(f"uncertain: no answer within {seconds:g} s", down=True) from error
        said = clean(sent.said.encode("utf-8", "replace"), hide=_hidden(secret.reveal()))
        if sent.late:
            raise HookError(f"uncertain: no answer within {seconds:g} s", down=True)
        if not sent.taken:
            found = _CODE.search(sent.said)
            code = int(found[1]) if found else None
            down = code in TROUBLED or "onnection error" in sent.said
            raise HookError(said or "the service did not take it", code=code, down=down)
        taken.add(number)
        return sent.service

    async def _message(self, delivery: Delivery) -> Message:
        made = default(delivery)
        wanted = {"title": self.options.title, "text": self.options.template}
        templates = {name: source for name, source in wanted.items() if source is not None}
        texts = await render(templates, fields(delivery)) if templates else {}
        title = " ".join(texts.get("title", made.title).split())[:LONGEST_TITLE]
        text = texts.get("text", made.text)[:LONGEST].strip()
        return Message(title=title, text=text or title or made.title, tone=tone(delivery.event))

    def _installed(self) -> None:
        if not find_spec("apprise"):
            raise HookError(MISSING)


async def render(templates: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """Render templates in a separate process with little time and memory; raises `HookError`."""
    order = {"templates": dict(templates), "fields": dict(values), "most": LONGEST}
    task = Task(
        argv=(sys.executable, "-I", str(_RENDERER)),
        stdin=json.dumps(order).encode(),
        cwd=Path("/"),
        env={"LC_ALL": "C.UTF-8"},
        timeout=RENDER,
        keep=8 * LONGEST * max(len(templates), 1),
    )
    try:
        outcome = await run(task)
        slow: dict[str, Any] = {"error": "it takes too long"}
        answer: dict[str, Any] = json.loads(outcome.output) if outcome.code == 0 else slow
    except (OSError, ValueError) as error:
        raise HookError("the template cannot be rendered") from error
    if "error" in answer:
        raise HookError(f"the template cannot be rendered: {clean(str(answer['error']).encode())}")
    return {str(name): str(text) for name, text in answer["texts"].items()}


def _problem(url: str) -> str | None:
    from orchestrator.hooks._apprise import problem

    return problem(url)


def _send(url: str, message: Message, seconds: float) -> Sent:
    from orchestrator.hooks._apprise import send

    return send(url, message, seconds)


def _place(reference: SecretRef) -> str:
    return reference.env or reference.file or " ".join(reference.command or ())


def _hidden(url: str) -> set[str]:
    """Return the parts of an address that may be tokens, to be hidden if an answer repeats them."""
    parts = urlsplit(url)
    whole = {url, parts.netloc, parts.path, parts.query}
    words = {word for word in re.split(r"[/?&=:@#]+", url) if len(word) >= LEAST_HIDDEN}
    return {one for one in whole | words | {quote(word, safe="") for word in words} if len(one) > 1}
