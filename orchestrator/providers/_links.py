"""Listings that page by addresses: `Link` headers, and `next` in a body."""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

import httpx

from orchestrator.errors import Misread

_LINK: Final = re.compile(r"""<([^<>]*)>((?:\s*;\s*[^;,="]+(?:=(?:"[^"]*"|[^;,"]*))?)*)""")
_NEXT: Final = re.compile(r""";\s*rel\s*=\s*"?([^";]*)"?""", re.IGNORECASE)


def next_link(headers: Mapping[str, str]) -> str | None:
    """Return the address of the next page by the `Link` header (RFC 8288), None at the end."""
    for target, parameters in _LINK.findall(headers.get("link", "")):
        relation = _NEXT.search(parameters)
        if relation and "next" in relation[1].lower().split():
            return str(target)
    return None


def page_cursor(link: str, base: str, path: str) -> str:
    """Return the query of a next page's address, the cursor of a driver that pages by addresses.

    The address itself is never followed: one of another origin or path raises `Misread`.
    """
    here = httpx.URL(base + path)
    try:
        there = here.join(link)
    except (httpx.InvalidURL, ValueError):
        raise Misread("the address of the next page is none") from None
    if (there.scheme, there.netloc, there.raw_path.partition(b"?")[0]) != (
        here.scheme,
        here.netloc,
        here.raw_path.partition(b"?")[0],
    ):
        raise Misread("the next page is said to be elsewhere, which is not followed")
    return there.query.decode("ascii")


def page_query(cursor: str) -> Sequence[tuple[str, str]]:
    """Return a cursor's query as it is sent, repeated keys included."""
    return parse_qsl(cursor, keep_blank_values=True)
