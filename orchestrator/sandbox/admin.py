"""The sandbox's own address, `/_sandbox/...`: ledger, faults, time, and hands on the providers' state."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.sandbox.app import PROVIDERS, Sandbox
from orchestrator.sandbox.check import Field, check_object, read_query, text, whole
from orchestrator.sandbox.desk import KEPT_REQUESTS
from orchestrator.sandbox.faults import FAULTS
from orchestrator.sandbox.provider import Provider
from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Call, Fields, Refusal, Reply

Act = Callable[[Sandbox, Call], Any]


def answer(sandbox: Sandbox, call: Call) -> Reply:
    """Answer one request to `/_sandbox/...`; a refusal is `{"error": ...}`."""
    act = _ACTS.get((call.method, call.path))
    try:
        if act is None:
            raise Refusal(404, f"no such address: {call.method} /_sandbox{call.path}")
        return Reply(document=act(sandbox, call))
    except Refusal as refusal:
        return Reply(status=refusal.status, document={"error": refusal.reason})


def _health(sandbox: Sandbox, _: Call) -> Fields:
    return {"ok": True, "now": sandbox.desk.clock.now()}


def _ledger(sandbox: Sandbox, call: Call) -> Fields:
    # The newest `limit` requests, or with `after` (a seq) the oldest ones behind it; the rest is never cut.
    query = read_query(
        call, {"provider": text, "limit": whole(0, KEPT_REQUESTS), "after": whole(0, 999_999_999)}
    )
    desk, limit, after = sandbox.desk, query.get("limit", 1000), query.get("after", 0)
    wanted = [query["provider"]] if "provider" in query else [provider.name for provider in PROVIDERS]
    rows = [row for row in desk.requests if row["seq"] > after and row["provider"] in wanted]
    shown = rows[:limit] if "after" in query else rows[len(rows) - min(limit, len(rows)) :]
    return {
        "requests": shown,
        "created": {name: desk.created.get(name, []) for name in wanted},
        "paid": {name: desk.paid.get(name, []) for name in wanted},
        "counts": {name: dict(desk.counts.get(name, {})) for name in wanted},
    }


def _faults(sandbox: Sandbox, _: Call) -> Fields:
    kinds = {
        name: {
            "text": fault.text,
            "on": sorted(fault.on),
            "applied": fault.applied,
            "options": dict(fault.options),
        }
        for name, fault in FAULTS.items()
    }
    return {"rules": [rule.show() for rule in sandbox.switchboard.rules], "kinds": kinds}


def _add_faults(sandbox: Sandbox, call: Call) -> Fields:
    try:
        value = json.loads(call.body)
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error
    orders = value if isinstance(value, list) else [value]
    if not all(isinstance(order, dict) for order in orders):
        raise Refusal(400, "the body must be one rule or a list of rules")
    return {"rules": [sandbox.switchboard.add(order).show() for order in orders]}


def _clear_faults(sandbox: Sandbox, call: Call) -> Fields:
    query = read_query(call, {"id": whole(1, 999_999_999)})
    sandbox.switchboard.clear(query.get("id"))
    return {"rules": [rule.show() for rule in sandbox.switchboard.rules]}


def _advance(sandbox: Sandbox, call: Call) -> Fields:
    fields = call.document()
    check_object(fields, {"seconds": Field(kind="number", required=True, low=0, high=1e10)})
    sandbox.desk.clock.advance(fields["seconds"])
    sandbox.desk.enter({})
    return {"now": sandbox.desk.clock.now()}


_SEED = {
    "provider": Field(required=True, choices=tuple(provider.name for provider in PROVIDERS)),
    "count": Field(kind="integer", low=1, high=1_000_000),
    "account": Field(),
    "status": Field(),
}


def _seed(sandbox: Sandbox, call: Call) -> Fields:
    fields = call.document()
    check_object(fields, _SEED, closed=False)  # any other field goes into the object
    given = {key: value for key, value in fields.items() if key not in _SEED}
    provider, desk = _provider(fields["provider"]), sandbox.desk
    standard = "sandbox/sandbox" if provider.name == "oxen" else "default"
    source = Call(
        provider=provider.name,
        method="POST",
        path="",
        query=[],
        headers=(),
        body=b"",
        account=fields.get("account", standard),
    )
    items = [provider.seed(desk, source, dict(given)) for _ in range(fields.get("count", 1))]
    for item in items:
        _force(sandbox, item, fields.get("status"))
    desk.unmention()
    desk.enter({})
    return {"ids": [item.id for item in items]}


def _force(sandbox: Sandbox, item: Item, status: str | None) -> None:
    if status is not None:
        item.forced, item.forced_at = status, sandbox.desk.clock.now()
        sandbox.desk.put(item)


def _set(sandbox: Sandbox, call: Call) -> Fields:
    fields = call.document()
    check_object(fields, {name: Field(required=True) for name in ("provider", "id", "status")})
    _force(sandbox, _find(sandbox, fields), fields["status"])
    sandbox.desk.enter({})
    return {"id": fields["id"], "status": fields["status"]}


def _remove(sandbox: Sandbox, call: Call) -> Fields:
    fields = call.document()
    check_object(fields, {name: Field(required=True) for name in ("provider", "id")})
    sandbox.desk.remove(_find(sandbox, fields))
    sandbox.desk.enter({})
    return {"id": fields["id"]}


def _provider(name: str) -> Provider:
    return next(provider for provider in PROVIDERS if provider.name == name)


def _find(sandbox: Sandbox, fields: Fields) -> Item:
    for _, shelf in sandbox.desk.shelves(fields["provider"]):
        item = shelf.find(fields["id"], float("inf"))
        if item is not None:
            return item
    raise Refusal(404, f"{fields['provider']} has no {fields['id']}")


_ACTS: Mapping[tuple[str, str], Act] = {
    ("GET", "/health"): _health,
    ("GET", "/ledger"): _ledger,
    ("GET", "/faults"): _faults,
    ("POST", "/faults"): _add_faults,
    ("DELETE", "/faults"): _clear_faults,
    ("POST", "/advance"): _advance,
    ("POST", "/seed"): _seed,
    ("POST", "/set"): _set,
    ("POST", "/remove"): _remove,
}
