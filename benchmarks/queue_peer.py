"""The peer, for a Python that has Procrastinate: the same POSTs as its jobs, 20 at once, a client per lane.

Arguments: the database, the receiver's address, how many. Prints deliveries a second, then the latencies of
single ones from the commit of the job to the receiver, as JSON.
"""

import asyncio
import json
import sys
import time

import httpx
import procrastinate

IN_FLIGHT = 20
BODY = b"x" * 480
IDLE: list[httpx.AsyncClient] = []


def application(dsn: str) -> procrastinate.App:
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=4, max_size=20))


async def main(dsn: str, url: str, count: int, singles: int) -> None:
    app = application(dsn)

    @app.task(queue="hooks", name="post")  # type: ignore[untyped-decorator]  # it is not installed here
    async def post(name: str) -> None:
        client = IDLE.pop() if IDLE else httpx.AsyncClient()
        try:
            (await client.post(url, content=BODY, headers={"webhook-id": name})).raise_for_status()
        finally:
            IDLE.append(client)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for number in range(count):
            await post.defer_async(name=f"b{number}")
        began = time.perf_counter()
        await app.run_worker_async(
            concurrency=IN_FLIGHT, wait=False, install_signal_handlers=False, listen_notify=False
        )
        rate = count / (time.perf_counter() - began)
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=IN_FLIGHT, wait=True, install_signal_handlers=False)
        )
        await asyncio.sleep(1)
        committed = {}
        for number in range(singles):
            await post.defer_async(name=f"s{number}")
            committed[f"s{number}"] = time.monotonic_ns()
            await asyncio.sleep(0.03)
        await asyncio.sleep(1)
        worker.cancel()
    print(json.dumps({"rate": rate, "committed": committed}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
