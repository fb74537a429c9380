"""The program: `orchestrator`, and `python -m orchestrator`."""

import gc
import os
import sys

from orchestrator.signals import end_at_once


def main() -> None:
    """Run the command line; from here on a signal ends it with a code of its own, not by itself.

    A third of what a short command costs went into collecting garbage while modules load, of which there
    is none, and into taking everything apart at the end, which the system does by itself.
    """
    end_at_once()
    gc.disable()  # until the command is loaded
    from orchestrator.cli import main

    try:
        main()
    except SystemExit as ended:
        os._exit(_flushed(ended.code if isinstance(ended.code, int) else int(ended.code is not None)))


def _flushed(code: int) -> int:
    """Write out what is printed, and return the exit code: 1 where that fails, unless it is one already."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        return code  # whoever read it has seen enough
    except OSError:
        return code or 1
    return code


if __name__ == "__main__":
    main()
