"""A webhook receiver for the demo, which remembers what came with a good signature."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from standardwebhooks import Webhook, WebhookVerificationError

LARGEST = 64 * 1024


@dataclass
class Receiver:
    """Where it listens, and which events came with a good signature."""

    url: str
    verified: list[tuple[str, str]] = field(default_factory=list)
    refused: int = 0


@contextmanager
def receiving(secret: str) -> Iterator[Receiver]:
    """Listen on a free port of this machine inside a `with`."""
    webhook = Webhook(secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), LARGEST))
            try:
                webhook.verify(body, {key.lower(): value for key, value in self.headers.items()})
            except WebhookVerificationError:
                receiver.refused += 1
                self.send_response(401)
            else:
                told = json.loads(body)
                receiver.verified.append((told["type"], told["data"]["job"]))
                self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing: the demo says what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(url=f"http://127.0.0.1:{server.server_port}/finetunes")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
