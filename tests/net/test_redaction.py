"""A secret of this process is in no text, however the text writes it."""

import base64
import html
import json
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.config.secret import Secret
from orchestrator.net.redaction import redact, redact_all, shows_secret

KEY = "canary-9f/Zk+3_w=QpL~x7"
Secret(KEY)


def coded(code: Callable[[bytes], bytes], before: int, after: int) -> Callable[[str], str]:
    """Encode a secret that stands between other bytes, as in `user:key` or `Bearer key`."""
    return lambda value: code(b"\xa5" * before + value.encode() + b"\x5a" * after).decode()


def wide(value: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in value)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": lambda v: v.upper() if v.upper().casefold() == v.casefold() else v,
    "json": lambda v: json.dumps(v)[1:-1],
    "json with slashes": lambda v: json.dumps(v)[1:-1].replace("/", "\\/"),
    "json escapes alone": lambda v: "".join(
        f"\\u{unit:04X}" for unit in memoryview(v.encode("utf-16-le")).cast("H")
    ),
    "json in json": lambda v: json.dumps(json.dumps(v))[3:-3],
    "percent": lambda v: quote(v, safe=""),
    "percent small": lambda v: quote(v, safe="").lower(),
    "percent all": lambda v: "".join(f"%{byte:02x}" for byte in v.encode()),
    "percent twice": lambda v: quote(quote(v, safe=""), safe=""),
    "form": quote_plus,
    "entities": html.escape,
    "entities by number": lambda v: "".join(f"&#{ord(c)};" for c in v),
    "entities by hex": lambda v: "".join(f"&#x{ord(c):X};" for c in v),
    "zero width": "\u200b".join,
    "soft hyphens": "\u00ad".join,
    "byte order marks": "\ufeff".join,
    "variation selectors": "\ufe0f".join,
    "line breaks": "\r\n".join,
    "terminal escapes": "\x1b[0m".join,
    "full width": wide,
    "decomposed": lambda v: unicodedata.normalize("NFD", v),
    "hex": lambda v: v.encode().hex(),
    "HEX": lambda v: v.encode().hex().upper(),
    "bearer": lambda v: base64.b64encode(f"Bearer {v}".encode()).decode(),
    "basic": lambda v: base64.b64encode(f"user:{v}".encode()).decode(),
    "wrapped": lambda v: base64.encodebytes(f"Bearer {v}".encode() * 5).decode().strip(),
    **{
        f"{code.__name__} {before} {after}": coded(code, before, after)
        for code in (base64.b64encode, base64.urlsafe_b64encode)
        for before in range(3)
        for after in range(3)
    },
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_key_is_hidden_in_every_spelling(spelling: str) -> None:
    written = SPELLINGS[spelling](KEY)
    assert redact(f"the key {written} is wrong") == "the key *** is wrong"
    assert redact(f'{{"key":"{written}"}}') == '{"key":"***"}'
    assert redact_all({"a": [1, None, f"x {written}"], written: True}) == {
        "a": [1, None, "x ***"],
        "***": True,
    }


# What HTTP headers, databases and command lines take: anything that can be seen.
SECRETS = st.text(
    st.characters(exclude_categories=("C", "Z", "M"), max_codepoint=0x2FFF), min_size=8, max_size=60
)


@given(SECRETS, st.sampled_from(sorted(SPELLINGS)))
def test_any_secret_is_hidden_in_every_spelling(value: str, spelling: str) -> None:
    written = SPELLINGS[spelling](value)
    assume(len(set(value)) > 1)
    shown = redact(f"before {written} after", also=[value])
    assert written not in shown
    assert shown.startswith("before ***")
    assert shown.endswith("*** after")


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("your key hunter is wrong", "your key *** is wrong"),
        ("key=hunter&x=1", "key=***&x=1"),
        ("aHVudGVy", "***"),
        ("68756e746572", "***"),
        ("the huntersman, shunter and hunter2", "the huntersman, shunter and hunter2"),
    ],
)
def test_a_short_secret_is_hidden_where_it_stands_alone(text: str, shown: str) -> None:
    assert redact(text, also=["hunter"]) == shown


def test_what_holds_no_secret_stays_as_it_is() -> None:
    text = "50% of caf\u00e9 &amp; \\u0041 \x1b[31mred\x1b[0m, a\u00adb"
    assert redact(text) == text
    assert redact(text, also=["abc", ""]) == text
    assert not shows_secret(text)
    value = {"a": [text, 1.5, {"b": None}]}
    assert redact_all(value) is value


def test_what_was_read_is_searched_as_it_is_meant() -> None:
    for text in (json.dumps({"a": KEY}), json.dumps({"a": KEY}).replace("/", "\\/")):
        assert redact_all(json.loads(text), written=text.encode()) == {"a": "***"}


def test_a_long_text_takes_no_time_and_shows_nothing() -> None:
    row = "a line of a table that is longer than it need be\n"
    assert redact(row * 5000 + KEY + "\n" + row) == row * 5000 + "***\n" + row
    assert redact("\u200b" * 1_000_000 + KEY) == "***"
    assert redact(row * 5000 + "\n".join(KEY)) == "***"
    assert redact(row * 5000 + KEY, also=["longe"]).endswith("***")
