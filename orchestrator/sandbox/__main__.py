"""`python -m orchestrator.sandbox`: serve the emulated providers until interrupted."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from orchestrator.sandbox.options import Options
from orchestrator.sandbox.server import serve


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; every field of `Options` is a flag."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8790, help="0 takes a free one")
    parser.add_argument("--state", type=Path, help="a file that keeps everything over restarts")
    parser.add_argument("--speed", type=float, default=1.0, help="divides --stage-seconds")
    parser.add_argument("--child", action="store_true", help="say the port as JSON, end with standard input")
    for field in fields(Options):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default
        )
    return parser.parse_args(argv)


async def run(args: argparse.Namespace, options: Options) -> None:
    """Serve until SIGINT, SIGTERM, or, as a child, the end of standard input."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)

    def heed() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            done.set()

    def ready(port: int) -> None:
        text = json.dumps({"port": port}) if args.child else f"sandbox at http://127.0.0.1:{port}"
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    if args.child:
        loop.add_reader(sys.stdin.fileno(), heed)
    serving = asyncio.create_task(serve(port=args.port, state=args.state, options=options, ready=ready))
    waiting = asyncio.create_task(done.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def main(argv: Sequence[str]) -> int:
    """Run the server; 0 when it was told to end, 1 when it could not start, 2 for wrong use."""
    args = parse(argv)
    try:
        options = Options(**{field.name: getattr(args, field.name) for field in fields(Options)})
        options = replace(options, stage_seconds=options.stage_seconds / args.speed)
    except (ValueError, ZeroDivisionError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    try:
        asyncio.run(run(args, options))
    except OSError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
