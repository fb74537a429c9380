"""The shape of an emulated provider: a table of routes and how it admits, complains and shows a job."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Call, Fields, Refusal, Reply

Handler = Callable[[Desk, Call], Reply]


class Route:
    """One operation: `{name}` in the path stands for one segment, `{name*}` for the rest."""

    def __init__(self, method: str, path: str, operation: str, handler: Handler) -> None:
        self.method, self.operation, self.handler = method, operation, handler
        pattern = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", path)
        self._pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern))

    def match(self, path: str) -> dict[str, str] | None:
        """Give the path's arguments, or None."""
        found = self._pattern.fullmatch(path)
        return found.groupdict() if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """One emulated API under `prefix`."""

    name: str
    prefix: str
    routes: tuple[Route, ...]
    admit: Callable[[Call], str]  # checks the headers, gives the account
    complain: Callable[[Refusal], Reply]  # the provider's documented error form
    seed: Callable[[Desk, Call, Fields], Item]  # a job made without a request, for tests and benchmarks
    limit: Callable[[Call], int]  # how long a list page would be, for faults that invent pages

    def route(self, call: Call) -> Route | Refusal:
        """Find the operation and set it and its arguments on `call`."""
        allowed = False
        for route in self.routes:
            args = route.match(call.path)
            if args is not None and route.method == call.method:
                call.operation, call.args = route.operation, args
                return route
            allowed = allowed or args is not None
        if allowed:
            return Refusal(405, f"{call.method} is not allowed on {call.path}", "method_not_allowed")
        return Refusal(404, f"no such address: {call.path}", "not_found")
