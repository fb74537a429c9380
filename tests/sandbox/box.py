"""A test's view of a sandbox process: its URL, a client with credentials, raw bytes, and shorthand."""

import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

HEADERS = {"authorization": "Bearer test", "cartesia-version": "2026-03-01"}
CARTESIA_JOB: dict[str, Any] = {
    "name": "n",
    "description": "d",
    "language": "en",
    "model_id": "sonic-3",
    "dataset": "ds_1",
}
OXEN_JOB: dict[str, Any] = {"resource": "main/t.parquet", "base_model": "m", "script_type": "text_generation"}
CLOUDFLARE_JOB: dict[str, Any] = {"name": "n", "model": "@cf/meta/llama"}
COHERE_JOB: dict[str, Any] = {
    "name": "n",
    "settings": {"base_model": {"base_type": "BASE_TYPE_CHAT"}, "dataset_id": "ds-1"},
}
CREATES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "cartesia": ("/cartesia/fine-tunes/", CARTESIA_JOB),
    "oxen": ("/oxen/api/repos/acme/support/fine_tunes", OXEN_JOB),
    "cloudflare": ("/cloudflare/client/v4/accounts/acc/ai/finetunes", CLOUDFLARE_JOB),
    "cohere": ("/cohere/v1/finetuning/finetuned-models", COHERE_JOB),
}


class Box:
    """A client of one sandbox."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, headers=HEADERS, timeout=10, trust_env=False)

    def create(self, provider: str, **changes: Any) -> httpx.Response:
        path, body = CREATES[provider]
        return self.client.post(path, json={**body, **changes})

    def lists(self, provider: str, **query: Any) -> Any:
        reply = self.client.get(CREATES[provider][0], params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def fault(self, kind: str, **order: Any) -> None:
        reply = self.client.post("/_sandbox/faults", json={"kind": kind, **order})
        assert reply.status_code == 200, reply.text

    def clear(self) -> None:
        self.client.delete("/_sandbox/faults").raise_for_status()

    def advance(self, seconds: float) -> None:
        self.client.post("/_sandbox/advance", json={"seconds": seconds}).raise_for_status()

    def ledger(self, **query: Any) -> Any:
        reply = self.client.get("/_sandbox/ledger", params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def raw(self, method: str, path: str, body: Mapping[str, Any] | None = None, wait: float = 10) -> bytes:
        """Send a request by hand and give every byte that comes until the connection ends."""
        parts = urlsplit(self.url)
        payload = json.dumps(body).encode() if body is not None else b""
        lines = [f"{method} {path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(payload)}"]
        lines += ["connection: close", *(f"{name}: {value}" for name, value in HEADERS.items())]
        lines += ["content-type: application/json"] if payload else []
        seen = bytearray()
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=wait) as link:
            link.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)
            try:
                while chunk := link.recv(65536):
                    seen += chunk
            except OSError as error:
                error.add_note(f"after {bytes(seen)!r}")
                raise
        return bytes(seen)
