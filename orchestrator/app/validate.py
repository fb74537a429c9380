"""What can be checked of the job files on this machine, with no secret and no provider."""

from orchestrator.config.manifest import Manifest
from orchestrator.config.problems import placed
from orchestrator.errors import ManifestError
from orchestrator.hooks.registry import registry


def require_hooks(manifest: Manifest) -> None:
    """Raise `ManifestError` with all that keeps the hooks from working here, as far as no secret tells."""
    found = [
        (manifest.origins["hooks", name], ("hooks", name, key), message)
        for name, options in manifest.hooks.items()
        for key, message in registry()[options.kind](options, manifest.folder("hooks", name))
        .problems()
        .items()
    ]
    problems = [problem for one in found for problem in placed(*one)]
    if problems:
        raise ManifestError(problems)
