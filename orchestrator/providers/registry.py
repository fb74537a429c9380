"""Which providers are installed, and how an account's provider is opened."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Final

from orchestrator.config.manifest import AccountOptions
from orchestrator.config.secret import Secret
from orchestrator.errors import Denied
from orchestrator.providers._http import DEADLINE, UPLOAD_DEADLINE, Http
from orchestrator.providers._limit import Limiter
from orchestrator.providers.base import Provider, SecretResolver

GROUP: Final = "orchestrator.providers"
PER_SECOND: Final = 5.0
"""The default of `requests_per_second`."""


@cache
def registry() -> Mapping[str, type[Provider]]:
    """Return every installed provider kind by name."""
    return {point.name: point.load() for point in sorted(entry_points(group=GROUP), key=lambda p: p.name)}


async def open_provider(
    kind: type[Provider],
    options: AccountOptions,
    secrets: SecretResolver,
    *,
    deadline: float = DEADLINE,
    upload_deadline: float = UPLOAD_DEADLINE,
) -> Provider:
    """Resolve an account's credentials and open its provider, which the caller closes.

    Raises `Denied` if a credential is missing, does not resolve, or cannot be sent in a header.
    """
    given = {key: value for key in kind.credentials if (value := getattr(options, key)) is not None}
    found = {
        key: Secret(value) if isinstance(value, str) else await secrets.resolve(value)
        for key, value in given.items()
    }
    try:
        auth = kind.auth(options, found)
    except Denied:  # fall back on the environment for what the table leaves out
        found = {
            key: Secret(value)
            for key, names in kind.credentials.items()
            if (value := next(filter(None, map(secrets.env.get, names)), None))
        } | found
        auth = kind.auth(options, found)
    http = Http(
        options.base_url or kind.base_url,
        auth,
        Limiter(options.requests_per_second or PER_SECOND),
        headers=kind.headers,
        refusals=kind.refusals,
        deadline=deadline,
        upload_deadline=upload_deadline,
    )
    return kind(http, options, secrets)
