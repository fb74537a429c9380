"""The secrets that a hook's table names, one or a list: how they are written, and looked up to send."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
from pydantic_core import PydanticCustomError

from orchestrator.config.secret import Secret, SecretRef, resolve
from orchestrator.errors import HookError, SecretError

FRESH: Final = 60.0
"""Seconds for which a resolved secret is used again."""


def form(value: object) -> str:
    """Tell a list from a single reference, as the tag of a union."""
    return "list" if isinstance(value, list | tuple) else "one"


def at_most(most: int, what: str) -> Callable[[tuple[SecretRef, ...]], tuple[SecretRef, ...]]:
    """Return a validator for a list of 1 to `most` references."""

    # Not as min_length, which is also told where the only item has a fault of its own.
    def checked(references: tuple[SecretRef, ...]) -> tuple[SecretRef, ...]:
        if not 1 <= len(references) <= most:
            raise PydanticCustomError(what, "{text}", {"text": f"expected 1 to {most} {what}"})
        return references

    return checked


class References:
    """What a table names, and the secrets behind it for as long as they are fresh."""

    def __init__(self, given: SecretRef | tuple[SecretRef, ...], root: Path, env: Mapping[str, str]) -> None:
        self.all = given if isinstance(given, tuple) else (given,)
        self._root = root
        self._env = env
        self._lock = anyio.Lock()
        self._secrets: tuple[Secret, ...] = ()
        self._stale_at = 0.0

    async def resolved(self) -> Sequence[Secret]:
        """Return the secrets in the order of the table; raises `SecretError`."""
        async with self._lock:
            if not self._secrets or anyio.current_time() >= self._stale_at:
                self._secrets = tuple([await resolve(one, self._root, self._env) for one in self.all])
                self._stale_at = anyio.current_time() + FRESH
            return self._secrets

    async def to_send(self) -> Sequence[Secret]:
        """Return the secrets; where one is missing, raises the `HookError` of a delivery not sent."""
        try:
            return await self.resolved()
        except SecretError as error:
            raise HookError(f"not sent: {error.message}", hint=error.hint) from error
