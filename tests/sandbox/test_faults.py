"""Each kind of fault does on the wire what its line in the table says."""

import gzip
import json
from typing import Any

import httpx
import pytest

from orchestrator.sandbox.faults import FAULTS

from .box import CARTESIA_JOB, CREATES, HEADERS, Box

PATH = "/cartesia/fine-tunes/"


def paid(box: Box) -> int:
    return len(box.ledger(limit=0)["paid"]["cartesia"])


def play(box: Box, kind: str, wait: float = 10, **order: Any) -> bytes:
    """Spoil one create and give the raw bytes that came back."""
    box.fault(kind, provider="cartesia", operation="create", **order)
    return box.raw("POST", PATH, CARTESIA_JOB, wait=wait)


def body(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[2]


def test_the_table_is_told(shared: Box) -> None:
    kinds = shared.client.get("/_sandbox/faults").json()["kinds"]
    assert list(kinds) == list(FAULTS)
    assert all(kind["text"] and kind["on"] for kind in kinds.values())


@pytest.mark.parametrize("kind", [kind for kind, fault in FAULTS.items() if kind != "refuse"])
def test_the_ledger_knows_whether_it_was_applied(shared: Box, kind: str) -> None:
    fault = FAULTS[kind]
    creates = "create" in fault.on
    order = {"interval": 0} if kind == "drip" else {"seconds": 0} if kind == "delay" else {}
    order |= {"megabytes": 1} if kind == "gzip_bomb" else {}
    before = paid(shared)
    shared.fault(kind, provider="cartesia", operation="create" if creates else "list", **order)
    try:
        shared.raw("POST" if creates else "GET", PATH, CARTESIA_JOB if creates else None, wait=0.3)
    except OSError:
        assert kind.startswith(("hang", "reset"))
    row = shared.ledger(limit=1)["requests"][0]
    assert (row["fault"], row["applied"], row["outcome"]) == (kind, fault.applied, "faulted")
    assert paid(shared) - before == (fault.applied * (1 + fault.doubled) if creates else 0)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "applied_late"])
def test_closed_without_a_byte(shared: Box, kind: str) -> None:
    assert play(shared, kind) == b""


@pytest.mark.parametrize("kind", ["reset_early", "reset_before", "reset_after", "reset_midway"])
def test_reset(shared: Box, kind: str) -> None:
    with pytest.raises(ConnectionResetError):
        play(shared, kind)


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("hang_before", "after b''"),
        ("hang_after", "after b''"),
        ("hang_headers", "HTTP/1.1 200"),
        ("hang_body", "HTTP/1.1 200"),
    ],
)
def test_hang(shared: Box, kind: str, seen: str) -> None:
    with pytest.raises(TimeoutError) as caught:
        play(shared, kind, wait=0.3)
    assert seen in caught.value.__notes__[0]
    assert ("\\r\\n\\r\\n" in caught.value.__notes__[0]) is (kind == "hang_body")


def test_refuse_closes_the_next_connections(shared: Box) -> None:
    shared.fault("refuse", times=2)
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{shared.url}/_sandbox/health")
    assert httpx.get(f"{shared.url}/_sandbox/health").status_code == 200
    assert shared.client.post("/_sandbox/faults", json={"kind": "refuse", "times": None}).status_code == 400


def test_framing_that_lies(shared: Box) -> None:
    cut = play(shared, "truncated")
    assert int(cut.split(b"content-length: ")[1].split(b"\r\n")[0]) > len(body(cut)) > 0
    wrong = play(shared, "wrong_length")
    assert int(wrong.split(b"content-length: ")[1].split(b"\r\n")[0]) == len(body(wrong)) - 5
    assert play(shared, "duplicate_length").count(b"content-length: ") == 2
    assert b"\r\n\r\nzz\r\n" in play(shared, "bad_chunk")
    assert not play(shared, "no_last_chunk").endswith(b"0\r\n\r\n")
    assert not play(shared, "garbage").startswith(b"HTTP/")
    assert play(shared, "http09").startswith(b'{"id"')
    assert play(shared, "continue_storm", count=50).count(b" 100 Continue") == 50
    assert play(shared, "early_hints").startswith(b"HTTP/1.1 103")
    assert json.loads(body(play(shared, "drip", interval=0)))["id"]


def test_bodies_that_are_not_as_expected(shared: Box) -> None:
    def spoilt(kind: str, **order: Any) -> Any:
        return json.loads(body(play(shared, kind, **order)))

    assert play(shared, "no_content").startswith(b"HTTP/1.1 204")
    assert body(play(shared, "empty")) == b""
    assert b"<h1>" in play(shared, "html")
    assert spoilt("null") is None
    assert isinstance(spoilt("array"), list)
    assert spoilt("wrong_types")["id"] == 42
    assert "id" not in spoilt("no_id")
    assert spoilt("empty_id")["id"] == ""
    assert "../" in spoilt("dotted_id")["id"]
    assert len(spoilt("huge_id")["id"]) == 1 << 20
    assert "\x1b" in spoilt("control_chars")["name"]
    assert spoilt("odd_status", word="melting")["status"] == "melting"
    assert body(play(shared, "deep")).count(b"{") == 100_000
    assert b"9" * 10_000 in play(shared, "huge_int")
    assert b"NaN" in play(shared, "nan")
    assert body(play(shared, "bom")).startswith(b"\xef\xbb\xbf{")
    assert body(play(shared, "utf16"))[:2] in (b"\xff\xfe", b"\xfe\xff")
    assert b"\xff\xfe" in play(shared, "bad_utf8")


def test_encodings_that_lie(shared: Box) -> None:
    assert len(gzip.decompress(body(play(shared, "gzip_bomb", megabytes=1)))) > 1 << 20
    assert json.loads(gzip.decompress(gzip.decompress(body(play(shared, "nested_gzip")))))["id"]
    assert b"content-encoding: x-sandbox" in play(shared, "unknown_encoding")
    false = play(shared, "false_encoding")
    assert b"content-encoding: gzip" in false
    assert json.loads(body(false))["id"]


@pytest.mark.parametrize("code", [400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("applied", [True, False])
def test_statuses_applied_or_not(shared: Box, code: int, *, applied: bool) -> None:
    before = paid(shared)
    assert play(shared, "status", code=code, applied=applied).startswith(f"HTTP/1.1 {code} ".encode())
    assert paid(shared) - before == applied


@pytest.mark.parametrize("wait", [7, -5, 99999999999, "soon", "date"])
def test_retry_after(shared: Box, wait: Any) -> None:
    raw = play(shared, "status", code=429, retry_after=wait)
    sent = raw.split(b"retry-after: ")[1].split(b"\r\n")[0].decode()
    assert sent.endswith(" GMT") if wait == "date" else sent == str(wait)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_redirects(shared: Box, code: int) -> None:
    shared.fault("redirect", code=code, location="http://elsewhere.invalid")
    reply = shared.client.get(PATH)
    assert (reply.status_code, reply.headers["location"]) == (
        code,
        f"http://elsewhere.invalid{'/fine-tunes/'}",
    )
    shared.fault("redirect_loop", times=None)
    with pytest.raises(httpx.TooManyRedirects):
        shared.client.get(PATH, follow_redirects=True)


def test_late_hidden_doubled_and_altered(sandbox: Box) -> None:
    def listed() -> list[str]:
        return [row["description"] for row in sandbox.lists("cartesia", limit=100)["data"]]

    sandbox.fault("applied_late", seconds=30)
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.create("cartesia", description="late")
    sandbox.fault("listed_late", seconds=60)
    made = sandbox.create("cartesia", description="unlisted").json()["id"]
    sandbox.fault("listed_then_hidden", seconds=90)
    sandbox.create("cartesia", description="brief")
    assert listed() == ["brief"]
    assert sandbox.client.get(f"{PATH}{made}").status_code == 200
    assert len(sandbox.ledger()["paid"]["cartesia"]) == 3
    late = sandbox.ledger()["created"]["cartesia"][0]["id"]
    assert sandbox.client.get(f"{PATH}{late}").status_code == 404
    sandbox.advance(40)
    assert listed() == ["brief", "late"]
    assert sandbox.client.get(f"{PATH}{late}").json()["status"] == "training"
    sandbox.advance(60)
    assert sorted(listed()) == ["late", "unlisted"]
    sandbox.fault("doubled")
    sandbox.create("cartesia", description="twin")
    assert listed().count("twin") == 2
    sandbox.fault("name_altered", length=4)
    assert sandbox.create("cartesia", name="narrator").json()["name"] == "NARR"


def test_run_twice(sandbox: Box) -> None:
    job = sandbox.create("oxen").json()["fine_tune"]["id"]
    sandbox.fault("doubled", operation="run")
    assert sandbox.client.post(f"{CREATES['oxen'][0]}/{job}/actions/run").status_code == 200
    assert sandbox.ledger()["paid"]["oxen"] == [job, job]


@pytest.mark.parametrize(
    ("provider", "key", "cursor"),
    [
        ("cartesia", "data", "starting_after"),
        ("oxen", "fine_tunes", "page"),
        ("cohere", "finetuned_models", "page_token"),
    ],
)
def test_lists_that_mislead(sandbox: Box, provider: str, key: str, cursor: str) -> None:
    account = "acme/support" if provider == "oxen" else "default"
    sandbox.client.post("/_sandbox/seed", json={"provider": provider, "account": account, "count": 9})
    size = {"cartesia": "limit"}.get(provider, "page_size")

    def page(at: object = None) -> Any:
        return sandbox.lists(provider, **{size: 3}, **({cursor: at} if at is not None else {}))

    first = page()
    ids = [row["id"] for row in first[key]]
    at = {"cartesia": ids[-1], "oxen": 2, "cohere": first.get("next_page_token")}[provider]
    sandbox.fault("listed_twice")
    assert [row["id"] for row in page()[key]] == [*ids, ids[0]]
    sandbox.fault("repeated_cursor")
    again = page(at)
    assert [row["id"] for row in again[key]] == ids
    assert again.get("has_more", again.get("next_page_token", True))
    sandbox.fault("endless_pages", times=2)
    more, yet_more = page(at), page("invented" if provider != "oxen" else 999)
    assert len({row["id"] for row in (*more[key], *yet_more[key])}) == 6
    sandbox.fault("shrinking", times=2)
    assert page()[key] == first[key]
    assert len(page(at)[key]) == 2


def test_dates_are_skewed(shared: Box) -> None:
    true = shared.create("cohere").json()["finetuned_model"]["id"]
    path = f"{CREATES['cohere'][0]}/{true}"
    plain = shared.client.get(path).json()["finetuned_model"]["created_at"]
    shared.fault("skewed_dates", seconds=-86400)
    assert shared.client.get(path).json()["finetuned_model"]["created_at"] < plain


def test_rules_choose_their_requests(sandbox: Box) -> None:
    sandbox.fault("status", provider="cohere", operation="get")
    sandbox.fault("status", code=503, path="acme", after=1, times=1)
    assert sandbox.client.get(PATH).status_code == 200
    assert [sandbox.client.get(CREATES["oxen"][0]).status_code for _ in range(3)] == [200, 503, 200]
    assert sandbox.client.get(f"{CREATES['cohere'][0]}/x").status_code == 500
    rules = sandbox.client.get("/_sandbox/faults").json()["rules"]
    assert [rule["played"] for rule in rules] == [1, 1]
    assert (
        sandbox.client.delete("/_sandbox/faults", params={"id": rules[0]["id"]}).json()["rules"] == rules[1:]
    )


@pytest.mark.parametrize(
    "order",
    [
        {"kind": "nonsense"},
        {"kind": "status", "speed": 1},
        {"kind": "status", "times": "many"},
        {"kind": "listed_late", "operation": "list"},
        [1],
    ],
)
def test_orders_that_make_no_sense(shared: Box, order: Any) -> None:
    reply = httpx.post(f"{shared.url}/_sandbox/faults", json=order, headers=HEADERS)
    assert reply.status_code == 400
    assert reply.json()["error"]
