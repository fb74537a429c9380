"""A receiver of webhooks on loopback that takes what the reference library verifies, and remembers it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass(frozen=True, kw_only=True)
class Message:
    """A webhook whose signature was good."""

    id: str
    type: str
    data: dict[str, Any]
    timestamp: str


@dataclass
class Listener:
    """Where it listens, what came, and what it is to answer next."""

    url: str
    secret: str
    messages: list[Message] = field(default_factory=list)
    refused: int = 0
    answers: list[int] = field(default_factory=list)
    """Codes for the next requests, then 204."""

    def heard(self) -> list[tuple[str, str]]:
        """Return type and job of every message, in the order in which they first came."""
        return list(dict.fromkeys((message.type, message.data["job"]) for message in self.messages))

    def of(self, job: str) -> Sequence[Message]:
        return [message for message in self.messages if message.data["job"] == job]

    def table(self, name: str, *events: str) -> str:
        """Declare the hook; its secret stands in TEAM_HOOK_SECRET."""
        wanted = f"events = {json.dumps(events)}\n" if events else ""
        return (
            f'[hooks.{name}]\nkind = "webhook"\nurl = "{self.url}"\nallow_private = true\n'
            f'secret = {{ env = "TEAM_HOOK_SECRET" }}\n{wanted}'
        )


@contextmanager
def listening(secret: str) -> Iterator[Listener]:
    """Listen on a free port of 127.0.0.1."""
    webhook = Webhook(secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return  # its sender was cut off
            headers = {key.lower(): value for key, value in self.headers.items()}
            try:
                webhook.verify(body, headers)
            except WebhookVerificationError:
                listener.refused += 1
                code = 401
            else:
                code = listener.answers.pop(0) if listener.answers else 204
                listener.messages.append(Message(id=headers["webhook-id"], **json.loads(body)))
            self.send_response(code)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener = Listener(f"http://127.0.0.1:{server.server_port}/hook", secret)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
