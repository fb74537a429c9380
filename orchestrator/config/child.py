"""What a program that we start gets of our environment: little, so that no credential comes along."""

import os
from collections.abc import Iterable, Mapping
from typing import Final

INHERITED: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_MESSAGES", "LC_MONETARY"),
    *("LC_NUMERIC", "LC_TIME"),
)
"""What every program gets, where it is set."""


def environment(names: Iterable[str] = (), env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a child: what all inherit, and the variables in `names`."""
    return {name: env[name] for name in (*INHERITED, *names) if name in env}
