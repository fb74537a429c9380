"""The fault switchboard: which request is to be spoilt, and how; `FAULTS` lists every kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.sandbox.badbodies import BODY_FAULTS
from orchestrator.sandbox.badlines import LINE_FAULTS
from orchestrator.sandbox.badstate import STATE_FAULTS
from orchestrator.sandbox.fault import EVERYWHERE, Fault, operation_class
from orchestrator.sandbox.wire import Call, Fields, Refusal

_REFUSE = Fault(
    "every new connection is closed at once, whoever asks; needs times", EVERYWHERE, applied=False
)

FAULTS: Mapping[str, Fault] = {"refuse": _REFUSE, **LINE_FAULTS, **BODY_FAULTS, **STATE_FAULTS}
"""Every kind of fault by its name: `text` says what it does, `on` where, `applied` whether it counts."""


@dataclass(kw_only=True, slots=True)
class Rule:
    """One order to spoil requests; `times` None holds until it is cleared."""

    id: int
    kind: str
    provider: str | None = None
    operation: str | None = None
    path: str | None = None
    times: int | None = 1
    after: int = 0
    applied: bool | None = None
    options: Fields = field(default_factory=dict)
    seen: int = 0
    played: int = 0

    @property
    def fault(self) -> Fault:
        """The fault to play."""
        return FAULTS[self.kind]

    def applies(self) -> bool:
        """Tell whether the spoilt request is applied."""
        return self.fault.applied if self.applied is None else self.applied

    def show(self) -> Fields:
        """Give the rule as JSON."""
        named = {"id": self.id, "kind": self.kind, "provider": self.provider, "operation": self.operation}
        counts = {"times": self.times, "after": self.after, "seen": self.seen, "played": self.played}
        return {**named, "path": self.path, **counts, "applied": self.applies(), **self.options}


class Switchboard:
    """The rules in force, oldest first; the first that matches is played."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._next = 1

    def add(self, order: Fields) -> Rule:
        """Take one rule as a client writes it, or refuse."""
        rule = _read(order, self._next)
        self._next += 1
        self.rules.append(rule)
        return rule

    def clear(self, rule_id: int | None = None) -> None:
        """Drop one rule, or all."""
        self.rules = [rule for rule in self.rules if rule_id is not None and rule.id != rule_id]

    def take(self, call: Call, *, early: bool = False) -> Rule | None:
        """Give the rule to play on this request, and count it; `early` ones come before its body is read."""
        fits = (rule for rule in self.rules if rule.fault.early is early and _matches(rule, call))
        return next(filter(_due, fits), None)

    def refuses(self) -> bool:
        """Tell whether to close a new connection, and count it."""
        return any(rule.kind == "refuse" and _due(rule) for rule in self.rules)


def _matches(rule: Rule, call: Call) -> bool:
    if rule.kind == "refuse" or rule.provider not in (None, call.provider):
        return False
    if rule.path is not None and rule.path not in call.path:
        return False
    if rule.operation is not None:
        return rule.operation == call.operation
    return operation_class(call.operation) in rule.fault.on


def _due(rule: Rule) -> bool:
    if rule.times is not None and rule.played >= rule.times:
        return False
    rule.seen += 1
    if rule.seen <= rule.after:
        return False
    rule.played += 1
    return True


_KEYS: Mapping[str, tuple[type, ...]] = {
    "provider": (str, type(None)),
    "operation": (str, type(None)),
    "path": (str, type(None)),
    "times": (int, type(None)),
    "after": (int,),
    "applied": (bool, type(None)),
}


def _read(order: Fields, rule_id: int) -> Rule:
    kind = order.get("kind")
    fault = FAULTS.get(kind) if isinstance(kind, str) else None
    if not isinstance(kind, str) or fault is None:
        raise Refusal(400, f"unknown kind {kind!r}; known are {', '.join(FAULTS)}")
    options: Fields = {}
    known: dict[str, Any] = {}
    for key, value in order.items():
        if key in _KEYS and isinstance(value, _KEYS[key]):
            known[key] = value
        elif key in fault.options:
            options[key] = value
        elif key != "kind":
            raise Refusal(400, f"{key}: not an option of {kind}, or of the wrong type")
    operation = known.get("operation")
    if operation is not None and operation_class(operation) not in fault.on:
        raise Refusal(400, f"{kind} does not apply to {operation}, only to {', '.join(sorted(fault.on))}")
    if kind == "refuse" and known.get("times", 1) is None:
        raise Refusal(400, "refuse needs times, since nothing could clear it")
    return Rule(id=rule_id, kind=kind, options={**fault.options, **options}, **known)
