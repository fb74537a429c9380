"""Hides every secret of this process in a text, however it is written there.

Texts are compared in a folded form: escapes decoded, Unicode in its compatibility form, case, spaces and
invisible characters dropped. So one needle finds all spellings of a secret, and a few more its encodings.
"""

import base64
import html
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

from orchestrator.config.secret import changes, known
from orchestrator.core.text import ESCAPE, MESSAGE_CAP, clean

T = TypeVar("T")

HIDDEN: Final = "***"
SHORTEST: Final = 4
"""Secrets with fewer characters are not hidden: they occur in every text."""
ANYWHERE: Final = 8
"""Secrets with fewer characters are hidden only where they are a word of their own."""
WEBHOOK: Final = "whsec_"
"""The prefix of webhook secrets; what follows it is hidden without the prefix too."""
ROUNDS: Final = 4
"""How many times a text is decoded, since JSON quoted in JSON has escapes of escapes."""
LONGEST: Final = 2**16
"""Longer lines are not searched character by character: with a secret in them they are hidden whole."""

_ESCAPED: Final = re.compile(
    rf"(?P<terminal>{ESCAPE})"
    r"|(?P<percent>(?:%[0-9a-fA-F]{2})+)"
    r"|(?P<entity>&#[xX][0-9a-fA-F]{1,8};?|&#[0-9]{1,8};?|&[A-Za-z][A-Za-z0-9]{1,31};)"
    r"|\\(?:u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|x(?P<x>[0-9a-fA-F]{2})|(?P<same>[\"'\\/])"
    r"|(?P<space>[nrtbf]))"
)
_MARKS: Final = (b"%", b"&", b"\\", b"\x1b")
_DROPPED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp", "Mn", "Me"})
_BLANK: Final = frozenset("\u115f\u1160\u2800")
"""Letters and symbols by category that are nevertheless invisible."""
_GONE: Final = bytes((*range(0x1B), *range(0x1C, 0x21), 0x7F))
_ALPHABET: Final = bytes.maketrans(
    bytes((*range(ord("A"), ord("Z") + 1), ord("-"), ord("_"))),
    bytes((*range(ord("a"), ord("z") + 1), ord("+"), ord("/"))),
)
"""Maps to lower case, and base64's URL-safe alphabet to the usual one."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9+/=_-]")


@dataclass(frozen=True, slots=True)
class _Needle:
    """One folded form of a secret; `coded` if the text around it belongs to the same encoding."""

    form: bytes
    coded: bool = False

    @property
    def alone(self) -> bool:
        """Whether it counts only next to no letter or digit."""
        return len(self.form) < ANYWHERE


def redact(text: str, *, also: Iterable[str] = ()) -> str:
    """Replace every secret of this process, and everything in `also`, by `***`."""
    needles = (*_registered(), *(needle for value in also for needle in _needles(value)))
    return _hidden(text, needles)


def redact_all(value: T, *, written: bytes | None = None) -> T:
    """Redact every text in `value`, which consists of JSON's types.

    `written` is the JSON that it was parsed from: if nothing is escaped there, searching it once is enough.
    """
    needles = _registered()
    if written is not None and b"\\" not in written and written.isascii():
        touched = _touched(written.decode(), needles)
    else:
        touched = bool(needles) and _touched("\n".join(_texts(value)), needles)
    found: Any = _walked(value, needles) if touched else value
    return found  # type: ignore[no-any-return]  # of the same shape as it came


def shown(text: str, cap: int = MESSAGE_CAP, *, also: Iterable[str] = ()) -> str:
    """Make outside text safe to show and store: one clean line, with secrets hidden before it is cut."""
    return clean(redact(clean(text, len(text)), also=also), cap)


def shows_secret(text: str) -> bool:
    """Say whether `text` contains a secret of this process."""
    return redact(text) != text


_built: tuple[int, tuple[_Needle, ...]] = (0, ())


def _registered() -> tuple[_Needle, ...]:
    """Return the needles of all secrets, made anew when the secrets change."""
    global _built
    if changes() != _built[0]:
        made = dict.fromkeys(needle for value in tuple(known()) for needle in _needles(value))
        _built = changes(), tuple(made)
    return _built[1]


@lru_cache(maxsize=4096)
def _needles(value: str) -> tuple[_Needle, ...]:
    plain = {_folded(form) for form in (value, value.replace(" ", "+")) for form in _rounds(form)}
    needles = [_Needle(form) for form in plain if len(form) >= SHORTEST]
    if needles:
        raw = value.encode("utf-8", "surrogatepass")
        coded = {raw.hex().encode(), *_cores(raw)}
        needles += [_Needle(form, coded=True) for form in coded]
    if value.startswith(WEBHOOK):
        needles += _needles(value.removeprefix(WEBHOOK).rstrip("="))
    return tuple(needles)


def _cores(raw: bytes) -> Iterator[bytes]:
    """Yield the base64 characters that depend on `raw` alone, at each of the three alignments."""
    if len(raw) < ANYWHERE:  # too short to be found inside other bytes
        yield _ascii(base64.b64encode(raw).rstrip(b"="))
        return
    for lead in range(3):
        first = -(-lead * 8 // 6)
        last = (lead + len(raw)) * 8 // 6
        yield _ascii(base64.b64encode(bytes(lead) + raw)[first:last])


def _touched(text: str, needles: Collection[_Needle]) -> bool:
    """Check quickly whether any needle may be in `text`; most texts contain none."""
    if not needles or not text:
        return False
    for form in _rounds(text):
        folded = _folded(form)
        if any(needle.form in folded for needle in needles):
            return True
    return False


def _rounds(text: str) -> Iterator[str]:
    """Yield `text`, then with its escapes decoded, repeatedly until none is left."""
    yield text
    for _ in range(ROUNDS):
        decoded = _ESCAPED.sub(_meaning, text) if any(mark.decode() in text for mark in _MARKS) else text
        if decoded == text:
            return
        yield decoded
        text = decoded


def _meaning(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "percent":
            return bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace")
        case "entity":
            return html.unescape(found[0])
        case "same":
            return found["same"]
        case "u" | "U" | "x" as digits:
            code = int(found[digits], 16)
            return chr(code) if code < 0x110000 else ""
        case _:
            return ""


def _folded(text: str) -> bytes:
    if text.isascii():
        return _ascii(text.encode())
    return b"".join(map(_char, text))


def _ascii(raw: bytes) -> bytes:
    return raw.translate(_ALPHABET, _GONE)


@lru_cache(maxsize=8192)
def _char(char: str) -> bytes:
    if char == "\x1b":
        return b"\x1b"
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    seen = "".join(filter(_seen, folded)) or (char if _seen(char) else "")
    return seen.encode("utf-8", "surrogatepass").translate(_ALPHABET, _GONE)


def _seen(char: str) -> bool:
    return unicodedata.category(char) not in _DROPPED and char not in _BLANK


def _hidden(text: str, needles: Collection[_Needle]) -> str:
    if not _touched(text, needles):
        return text
    if len(text) <= LONGEST:
        return _replaced(text, needles)
    lines = text.split("\n")
    shown = "\n".join(_hidden(line, needles) for line in lines) if len(lines) > 1 else text
    return HIDDEN if _touched(shown, [needle for needle in needles if not needle.alone]) else shown


Unit = tuple[str, int, int]
"""A character of a decoded text, and the range of the original that it comes from."""


def _replaced(text: str, needles: Collection[_Needle]) -> str:
    spans: list[tuple[int, int]] = []
    units: list[Unit] = [(char, at, at + 1) for at, char in enumerate(text)]
    for _ in range(ROUNDS + 1):
        spans += _found(text, units, needles)
        decoded = _decoded(units)
        if len(decoded) == len(units) and decoded == units:
            break
        units = decoded
    shown: list[str] = []
    end = 0
    for start, stop in _merged(spans):
        shown += (text[end:start], HIDDEN)
        end = stop
    return "".join((*shown, text[end:]))


def _decoded(units: list[Unit]) -> list[Unit]:
    """Decode once, as `_rounds` does, keeping track of where each character comes from."""
    text = "".join(char for char, _, _ in units)
    made: list[Unit] = []
    at = 0
    for escape in _ESCAPED.finditer(text):
        made += units[at : escape.start()]
        at = escape.end()
        start, stop = units[escape.start()][1], units[at - 1][2]
        made += [(char, start, stop) for char in _meaning(escape)]
    return made + units[at:]


def _found(text: str, units: list[Unit], needles: Collection[_Needle]) -> Iterator[tuple[int, int]]:
    folded = bytearray()
    places: list[tuple[int, int]] = []
    for char, start, stop in units:
        form = _char(char)
        folded += form
        places += [(start, stop)] * len(form)
    for needle in needles:
        at = folded.find(needle.form)
        while at >= 0:
            start, stop = places[at][0], places[at + len(needle.form) - 1][1]
            while stop < len(text) and unicodedata.combining(text[stop]):
                stop += 1
            if not needle.alone or _stands_alone(text, start, stop):
                yield _whole_token(text, start, stop) if needle.coded else (start, stop)
            at = folded.find(needle.form, at + 1)


def _stands_alone(text: str, start: int, stop: int) -> bool:
    return not (text[start - 1 : start].isalnum() or text[stop : stop + 1].isalnum())


def _whole_token(text: str, start: int, stop: int) -> tuple[int, int]:
    while start and _TOKEN.match(text[start - 1]):
        start -= 1
    while stop < len(text) and _TOKEN.match(text[stop]):
        stop += 1
    return start, stop


def _merged(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    last: tuple[int, int] | None = None
    for start, stop in sorted(spans):
        if last is not None and start <= last[1]:
            last = last[0], max(last[1], stop)
            continue
        if last is not None:
            yield last
        last = start, stop
    if last is not None:
        yield last


def _texts(value: object) -> Iterator[str]:
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            stack += one.keys()
            stack += one.values()
        elif isinstance(one, list | tuple):
            stack += one


def _walked(value: Any, needles: Collection[_Needle]) -> Any:
    if isinstance(value, str):
        return _hidden(value, needles)
    if isinstance(value, dict):
        return {_walked(key, needles): _walked(inner, needles) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_walked(inner, needles) for inner in value)
    return value
