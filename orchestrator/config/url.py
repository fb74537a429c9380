"""URLs of a job file: what those of the web must look like, and what in a database's is a secret."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

_SECRET_OPTION: Final = re.compile(r"passw|secret|token|scram", re.IGNORECASE)
"""Options of a PostgreSQL URL that hold a secret: password, sslpassword, oauth_client_secret and the like."""


def _base_url(text: str) -> str:
    problem = url_problem(text)
    if problem:
        raise PydanticCustomError("base_url", "{text}", {"text": problem})
    return text.rstrip("/")


def url_problem(text: str) -> str | None:
    """Say why `text` is no address to send requests to, None where it is one."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        return "expected an address such as https://api.example.com/v1"
    if parts.username is not None or parts.password is not None:
        return "an address must not contain a user name or password"
    if "?" in text or "#" in text:
        return "an address must not contain a query or a fragment"
    if not text.isprintable() or " " in text or "\\" in text:
        return "an address must not contain a space or a backslash"
    return None


def in_the_clear(url: str) -> bool:
    """Say whether what is sent to `url` leaves this machine without encryption."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Say whether `host` is this machine itself, by an address or by its usual name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"


BaseUrl = Annotated[str, Field(max_length=2000), AfterValidator(_base_url)]
"""An http or https address, a path prefix allowed, without a slash at its end."""


def passwords(url: str) -> Iterator[str]:
    """Yield every secret in a database's URL, decoded."""
    if not url.startswith("postgresql:"):
        return
    parts = urlsplit(url)
    if parts.password is not None:
        yield unquote(parts.password)
    options = parse_qsl(parts.query, keep_blank_values=True)
    yield from (value for name, value in options if _SECRET_OPTION.search(name))


def without_passwords(url: str) -> str:
    """Return a database's URL with `***` in place of every secret."""
    if not any(True for _ in passwords(url)):
        return url
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    options = [
        f"{quote(name)}={'***' if _SECRET_OPTION.search(name) else quote(value, safe='/')}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    netloc = f"{name}{':***' if colon else ''}{at}{place}"
    return f"{parts.scheme}://{netloc}{parts.path}" + (f"?{'&'.join(options)}" if options else "")
