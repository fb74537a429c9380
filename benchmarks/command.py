"""What a command costs in a process of its own."""

import resource
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def cpu(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> float:
    """Run `command` once and return the seconds of CPU that it took."""
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, cwd=folder, env=env, capture_output=True)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime
