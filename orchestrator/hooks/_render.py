"""Renders templates in a separate process with limits, since jinja2's sandbox bounds neither time nor memory.

It gets `{"templates": {…}, "fields": {…}, "most": n}` on standard input and prints `{"texts": {…}}`, or
`{"error": "…"}`. It is started by its path and imports nothing of the package, so it starts quickly.
"""

import json
import resource
import sys
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 2
MEMORY = 512 * 1024 * 1024


def main() -> None:
    """Render the templates given on standard input."""
    _limit()
    order: dict[str, Any] = json.load(sys.stdin)
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, finalize=lambda value: "" if value is None else value
    )
    made.globals.clear()
    answer: dict[str, Any]
    try:
        texts = {}
        for name, source in order["templates"].items():
            texts[name] = _cut(made.from_string(source).generate(order["fields"]), order["most"])
        answer = {"texts": texts}
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        answer = {"error": (str(error).splitlines() or [type(error).__name__])[0][:500]}
    except MemoryError:
        answer = {"error": "it takes too much memory"}
    json.dump(answer, sys.stdout)


def _cut(parts: Any, most: int) -> str:
    text = ""
    for part in parts:
        text += part
        if len(text) > most:
            break
    return text[:most]


def _limit() -> None:
    for what, most in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (soft, hard))


if __name__ == "__main__":
    main()
