"""The command line: `--help` and completion load nothing heavy, each command is loaded when it is called."""

import errno
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from click.shell_completion import CompletionItem

from orchestrator import __version__
from orchestrator.cli import _exit
from orchestrator.cli._errors import Bug, SystemFailure, misuse, tell
from orchestrator.cli._names import stand_in
from orchestrator.cli._options import Form, common, form_of
from orchestrator.errors import OrchestratorError, near
from orchestrator.signals import end_at_once

COMMANDS = {
    "demo": "See everything work in one minute, with no account.",
    "init": "Write a starter jobs.toml and its schema.",
    "validate": "Check the job files, offline.",
    "plan": "Show what would change, and why.",
    "apply": "Show the plan, ask, record it, submit.",
    "up": "Run the daemon: buy what the files declare, poll, fire hooks.",
    "status": "Show the state of each job.",
    "show": "Show everything known about one job.",
    "why": "Explain a job's state, and what happens next.",
    "events": "List what happened, oldest first.",
    "watch": "Follow the jobs as they change.",
    "wait": "Wait until jobs are done.",
    "cancel": "Ask the provider to stop a job's run.",
    "retry": "Buy another attempt of a job that failed.",
    "import": "Bind a job to an existing fine-tune.",
    "resolve": "Decide what to do about a run whose answer was lost.",
    "audit": "List what each account holds that belongs to no job.",
    "providers": "Show what each provider can do, and the state of each account.",
    "doctor": "Check whether everything works here.",
    "hooks": "Test hooks, see deliveries, make a secret.",
    "db": "Upgrade, check or back up the database.",
    "sandbox": "Serve the emulated providers.",
    "explain": "Say what an error means, with an example and its cure.",
    "schema": "Print the job file's JSON Schema.",
    "config": "Show the settings in force.",
    "completion": "Print a shell's completion script.",
    "version": "Print the version.",
}
"""Every command and its line of help; the module of the same name holds it, as `command`."""

MODULES = {"import": "import_"}
OS_HINTS = {
    errno.ENOSPC: "free some space; what is recorded is not lost",
    errno.EDQUOT: "free some space; what is recorded is not lost",
    errno.EROFS: "make it writable for this user, or set another place with ORCHESTRATOR_DATABASE",
    errno.EACCES: "make it writable for this user, or set another place with ORCHESTRATOR_DATABASE",
}


@contextmanager
def _hidden(library: str) -> Iterator[None]:
    """Keep structlog from loading rich for tracebacks that nobody sees; `_screen` does where it draws."""
    if library in sys.modules:
        yield
        return
    sys.modules[library] = None  # type: ignore[assignment]  # which is how Python refuses to import it
    try:
        yield
    finally:
        del sys.modules[library]


class Commands(click.Group):
    """The commands of `COMMANDS`, loaded one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name them in the order in which a new user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "up":
            end_at_once(0)  # a daemon that has begun nothing has drained
        with _hidden("rich"):
            module = importlib.import_module(f"orchestrator.cli.{MODULES.get(cmd_name, cmd_name)}")
        if not gc.isenabled():
            gc.freeze()  # what is loaded now stays, and need not be looked at again
            gc.enable()
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name from the table, without loading any."""
        names = [
            CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant; completing a name loads none."""
        if ctx.resilient_parsing and args and (found := stand_in(args, self._load)) is not None:
            return found
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            meant = near(args[0], COMMANDS)
            ctx.fail(f'no such command "{args[0]}"' + (f", {meant}" if meant else ""))
        return super().resolve_command(ctx, args)

    def _load(self, words: Sequence[str]) -> click.Command | None:
        """Load the command of these words."""
        command: click.Command | None = self
        for word in words:
            if not isinstance(command, click.Group):
                return None
            command = command.get_command(click.Context(command), word)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them from the table, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="orchestrator %(version)s")
@common
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """Declare hosted fine-tunes in jobs.toml; never buy one twice, never lose one, always be told.

    \b
    orchestrator demo      see it work, with no account
    orchestrator init      write a starter jobs.toml
    """
    ctx.obj = given


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of the codes of `_exit`."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on it is caught
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(args=arguments, prog_name="orchestrator", standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = _exit.MISUSE
    except click.ClickException as error:
        code = tell(misuse(error), form_of(given))
    except SystemExit:
        code = _exit.DONE  # click ends so, with 1, only where whoever read our output has seen enough
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("\n")
        code = _exit.INTERRUPTED
    except OrchestratorError as error:
        code = tell(error, form_of(given))
    except Exception as error:  # noqa: BLE001 - the last edge: a person gets a sentence, never a traceback
        code = _broken(error, form_of(given))
    sys.exit(code if isinstance(code, int) else _exit.DONE)


def _broken(error: Exception, form: Form) -> int:
    while isinstance(error, BaseExceptionGroup) and isinstance(error.exceptions[0], Exception):
        error = error.exceptions[0]
    if isinstance(error, OrchestratorError):
        return tell(error, form)
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough; Python must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _exit.DONE
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        hint = OS_HINTS.get(error.errno or 0)
        return tell(SystemFailure(f"{error.strerror or error}{where}", hint=hint), form)
    shown = os.environ.get("ORCHESTRATOR_TRACEBACK")
    message = f"this is a bug: {type(error).__name__}: {error}"
    if shown:
        message += "\n" + "".join(traceback.format_exception(error)).rstrip()
    hint = None if shown else "ORCHESTRATOR_TRACEBACK=1 shows where; please report it"
    return tell(Bug(message, hint=hint), form)


__all__ = ["COMMANDS", "cli", "main"]
