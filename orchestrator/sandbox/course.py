"""The words a job passes through, computed from its times whenever it is read: there are no timers."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.sandbox.shelf import Item
from orchestrator.sandbox.wire import Fields

# Words a client may put into any text it sends to choose how the training goes.
OMENS: Mapping[str, str] = {
    "fail-me": "the training ends in the provider's word for failure",
    "stuck-me": "the training never ends",
    "odd-me": "the job passes through a status no client knows",
}
ODD_WORD = "simmering"


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """A provider's status words in order: at work (the last of them is training), done, failed."""

    work: tuple[str, ...]
    done: tuple[str, ...]
    failed: str

    def history(self, item: Item, now: float, stage_seconds: float) -> list[tuple[str, float]]:
        """List the words passed so far with their times, the present one last."""
        if item.started is None:
            return [(item.forced or "created", item.created)]
        words = [*self.work]
        if "odd-me" in item.omens:
            words.append(ODD_WORD)
        if "stuck-me" not in item.omens:
            words.extend((self.failed,) if "fail-me" in item.omens else self.done)
        past = [(word, item.started + nr * stage_seconds) for nr, word in enumerate(words)]
        until = min(now, item.forced_at) if item.forced is not None else now
        seen = [entry for entry in past if entry[1] <= until] or past[:1]
        return [*seen, (item.forced, item.forced_at)] if item.forced is not None else seen


def omens_in(fields: Fields) -> tuple[str, ...]:
    """Find the words of fate in any text of a request."""
    words = str(fields)
    return tuple(omen for omen in OMENS if omen in words)
