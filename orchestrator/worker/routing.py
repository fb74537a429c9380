"""Whom events go to, by the job files."""

from orchestrator.config.manifest import Manifest
from orchestrator.store.commit import Routing


def routing(manifest: Manifest) -> Routing:
    """Say whom events go to, by these files."""
    return Routing(hooks=manifest.routes(), account_hooks=manifest.settings.hooks)
