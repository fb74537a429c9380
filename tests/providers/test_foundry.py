"""What the next drivers need, by a driver that needs it all, against real servers."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from orchestrator.config.secret import Secret
from orchestrator.core.job import Input
from orchestrator.core.run import Run
from orchestrator.errors import (
    Denied,
    Misread,
    Missing,
    NotSent,
    ProviderError,
    Rejected,
    Throttled,
    Transient,
    Unclear,
)
from orchestrator.net.redaction import redact
from orchestrator.providers._http import Http
from orchestrator.providers._limit import Limiter
from orchestrator.providers._upload import opened, put
from orchestrator.providers.auth import EARLY, HIDDEN, Bearer, granted
from orchestrator.providers.base import SecretResolver
from orchestrator.providers.paging import pages
from orchestrator.providers.registry import open_provider

from .canned import Canned, canned, reply
from .foundry import GRANT, JOBS, KEY, START, Foundry, TokenFoundry, Works, arn
from .test_drivers import run_of


@asynccontextmanager
async def foundry(
    works: Works, folder: Path, cls: type[Foundry] = Foundry, key: str = KEY
) -> AsyncIterator[tuple[Foundry, Canned]]:
    """Open the driver on a server that is `works`."""
    async with canned(works.answer) as server:
        works.url = server.url
        options = cls.Options.model_validate(
            {"kind": "foundry", "base_url": server.url, "requests_per_second": 10_000.0}
        )
        provider = await open_provider(cls, options, SecretResolver(root=folder, env={"FOUNDRY_KEY": key}))
        assert isinstance(provider, Foundry)
        try:
            yield provider, server
        finally:
            await provider.close()


def run(**changes: object) -> Run:
    return run_of("foundry", {"model": "b"}, **changes)


async def test_every_request_is_signed_as_it_is_sent(tmp_path: Path) -> None:
    works = Works()
    async with foundry(works, tmp_path) as (provider, _):
        made = await provider.create(await provider.request(run()))
        read = await provider.get(made.remote_id)
    assert made == read
    assert made.remote_id == arn(1)
    assert made.created_at == START + timedelta(minutes=1)
    assert made.marker == run().marker
    assert works.seen == [("POST", JOBS), ("GET", f"{JOBS}/arn%3Afoundry%3Aeu-1%3A77%3Ajob%2Ftuned-1")]


async def test_an_id_that_no_path_can_hold_is_missing_and_not_asked_for(tmp_path: Path) -> None:
    works = Works()
    async with foundry(works, tmp_path) as (provider, _):
        for remote_id in ("..", ".", ""):
            with pytest.raises(Missing):
                await provider.get(remote_id)
        assert works.seen == []
        with pytest.raises(Missing):
            await provider.get("../../v1/files?x=1")
        assert works.seen == [("GET", f"{JOBS}/..%2F..%2Fv1%2Ffiles%3Fx%3D1")]


async def test_links_are_paged_to_the_end_and_keep_repeated_keys(tmp_path: Path) -> None:
    works = Works()
    works.jobs = [works.job(number) for number in range(5)]
    async with foundry(works, tmp_path) as (provider, _):
        found = [item.remote_id async for page in pages(provider) for item in page.items]
    assert found == [arn(number) for number in range(5)]
    assert works.seen[0] == ("GET", f"{JOBS}?label=ours&label=a+b%26c&limit=2")


@pytest.mark.parametrize(
    "link", ["http://other.invalid/v1/jobs?from=2", "/v1/files?from=2", "//127.0.0.1:1/v1/jobs", "http://["]
)
async def test_a_next_page_elsewhere_is_not_followed(link: str, tmp_path: Path) -> None:
    works = Works(link=link)
    works.jobs = [works.job(number) for number in range(5)]
    async with foundry(works, tmp_path) as (provider, _):
        with pytest.raises(Misread):
            _ = [page async for page in pages(provider)]
    assert len(works.seen) == 1


@pytest.mark.parametrize(
    ("refuse", "expected"),
    [
        (reply(400, b'{"message": "taken"}', {"x-amzn-ErrorType": "ConflictException:http://x/"}), Unclear),
        (reply(400, b"{}", {"x-amzn-ErrorType": "com.foundry#ThrottlingException"}), Throttled),
        (reply(400, b"{}", {"x-amzn-ErrorType": "ValidationException"}), Rejected),
        (reply(400, b'{"error": {"code": 400, "status": "INVALID_ARGUMENT"}}'), Rejected),
        (reply(409, b'{"error": {"code": 409, "status": "ABORTED"}}'), Unclear),
        (reply(500, b"{}", {"x-amzn-ErrorType": "ThrottlingException"}), Unclear),
    ],
)
async def test_a_refusal_is_judged_by_its_name(
    refuse: bytes, expected: type[ProviderError], tmp_path: Path
) -> None:
    async with foundry(Works(refuse=refuse), tmp_path) as (provider, server):
        with pytest.raises(ProviderError) as caught:
            await provider.create(await provider.request(run()))
    assert type(caught.value) is expected
    assert caught.value.name is not None
    assert len(server.requests) == 1


async def test_what_was_there_under_our_own_id_is_taken_for_ours(tmp_path: Path) -> None:
    works = Works(refuse=reply(409, b'{"error": {"status": "ALREADY_EXISTS"}}'))
    works.jobs = [works.job(1)]
    async with foundry(works, tmp_path) as (provider, _):
        assert (await provider.create(await provider.request(run()))).remote_id == arn(1)


@asynccontextmanager
async def tokens(works: Works, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Canned]:
    """Give out tokens that last for ten minutes, and let `works` take the newest alone."""

    def grant(request: bytes) -> bytes:
        assert GRANT.encode() in request
        token = f"minted-canary-{len(server.requests):04}"
        works.tokens = frozenset({token})
        return reply(200, json.dumps({"access_token": token, "expires_in": 600}).encode())

    async with canned(grant) as server:
        monkeypatch.setattr(TokenFoundry, "token_url", server.url, raising=False)
        monkeypatch.setattr(TokenFoundry, "now", [START])
        yield server


async def test_a_token_is_fetched_once_renewed_before_it_ends_and_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = Works()
    async with (
        tokens(works, monkeypatch) as server,
        foundry(works, tmp_path, TokenFoundry, GRANT) as (
            provider,
            api,
        ),
    ):
        for _ in range(3):
            await provider.create(await provider.request(run()))
        assert len(server.requests) == 1
        assert GRANT.encode() not in b"".join(api.requests)
        TokenFoundry.now[0] += timedelta(minutes=10) - EARLY
        await provider.create(await provider.request(run()))
        assert len(server.requests) == 2
        assert redact("saw minted-canary-0001 and minted-canary-0002") == "saw *** and ***"
        TokenFoundry.now[0] += HIDDEN + timedelta(minutes=9)
        await provider.list()
        shown = "minted-canary-0001 minted-canary-0002 minted-canary-0003"
        assert redact(shown) == "minted-canary-0001 *** ***"


@pytest.mark.parametrize(
    ("told", "renewed", "ends"),
    [(3600, 3480, 3600), ("3600", 3480, 3600), (60, 30, 60), (0, 0, 0), (None, 180, 300), (-1, 180, 300)],
)
def test_a_token_is_renewed_early_but_not_at_once(told: object, renewed: int, ends: int) -> None:
    answer = httpx.Response(200, json={"access_token": "t-canary-0001", "expires_in": told})
    token = granted(answer, START)
    assert token.renew_at == START + timedelta(seconds=renewed)
    assert token.ends_at == START + timedelta(seconds=ends)


async def test_a_refused_token_sends_no_create_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works = Works()
    async with tokens(works, monkeypatch), foundry(works, tmp_path, TokenFoundry, GRANT) as (provider, _):
        await provider.create(await provider.request(run()))
        works.tokens = frozenset()
        with pytest.raises(Denied):
            await provider.create(await provider.request(run()))
    assert [method for method, _ in works.seen] == ["POST", "POST"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(400, b'{"error": "invalid_grant"}'), Denied),
        (reply(503, b"", {"Retry-After": "7"}), NotSent),
        (reply(429), NotSent),
        (reply(200, b'{"token": "x"}'), NotSent),
        (reply(200, b"rubbish"), NotSent),
        (reply(302, b"", {"Location": "http://127.0.0.1:1/"}), NotSent),
        (b"", NotSent),
    ],
)
async def test_without_a_token_nothing_is_sent(
    answer: bytes, expected: type[ProviderError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = Works()
    async with (
        tokens(works, monkeypatch) as server,
        foundry(works, tmp_path, TokenFoundry, GRANT) as (
            provider,
            _,
        ),
    ):
        server.answer = answer
        with pytest.raises(ProviderError) as caught:
            await provider.create(await provider.request(run()))
    assert type(caught.value) is expected
    assert works.seen == []
    assert GRANT not in caught.value.message


def data(folder: Path, size: int = 3_000_000) -> Input:
    path = folder / "data.jsonl"
    path.write_bytes(b"0123456789" * (size // 10))
    return Input(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size=size)


async def test_an_upload_goes_to_the_other_origin_whole_and_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, source = Works(), data(tmp_path)
    async with canned(reply(204, b"")) as files, foundry(works, tmp_path) as (provider, _):
        works.uploads = f"{files.url}/bucket/a%2Fb?X-Sig=abc%2F1"
        monkeypatch.setattr(Foundry, "upload_origins", (files.url,))
        await provider.step("upload", run(remote_id=arn(1), inputs={"data": source}))
    [sent] = files.requests
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /bucket/a%2Fb?X-Sig=abc%2F1 HTTP/1.1")
    assert body == Path(source.path).read_bytes()
    assert b"content-length: 3000000" in head.lower()
    assert not [name for name in (b"authorization", b"x-signature", b"chunked") if name in head.lower()]


@pytest.mark.parametrize(
    "allowed", [(), ("https://*.files.invalid",), ("http://127.0.0.1",), ("http://*.0.0.1",)]
)
async def test_an_upload_elsewhere_is_refused(
    allowed: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = Works()
    async with canned(reply(204, b"")) as files, foundry(works, tmp_path) as (provider, _):
        works.uploads = f"{files.url}/x?X-Sig=abc"
        monkeypatch.setattr(Foundry, "upload_origins", allowed)
        with pytest.raises(Misread, match="keeps no files") as caught:
            await provider.step("upload", run(remote_id=arn(1), inputs={"data": data(tmp_path, 10)}))
    assert files.requests == []
    assert "abc" not in caught.value.message


async def test_a_file_that_changed_is_not_uploaded(tmp_path: Path) -> None:
    works, source = Works(), data(tmp_path, 10)
    Path(source.path).write_bytes(b"x")
    async with foundry(works, tmp_path) as (provider, _):
        with pytest.raises(Rejected, match="changed since"):
            await provider.step("upload", run(remote_id=arn(1), inputs={"data": source}))
    assert works.seen == []


async def test_a_provider_cannot_point_an_upload_at_this_machine(tmp_path: Path) -> None:
    source = data(tmp_path, 10)
    http = Http("https://api.foundry.invalid", Bearer(Secret(KEY)), Limiter(1000))
    async with canned(reply(204, b"")) as files:
        with opened(source, "data") as file, pytest.raises(NotSent, match="loopback"):
            await put(http, f"{files.url}/x", file, allowed=(files.url,))
    await http.close()
    assert files.connections == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"), Transient),
        (reply(503), Transient),
        (b"", Transient),
        (reply(302, b"", {"Location": "http://127.0.0.1:1/"}), Misread),
    ],
)
async def test_a_failed_upload_shows_no_signed_address(
    answer: bytes, expected: type[ProviderError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = Works()
    async with canned(answer) as files, foundry(works, tmp_path) as (provider, _):
        works.uploads = f"{files.url}/x?X-Sig=abcdef"
        monkeypatch.setattr(Foundry, "upload_origins", (files.url,))
        with pytest.raises(expected) as caught:
            await provider.step("upload", run(remote_id=arn(1), inputs={"data": data(tmp_path, 10)}))
    assert "abcdef" not in str(caught.value)


@pytest.mark.parametrize("withheld", [None, "its text is withheld"])
async def test_free_text_is_withheld_where_it_may_hold_an_unknown_secret(
    withheld: str | None, tmp_path: Path
) -> None:
    works = Works()
    works.jobs = [{**works.job(1), "state": "odd hf_unknown", "reason": "login with hf_unknown failed"}]
    async with foundry(works, tmp_path) as (provider, _):
        provider.http.withheld = withheld
        shown = await provider.get(arn(1))
    assert shown.status is None
    if withheld is None:
        assert shown.message == "login with hf_unknown failed"
    else:
        assert shown.message == withheld
        assert "hf_unknown" not in repr(shown)
