"""`orchestrator explain CODE`."""

from dataclasses import dataclass
from typing import Final

import click

from orchestrator.app.documents import Document, Whole
from orchestrator.cli import _exit
from orchestrator.cli._app import App, app
from orchestrator.cli._table import Column
from orchestrator.errors import Code, UnknownName


@dataclass(frozen=True)
class Entry:
    """What an error means, an example of it, and its cure."""

    means: str
    example: str
    cure: str


@dataclass(frozen=True, kw_only=True)
class ErrorDocument(Document):
    """An error's code and its entry."""

    code: Code
    means: str
    example: str
    cure: str


@dataclass(frozen=True, kw_only=True)
class ErrorsDocument(Whole):
    """Every error that was asked for."""

    errors: tuple[ErrorDocument, ...]


ENTRIES: Final = {
    Code.UNKNOWN_KEY: Entry(
        "A table has a key that nothing reads. It is refused rather than ignored, since a slip of the pen "
        "could otherwise buy something else than was meant.",
        '[jobs.voice]\nprovder = "cartesia"',
        "Write the key that the message suggests, or take it out. `orchestrator schema` lists every key, and "
        "lets an editor check them.",
    ),
    Code.MISPLACED_KEY: Entry(
        "The key exists, but in another table.",
        '[jobs.voice]\nprovider = "cartesia"\nlanguage = "en"',
        "Move it to the table that the message names: the provider's own fields belong in [jobs.NAME.spec], "
        "what holds for all jobs in [orchestrator].",
    ),
    Code.MISSING_KEY: Entry(
        "A table lacks a key that it cannot do without.",
        "[jobs.voice]\nspec = {}",
        'Add it; here: provider = "cartesia".',
    ),
    Code.INVALID_VALUE: Entry(
        "A value is not of the kind that its key takes.",
        '[orchestrator]\npoll_interval = "10ms"',
        'The message says what is expected. Times are texts such as "90s", "15m" or "2h30m".',
    ),
    Code.UNKNOWN_NAME: Entry(
        "A job, account, hook or provider is named that is not there.",
        '[jobs.voice]\nprovider = "cartesa"',
        "Write the name as it is declared. `orchestrator status -o name` lists the jobs.",
    ),
    Code.DUPLICATE: Entry(
        "The same table or key is defined twice, in one file or in two. Names that differ only in case count "
        "as the same.",
        '[jobs.voice]\nprovider = "cartesia"\n[jobs.voice]\nprovider = "oxen"',
        "Rename one or take it out. The message names both places.",
    ),
    Code.LITERAL_SECRET: Entry(
        "A secret stands in the file itself, where it would be committed and shown.",
        '[providers.cartesia]\napi_key = "sk-…"',
        'Write where it is: { env = "NAME" }, { file = "PATH" } or { command = ["…"] }. Replace a key that '
        "was committed.",
    ),
    Code.PLACEHOLDER: Entry(
        "A spec holds a word that stands where a value of your own belongs, or the dataset that only the "
        "sandbox has. It is refused before anything is sent; under --sandbox it may stay.",
        '[jobs.voice.spec]\ndataset = "YOUR-DATASET-ID"',
        "Put your own value there, such as the id that the provider shows for your dataset.",
    ),
    Code.NOT_SUPPORTED: Entry(
        "This release does not know the key yet. It is refused by name, never ignored.",
        "[jobs.voice]\nretries = 2",
        "Take it out.",
    ),
    Code.NOT_TOML: Entry(
        "The file is not TOML, or not UTF-8.",
        "[jobs.voice\n",
        "Mend the line that is shown; texts stand in quotes. https://toml.io has the whole grammar.",
    ),
    Code.UNREADABLE_FILE: Entry(
        "The file cannot be read.",
        "orchestrator -f secret.toml plan",
        "Look at its rights; it must be a regular file.",
    ),
    Code.TOO_LARGE: Entry(
        "A file has more bytes, keys or nesting than any set of jobs needs, and would take long to read.",
        "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q = 1",
        "docs/operations.md has the limits. Split a large set into projects of their own.",
    ),
    Code.USAGE: Entry(
        "The command cannot do what it was asked, as things are.",
        "orchestrator resolve narrator-en --abandon, though it is not in doubt",
        "The message says why, and the hint what to type instead.",
    ),
    Code.SETTINGS: Entry(
        "An environment variable, or the place where a job file should be, is not as it must be.",
        "ORCHESTRATOR_POLL_INTERVAL=10ms orchestrator up",
        "`orchestrator config show` says where each setting comes from.",
    ),
    Code.SECRET: Entry(
        "A reference to a secret does not lead to one.",
        'api_key = { env = "CARTESIA_API_KEY" }, and the variable is not set',
        "Set the variable, or mend the file or the command; `orchestrator doctor` tries them all.",
    ),
    Code.DATABASE: Entry(
        "The database cannot be read or written.",
        "a full disk, or a server that does not answer",
        "What is recorded is not lost. Mend what the message names; `orchestrator db check` says whether it "
        "is sound.",
    ),
    Code.DATABASE_SCHEMA: Entry(
        "The database has the tables of another release.",
        "a PostgreSQL database of an earlier release",
        "Older tables: back up, then `orchestrator db upgrade`. Newer ones: use the newer release.",
    ),
    Code.CREDENTIALS: Entry(
        "A provider's credentials are missing or refused. Nothing was sent, and only this account waits.",
        "CARTESIA_API_KEY is not set",
        "Set the variable or mend the reference; the account is tried again by itself.",
    ),
    Code.PROVIDER: Entry(
        "A provider did not answer, or not as its documentation says.",
        "HTTP 503",
        "It is tried again by itself where that is safe. `orchestrator why JOB` says what comes next.",
    ),
    Code.HOOK: Entry(
        "A hook's receiver did not take a delivery.",
        "HTTP 500, or a command that ended with 1",
        "`orchestrator hooks test NAME` tries it, `orchestrator hooks log` shows what it answered.",
    ),
    Code.SYSTEM: Entry(
        "The operating system refused something: a file, a folder, a port, memory.",
        "No space left on device",
        "The message names what; nothing was sent without its record on disk.",
    ),
    Code.FAILED: Entry(
        "Something failed that has no code of its own.", "", "The message says what happened."
    ),
    Code.BUG: Entry(
        "The program met something that no one foresaw.",
        "",
        "ORCHESTRATOR_TRACEBACK=1 shows where it was. Please report it.",
    ),
}


@click.command("explain")
@click.argument("codes", nargs=-1, metavar="[CODE]...")
@app
def command(app: App, *, codes: tuple[str, ...]) -> int:
    """Say what an error means, with an example and its cure; without a CODE list them all."""
    for name in codes:
        if name not in list(Code):
            raise UnknownName(f"no error has the code {name}", name, list(Code), hint="orchestrator explain")
    chosen = [Code(name) for name in codes or list(Code)]
    found = ErrorsDocument(errors=tuple(ErrorDocument(code=code, **vars(ENTRIES[code])) for code in chosen))
    if app.listed(found, found.errors, _code):
        return _exit.DONE
    if codes:
        app.tell("\n\n".join(_text(code, ENTRIES[code]) for code in chosen))
    else:
        app.rows(
            (Column("code"), Column("means", wrap=True)), [(one.code, one.means) for one in found.errors]
        )
    return _exit.DONE


def _code(error: ErrorDocument) -> str:
    return error.code


def _text(code: Code, entry: Entry) -> str:
    example = "".join(f"\n    {each}" for each in entry.example.splitlines())
    return (
        f"{click.style(code, bold=True)}\n{entry.means}\n" + (example and f"{example}\n") + f"\n{entry.cure}"
    )
