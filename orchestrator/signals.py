"""What a signal does before anything is under way: it ends the process."""

import os
import signal


def end_at_once(code: int | None = None) -> None:
    """Let SIGINT and SIGTERM end the process with `code`, else with 130 and 143."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            continue  # whoever started it wants it so
        signal.signal(number, lambda got, _: os._exit(128 + got if code is None else code))
