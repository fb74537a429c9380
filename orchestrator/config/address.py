"""Where the database is, and how far a job file is believed about it: it may be a stranger's pull request."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pydantic_core import PydanticCustomError

from orchestrator.config.url import is_loopback

SQLITE: Final = "sqlite:///"
POSTGRES: Final = "postgresql://"
ALLOWED_HOSTS: Final = "ORCHESTRATOR_ALLOW_DATABASE_HOST"
OPTIONS: Final = frozenset(
    {
        *("application_name", "channel_binding", "connect_timeout", "sslmode", "target_session_attrs"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    }
)
"""What a job file may tell the PostgreSQL client: nothing that names a file, a service or another host."""

_PLAIN: Final = re.compile(
    r"postgresql://(?:[^@:/?#\\\s]*@)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]{1,5})?"
    r"(?:/[^@/?#\\\s=%]*)?(?:\?(?P<query>[^@#\\\s]*))?"
)
"""The one form in which no two programs can disagree about what is the host."""


def database_url(text: str) -> str:
    """Return an address in one of the two forms that are known; raises `PydanticCustomError`."""
    # SQLAlchemy would read what follows a question mark as options
    if text.startswith(SQLITE) and not text.endswith(("/", ":memory:")) and "?" not in text:
        return text
    if text.startswith(POSTGRES):
        try:
            if urlsplit(text).hostname is not None or "?" in text:
                return text
        except ValueError:
            pass  # reported below, without the text, which may hold a password
    expected = "expected sqlite:///PATH or postgresql://user@host/name"
    raise PydanticCustomError("database", "{text}", {"text": expected})


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """The database's URL, and what it takes to open it safely."""

    url: str
    root: Path | None = None
    """Below this folder, that of the job files, no link is followed."""
    file: Path | None = None
    """The job file, where it alone names the server: no password of this machine is meant for that."""

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database, None for PostgreSQL."""
        path = self.url.removeprefix(SQLITE)
        return None if path == self.url else Path(path)

    @property
    def stranger(self) -> str | None:
        """Return the host, where only a job file names it and it is another machine."""
        host = _host(self.url) if self.file else None
        return None if host is None or _here(host) else host


def fault(url: str) -> str | None:
    """Return what a job file may not say in a database's address."""
    if not url.startswith(POSTGRES):
        return None
    parts = _PLAIN.fullmatch(url)
    if parts is None:
        return "expected postgresql://user@host/name, without other signs"
    options = parse_qsl(parts["query"] or "", keep_blank_values=True)
    sockets = [value for name, value in options if name == "host"]
    for name, _ in options:
        if name == "host" and parts["host"] is None and len(sockets) == 1 and sockets[0].startswith("/"):
            continue  # the folder of a local socket has no other place in an address
        if name not in OPTIONS:
            return f'a job file may not set "{name}" for the database'
    return None


def allowed(url: str, env: Mapping[str, str]) -> bool:
    """Say whether the environment allows the server that a job file names, if it names any."""
    host = _host(url)
    named = [one.strip() for one in env.get(ALLOWED_HOSTS, "").split(",")]
    return host is None or host in {one if one.startswith("/") else one.lower() for one in named}


def _host(url: str) -> str | None:
    """Return the server that an address without a `fault` names; the folder where it is a local socket."""
    parts = _PLAIN.fullmatch(url)
    if parts is None:
        return None
    if parts["host"] is not None:
        return parts["host"].strip("[]").lower()
    return dict(parse_qsl(parts["query"] or "")).get("host")


def _here(host: str) -> bool:
    return host.startswith("/") or is_loopback(host)
