"""Listings whose next page is given as a URL, in a `Link` header or in the body."""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

import httpx

from orchestrator.errors import Misread

_LINK: Final = re.compile(r"""<([^<>]*)>((?:\s*;\s*[^;,="]+(?:=(?:"[^"]*"|[^;,"]*))?)*)""")
_NEXT: Final = re.compile(r""";\s*rel\s*=\s*"?([^";]*)"?""", re.IGNORECASE)


def next_link(headers: Mapping[str, str]) -> str | None:
    """Return the URL of the next page from the `Link` header (RFC 8288), None on the last page."""
    for target, parameters in _LINK.findall(headers.get("link", "")):
        relation = _NEXT.search(parameters)
        if relation and "next" in relation[1].lower().split():
            return str(target)
    return None


def page_cursor(link: str, base: str, path: str) -> str:
    """Return the query of the next page's URL, to be used as the cursor.

    The URL itself is never followed: one with another origin or path raises `Misread`.
    """
    here = httpx.URL(base + path)
    try:
        there = here.join(link)
    except (httpx.InvalidURL, ValueError):
        raise Misread("the next page's address is not a URL") from None
    if (there.scheme, there.netloc, there.raw_path.partition(b"?")[0]) != (
        here.scheme,
        here.netloc,
        here.raw_path.partition(b"?")[0],
    ):
        raise Misread("the next page is on another host or path, which is not followed")
    return there.query.decode("ascii")


def page_query(cursor: str) -> Sequence[tuple[str, str]]:
    """Return the pairs of a cursor's query, repeated keys included."""
    return parse_qsl(cursor, keep_blank_values=True)
