"""A receiver as cheap as can be, as a process of its own: takes POSTs and notes when each body came.

It prints its port. `GET /` answers how many came, `GET /times` when: pairs of id and CLOCK_MONOTONIC in ns,
which is the same for all processes of a machine. Anything else is counted and answered with 204.
"""

import asyncio
import json
import time
from typing import cast

TIMES: list[tuple[str, int]] = []


class Counter(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            head = self.rest[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(self.rest) < end + 4 + length:
                return
            self.rest = self.rest[end + 4 + length :]
            if head.startswith(b"get "):
                body = json.dumps(TIMES if head.startswith(b"get /times") else len(TIMES)).encode()
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            else:
                name = head.partition(b"webhook-id:")[2].split(b"\r\n")[0].strip().decode()
                TIMES.append((name, time.monotonic_ns()))
                self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Counter, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
