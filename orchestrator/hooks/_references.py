"""The secrets that a hook's table refers to, one or a list: their types, and looking them up."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
from pydantic_core import PydanticCustomError

from orchestrator.config.secret import Secret, SecretRef, resolve
from orchestrator.errors import HookError, SecretError

FRESH: Final = 60.0
"""Seconds for which a resolved secret is reused."""


def form(value: object) -> str:
    """Return the tag of a union: "list" or "one"."""
    return "list" if isinstance(value, list | tuple) else "one"


def at_most(most: int, what: str) -> Callable[[tuple[SecretRef, ...]], tuple[SecretRef, ...]]:
    """Return a validator for a list of 1 to `most` references."""

    # Not min_length, which would also be reported when the only item has a fault of its own.
    def checked(references: tuple[SecretRef, ...]) -> tuple[SecretRef, ...]:
        if not 1 <= len(references) <= most:
            raise PydanticCustomError(what, "{text}", {"text": f"expected 1 to {most} {what}"})
        return references

    return checked


class References:
    """The references of a table, and their secrets while they are fresh."""

    def __init__(self, given: SecretRef | tuple[SecretRef, ...], root: Path, env: Mapping[str, str]) -> None:
        self.all = given if isinstance(given, tuple) else (given,)
        self._root = root
        self._env = env
        self._lock = anyio.Lock()
        self._secrets: tuple[Secret, ...] = ()
        self._stale_at = 0.0

    async def resolved(self) -> Sequence[Secret]:
        """Return the secrets in the table's order; raises `SecretError`."""
        async with self._lock:
            if not self._secrets or anyio.current_time() >= self._stale_at:
                self._secrets = tuple([await resolve(one, self._root, self._env) for one in self.all])
                self._stale_at = anyio.current_time() + FRESH
            return self._secrets

    async def to_send(self) -> Sequence[Secret]:
        """Return the secrets; raises the `HookError` of an unsent delivery if one is missing."""
        try:
            return await self.resolved()
        except SecretError as error:
            raise HookError(f"not sent: {error.message}", hint=error.hint) from error
