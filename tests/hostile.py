"""A server on loopback, every provider and receiver at once, that says all keys that it was ever sent."""

import base64
import html
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import quote, unquote

SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda key: "\u200b".join(key),
    lambda key: "\u00ad".join(key),
    lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    lambda key: "".join(f"%{ord(c):02x}" for c in key),
    lambda key: quote(quote(key, safe=""), safe=""),
    lambda key: "".join(f"&#{ord(c)};" for c in key),
    lambda key: key.encode().hex().upper(),
    lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    lambda key: base64.urlsafe_b64encode(f"x{key}".encode()).decode(),
    lambda key: base64.b64encode(f"xy{key}".encode()).decode(),
    lambda key: "".join(chr(ord(c) + 0xFEE0) for c in key),
)


@dataclass
class Hostile:
    """What it heard, and how it answers: `refusing` refuses all, with every key in every spelling."""

    url: str = ""
    keys: set[str] = field(default_factory=set)
    models: list[dict[str, Any]] = field(default_factory=list)
    refusing: int = 0
    """The status of every answer, 0 for a proper one."""
    requests: int = 0

    def asked_after(self, count: int) -> bool:
        """Say whether it had more requests than these."""
        return self.requests > count

    def said(self) -> str:
        """Write every key in every spelling."""
        return " ".join(spell(key) for key in sorted(self.keys) for spell in SPELLINGS)

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """Answer as the provider of `path` would, with the keys wherever there is room."""
        self.requests += 1
        if self.refusing or "/cohere" not in path:
            return self.refusing or 500, {"message": f"sorry: {self.said()}"}
        if body is not None:
            model = {**body, "id": f"ft-{len(self.models)}", "status": "STATUS_QUEUED"}
            self.models.append(model)
            return 200, {"finetuned_model": model}
        if path.rpartition("/")[2].startswith("ft-"):
            return 200, {"finetuned_model": self.models[0]}
        shown = [{**model, "name": f"{self.said()} {model['name']}"} for model in self.models]
        stranger = {"id": "stranger", "name": self.said(), "status": self.said()[-150:], "settings": {}}
        return 200, {"finetuned_models": [*shown, stranger], "datasets": [{"id": "d", "name": self.said()}]}


@contextmanager
def hostile() -> Iterator[Hostile]:
    """Listen on a free port of 127.0.0.1."""
    server = Hostile()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.keys |= {self.headers["authorization"].removeprefix("Bearer ")}
            self._answer(None)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if "authorization" in self.headers:
                server.keys |= {self.headers["authorization"].removeprefix("Bearer ")}
            server.keys |= set(re.findall(r'"api_key": "([^"]+)"', json.dumps(body)))
            self._answer(body)

        def _answer(self, body: Any) -> None:
            code, answer = server.answer(self.path.partition("?")[0], body)
            data = json.dumps(answer).replace("/", "\\/").encode()
            self.send_response(code)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listener.server_port}"
    thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def holds(data: bytes, key: str) -> bool:
    """Say whether `key` can be read out of `data`, by decoding it in all ways that a curious person knows."""
    text = data.decode("utf-8", "replace")
    for _ in range(4):
        seen = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
        raw = key.encode()
        coded = [base64.b64encode(b"x" * lead + raw)[4 : -len(raw) % 3 - 4].decode() for lead in range(3)]
        plain = seen.replace("-", "+").replace("_", "/")
        if key in seen or raw.hex() in seen.lower() or any(core in plain for core in coded):
            return True
        decoded = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), seen)
        text = html.unescape(unquote(decoded.replace("\\/", "/").replace("\\\\", "\\")))
    return False
