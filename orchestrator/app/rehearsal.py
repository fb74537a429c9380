"""What `--sandbox` does: the emulated providers, in a process of their own, under every account."""

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from itertools import chain
from pathlib import Path

from orchestrator.config.manifest import Manifest
from orchestrator.config.secret import Dummies
from orchestrator.errors import SettingsError
from orchestrator.providers.registry import registry
from orchestrator.sandbox import Options, start
from orchestrator.store.file import refuse_links

PATHS = {
    "cartesia": "cartesia",
    "oxen": "oxen",
    "cloudflare": "cloudflare/client/v4",
    "cohere": "cohere",
}
DUMMY = "sandbox:a-dummy-credential"
"""The part before the colon is the account, to the emulation; a plain word would be hidden in every text."""
POLL = timedelta(seconds=1)
STAGE_SECONDS = "ORCHESTRATOR_SANDBOX_STAGE_SECONDS"
_HERE = re.compile(r"http://127\.0\.0\.1:([0-9]{1,5})")
"""All that the address file may hold, or whoever can commit files could send our requests anywhere."""


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Give the address of this folder's sandbox: the one that another command runs, or a new one."""
    state, address = folder / "sandbox.jsonl", folder / "sandbox.url"
    for path in (state, address):
        refuse_links(path)
    try:
        options = Options(stage_seconds=float(os.environ.get(STAGE_SECONDS, "2")))
    except ValueError as error:
        raise SettingsError(f"{STAGE_SECONDS}: expected a number of seconds, 0 or more") from error
    other = _other(address)
    if other is not None:
        yield other
        return
    try:
        child = start(state, options)
    except OSError as error:
        raise SettingsError(f"the sandbox did not start: {error}") from error
    try:
        address.write_text(child.url)
        yield child.url
    finally:
        address.unlink(missing_ok=True)
        child.stop()


def _other(address: Path) -> str | None:
    try:
        url = address.read_text().strip()
        here = _HERE.fullmatch(url)
        if here is None:
            return None
        connection = HTTPConnection("127.0.0.1", int(here[1]), timeout=5)
        with closing(connection):
            connection.request("GET", "/_sandbox/health")
            return url if connection.getresponse().status == HTTPStatus.OK else None
    except (OSError, UnicodeDecodeError, HTTPException):
        return None


def under(manifest: Manifest, url: str) -> tuple[Manifest, Dummies]:
    """Put the sandbox under every account; returns an environment of dummies beside it.

    No credential's reference is left, and whatever else is looked up there is a dummy too: no secret of
    the files is read, and none of their commands run for one.
    """
    kinds = registry()
    accounts = {}
    env = Dummies()
    for name, options in manifest.accounts.items():
        kind = kinds[options.kind]
        if options.kind not in PATHS:
            raise SettingsError(f"{name}: the sandbox has no provider of kind {options.kind}")
        none = dict.fromkeys(kind.credentials)
        # A sandbox is there to try things in: nobody wants to wait for half a minute.
        interval = min(manifest.poll_interval(name), POLL)
        changed = {**none, "base_url": f"{url}/{PATHS[options.kind]}", "poll_interval": interval}
        accounts[name] = options.model_copy(update=changed)
        env |= dict.fromkeys(chain.from_iterable(kind.credentials.values()), DUMMY)
    return replace(manifest, accounts=accounts), env
