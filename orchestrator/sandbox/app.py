"""From a request to its answer: route, spoil if told so, apply, enter in the ledger, answer."""

import asyncio
import json
from collections.abc import Sequence

from orchestrator.sandbox.cartesia import CARTESIA
from orchestrator.sandbox.check import no_body
from orchestrator.sandbox.cloudflare import CLOUDFLARE
from orchestrator.sandbox.cohere import COHERE
from orchestrator.sandbox.desk import Desk
from orchestrator.sandbox.fault import Answer, Fault
from orchestrator.sandbox.faults import Rule, Switchboard
from orchestrator.sandbox.oxen import OXEN
from orchestrator.sandbox.provider import Provider, Route
from orchestrator.sandbox.wire import Call, Fields, Refusal, Reply

PROVIDERS: Sequence[Provider] = (CARTESIA, OXEN, CLOUDFLARE, COHERE)


class Sandbox:
    """The four providers over one desk and one switchboard."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.switchboard = desk, Switchboard()

    def provider(self, path: str) -> Provider | None:
        """Find whose address this is."""
        return next((one for one in PROVIDERS if path.startswith(f"{one.prefix}/")), None)

    def cut(self, provider: Provider, call: Call) -> Rule | None:
        """Give the rule that ends a request of which only the head was read, and enter it."""
        route = provider.route(call)
        rule = self.switchboard.take(call, early=True)
        if rule is not None:
            self._settle(provider, route, call, rule)
        return rule

    async def answer(self, provider: Provider, call: Call) -> tuple[Answer, Rule | None]:
        """Answer a request; a rule that comes with it has a script to play in place of plain HTTP."""
        route = provider.route(call)
        rule = self.switchboard.take(call)
        answer = self._settle(provider, route, call, rule)
        if self.desk.options.latency_ms:
            await asyncio.sleep(self.desk.options.latency_ms / 1000)
        return answer, rule if rule is not None and rule.fault.script is not None else None

    # No await from here on: what a request changes and its line in the ledger are one step.
    def _settle(self, provider: Provider, route: Route | Refusal, call: Call, rule: Rule | None) -> Answer:
        entry = _describe(call)
        reply, outcome, reason = Reply(document={}), "faulted", None
        if rule is None or rule.applies():
            reply, reason = self._apply(provider, route, call, rule)
            outcome = "refused" if reason is not None else "accepted" if rule is None else "faulted"
        answer = Answer(status=reply.status, body=reply.body(), headers=_headers(reply))
        if rule is not None:
            answer = _spoil(answer, rule, call, provider)
            entry.update(fault=rule.kind, applied=rule.applies())
        status = None if rule is not None and rule.fault.script is not None else answer.status
        entry.update(account=call.account, operation=call.operation, status=status, outcome=outcome)
        self.desk.enter({**entry, "reason": reason} if reason is not None else entry)
        return answer

    def _apply(
        self, provider: Provider, route: Route | Refusal, call: Call, rule: Rule | None
    ) -> tuple[Reply, str | None]:
        try:
            call.account = provider.admit(call)
            if isinstance(route, Refusal):
                raise route
            if call.method in ("GET", "DELETE"):
                no_body(call)
            if rule is not None:
                return self._apply_spoilt(route, call, rule), None
            return route.handler(self.desk, call), None
        except Refusal as refusal:
            return provider.complain(refusal), refusal.reason

    def _apply_spoilt(self, route: Route, call: Call, rule: Rule) -> Reply:
        if rule.fault.tune is not None:
            rule.fault.tune(call, rule.options)
        if rule.fault.doubled:
            route.handler(self.desk, call)
            if call.operation == "run":  # else the second one would be refused
                self.desk.find(call, call.args["id"]).started = None
        reply = route.handler(self.desk, call)
        if rule.fault.veil is not None:
            for item in self.desk.fresh():
                rule.fault.veil(item, self.desk.clock.now(), rule.options)
                self.desk.put(item)
        return reply


def _spoil(answer: Answer, rule: Rule, call: Call, provider: Provider) -> Answer:
    fault: Fault = rule.fault
    if fault.reshape is not None and answer.status < 300:
        document = json.loads(answer.body)
        fault.reshape(document, call, provider.limit(call))
        answer = Answer(status=answer.status, body=json.dumps(document).encode(), headers=answer.headers)
    return fault.spoil(answer, rule.options, call) if fault.spoil is not None else answer


def _headers(reply: Reply) -> tuple[tuple[str, str], ...]:
    return reply.headers if reply.empty else (("content-type", "application/json"), *reply.headers)


def _describe(call: Call) -> Fields:
    return {
        "provider": call.provider,
        "method": call.method,
        "path": call.path,
        "query": [list(pair) for pair in call.query],
        "auth": any(call.header(name) for name in ("authorization", "x-auth-key")),
        "body": call.summary(),
    }
