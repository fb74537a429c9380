"""Every installed driver at an address where no provider answers: nothing was sent, and it can prove that."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import certifi
import pytest

from orchestrator.errors import NotSent, ProviderError, Transient, Unclear
from orchestrator.net.tls import trust
from orchestrator.providers.base import Provider, SecretResolver
from orchestrator.providers.registry import open_provider, registry

from .destinations import SAYS, certificates, leading
from .drivers import CASES, KEY, KINDS, Bench

Call = Callable[[], Awaitable[object]]
STEPS: Mapping[str, str] = {"oxen": "run", "cloudflare": "adapter_config.json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of certificates, those of which are trusted that shall be."""
    made = tmp_path_factory.mktemp("tls")
    trusted = certificates(made)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(certifi, "where", lambda: str(trusted))
        trust.cache_clear()
        yield made
    trust.cache_clear()


@asynccontextmanager
async def at(kind: str, url: str, folder: Path, *, deadline: float = 5.0) -> AsyncIterator[Provider]:
    """Open a driver whose provider is said to be at `url`."""
    cls, case = registry()[kind], CASES[kind]
    table = {"kind": kind, "base_url": url, "requests_per_second": 10_000.0, **case.options}
    table["allow_insecure"] = True  # some are names of no host at all
    if case.place:
        table[case.place] = "place"
    variable, *_ = cls.credentials.get("api_token", cls.credentials["api_key"])
    secrets = SecretResolver(root=folder, env={variable: KEY})
    provider = await open_provider(
        cls, cls.Options.model_validate(table), secrets, deadline=deadline, upload_deadline=deadline
    )
    try:
        yield provider
    finally:
        await provider.close()


def calls(kind: str, provider: Provider, folder: Path) -> Mapping[str, Call]:
    """Return one call of each class that the driver has."""
    bench = Bench(kind, "http://127.0.0.1", "away", folder, provider)
    run = bench.run("away", remote_id="ft-1")
    bench._admin.close()  # no sandbox has a part in this
    made: dict[str, Call] = {"create": partial(bench.create, run), "list": provider.list}
    if provider.can("get"):
        made["get"] = partial(provider.get, "ft-1")
    if kind in STEPS:
        made["step"] = partial(provider.step, STEPS[kind], run)
    return made


async def failed(call: Call) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await call()
    assert KEY not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", SAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_never_left_is_known_not_to_have(
    kind: str, name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = 0.4 if SAYS[name] == "ConnectTimeout" else 5.0
    async with (
        leading(name, folder, monkeypatch) as url,
        at(kind, url, tmp_path, deadline=deadline) as provider,
    ):
        for call in calls(kind, provider, tmp_path).values():
            error = await failed(call)
            assert type(error) is NotSent
            assert SAYS[name] in error.message


@pytest.mark.parametrize("kind", KINDS)
async def test_behind_a_good_certificate_it_is_heard(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leading("good", folder, monkeypatch) as url, at(kind, url, tmp_path) as provider:
        for name, call in calls(kind, provider, tmp_path).items():
            error = await failed(call)
            assert type(error) is (Unclear if name == "create" else Transient)
            assert error.code == 503
