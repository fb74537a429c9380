"""What can be chosen about a sandbox when it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How the emulated providers behave; each field is a flag of `python -m orchestrator.sandbox`."""

    stage_seconds: float = 2.0  # how long a job rests in each status; 0 = final at once
    clock: str = "wall"  # wall | manual (time moves only by POST /_sandbox/advance)
    latency_ms: float = 0.0  # every provider's answer waits this long, in real time
    cartesia_page: int = 10  # items on a list page when the client names no size
    cartesia_order: str = "newest"  # newest | oldest first in Cartesia's lists
    oxen_page: int = 10
    oxen_resource: str = "string"  # string | object: the two documented shapes of a full job's `resource`
    cloudflare_repeat: str = "refuse"  # refuse | accept a file that a finetune has already
    cohere_page: int = 50

    def __post_init__(self) -> None:
        choices = {
            "clock": ("wall", "manual"),
            "cartesia_order": ("newest", "oldest"),
            "oxen_resource": ("string", "object"),
            "cloudflare_repeat": ("refuse", "accept"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}")
        for name, limit in PAGE_LIMITS.items():
            if not 1 <= getattr(self, name) <= limit:
                raise ValueError(f"{name} must be 1 to {limit}")
        if self.stage_seconds < 0 or self.latency_ms < 0:
            raise ValueError("a duration must not be negative")


PAGE_LIMITS: Mapping[str, int] = {"cartesia_page": 100, "oxen_page": 100, "cohere_page": 100}


def to_flags(options: Options) -> list[str]:
    """Spell `options` as command-line flags for a child process."""
    return [f"--{field.name.replace('_', '-')}={getattr(options, field.name)}" for field in fields(options)]
