"""https: the certificate is checked against the name in the URL, though an address is dialled."""

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from orchestrator.core.delivery import Delivery
from orchestrator.errors import HookError
from orchestrator.hooks.webhook import Webhook, WebhookOptions
from orchestrator.net.tls import trust

from .conftest import NOW
from .receiver import Receiver, receiving

NAME = "team.invalid"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for NAME that signs itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
async def names() -> list[str | None]:
    """The names that clients asked for (SNI)."""
    return []


@pytest.fixture
async def secure(certificate: Path, names: list[str | None]) -> AsyncIterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    def asked(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        names.append(name)

    context.sni_callback = asked
    async with receiving(context) as each:
        yield each


async def _here(host: str, port: int) -> Sequence[str]:
    return ("127.0.0.1",)


async def _send(delivery: Delivery, url: str, tls: ssl.SSLContext | None) -> str | None:
    table = {"kind": "webhook", "url": url, "allow_private": True, "secret": {"env": "TEAM_HOOK_SECRET"}}
    hook = Webhook(WebhookOptions.model_validate(table), Path("/"), now=lambda: NOW, addresses=_here, tls=tls)
    try:
        return await hook.send(delivery)
    finally:
        await hook.aclose()


def _trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate / "cert.pem")
    return context


@pytest.mark.usefixtures("secret")
async def test_the_name_is_asked_for_and_verified(
    secure: Receiver, certificate: Path, delivery: Delivery, names: list[str | None]
) -> None:
    for host in (NAME, NAME.upper(), f"{NAME}."):
        assert await _send(delivery, secure.url(host), _trusting(certificate)) == "HTTP 200"
    assert names == [NAME] * 3
    assert secure.requests[0].headers["host"] == f"{NAME}:{secure.port}"


@pytest.mark.usefixtures("secret")
async def test_a_certificate_of_another_name_is_refused(
    secure: Receiver, certificate: Path, delivery: Delivery
) -> None:
    for host in ("other.invalid", "127.0.0.1"):
        with pytest.raises(HookError, match=r"^not sent: no connection .*CERTIFICATE_VERIFY_FAILED"):
            await _send(delivery, secure.url(host), _trusting(certificate))
    assert secure.requests == []


@pytest.mark.usefixtures("secret")
async def test_an_unknown_authority_is_refused(secure: Receiver, delivery: Delivery) -> None:
    with pytest.raises(HookError, match="CERTIFICATE_VERIFY_FAILED"):
        await _send(delivery, secure.url(NAME), None)
    assert secure.requests == []


def test_the_shared_context_verifies_and_writes_no_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = trust.__wrapped__()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.keylog_filename is None
    assert trust() is trust()
