"""What is installed, as the job files' grammar."""

from orchestrator.config.manifest import Kinds, ProviderKind
from orchestrator.hooks.registry import registry as hook_registry
from orchestrator.providers.registry import registry as provider_registry


def kinds() -> Kinds:
    """Return the grammar of every provider and hook that is installed."""
    return Kinds(
        providers={
            name: ProviderKind(options=kind.Options, spec=kind.Spec)
            for name, kind in provider_registry().items()
        },
        hooks={name: kind.Options for name, kind in hook_registry().items()},
    )
