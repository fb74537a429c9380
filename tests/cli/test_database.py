"""The database as it is met by a user, and as a stranger's job file would misuse it."""

import socketserver
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa
from drive import Place, cartesia
from postgres import Postgres

SECRET = "canary-0123456789"
READS = (("plan",), ("validate",), ("status",), ("show", "voice"), ("events",), ("why", "voice"))


class Asking(socketserver.StreamRequestHandler):
    """Speaks PostgreSQL as far as asking for a password in clear, and keeps all that it is told."""

    server: "Server"

    def handle(self) -> None:
        while head := self.rfile.read(4):
            said = self.rfile.read(struct.unpack(">i", head)[0] - 4)
            self.server.told.append(said)
            if len(said) == 4:  # may we have TLS, may we have Kerberos?
                self.wfile.write(b"N")
                continue
            self.wfile.write(struct.pack(">cii", b"R", 8, 3))
            if answer := self.rfile.read(5):
                self.server.told.append(self.rfile.read(struct.unpack(">i", answer[1:])[0] - 4))
            return


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asking)
        self.told: list[bytes] = []


@pytest.fixture
def asking() -> Iterator[Server]:
    with Server() as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_server_that_a_file_names_gets_no_password_of_this_machine(place: Place, asking: Server) -> None:
    port = asking.server_address[1]
    url = f"postgresql://me@127.0.0.1:{port}/state"
    place.write(cartesia("voice"), settings=f'database = "{url}"')
    (place.folder / ".pgpass").write_text(f"*:*:*:*:{SECRET}\n")
    (place.folder / ".pgpass").chmod(0o600)
    (place.folder / "service.conf").write_text(f"[mine]\npassword={SECRET}\n")
    ways: tuple[dict[str, str], ...] = (
        {},  # ~/.pgpass
        {"PGPASSWORD": SECRET},
        {"PGPASSFILE": f"{place.folder}/.pgpass"},
        {"PGSERVICEFILE": f"{place.folder}/service.conf", "PGSERVICE": "mine"},
    )
    for env in ways:
        asking.told.clear()
        found = place("plan", env=env, code=1)
        assert asking.told
        assert not any(SECRET.encode() in said for said in asking.told), env
        assert "only a job file names this server" in found.err
        assert "--allow-database-host HOST" in found.err
    trusted: tuple[tuple[tuple[str, ...], dict[str, str]], ...] = (
        (("--allow-database-host", "127.0.0.1", "plan"), {}),
        (("plan",), {"ORCHESTRATOR_ALLOW_DATABASE_HOST": "db.internal, 127.0.0.1"}),
        (("plan",), {"ORCHESTRATOR_DATABASE": url}),
    )
    for args, more in trusted:
        for env in ways:
            asking.told.clear()
            place(*args, env=env | more, code=1)
            assert any(SECRET.encode() in said for said in asking.told), (args, env)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me@198.51.100.7/state", "only this file names the host 198.51.100.7"),
        ("postgresql://me@db.internal:6432/state", "--allow-database-host db.internal"),
        ("postgresql://localhost/state?passfile=keys", 'may not set "passfile"'),
        ("postgresql://localhost/state?service=mine", 'may not set "service"'),
        ("postgresql://localhost/state?options=-csearch_path%3Dx", 'may not set "options"'),
        ("postgresql://localhost/state?host=198.51.100.7", 'may not set "host"'),
        ("postgresql://localhost/state?hostaddr=198.51.100.7", 'may not set "hostaddr"'),
        ("postgresql:///state?host=198.51.100.7", 'may not set "host"'),
        ("postgresql:///state?host=/run/postgresql&host=/tmp", 'may not set "host"'),
        ("postgresql://localhost/state?sslmode=require&sslkey=key.pem", 'may not set "sslkey"'),
        # The next are read differently by different programs.
        ("postgresql://localhost#@198.51.100.7/state", "without other signs"),
        ("postgresql://localhost:5432/state@198.51.100.7/state", "without other signs"),
        ("postgresql://localhost,198.51.100.7/state", "without other signs"),
        ("postgresql://localhost/state?x@198.51.100.7", "without other signs"),
    ],
)
def test_what_a_file_may_not_say_of_the_server(place: Place, url: str, said: str) -> None:
    place.write(cartesia("voice"), settings=f"database = '{url}'")
    found = place("plan", code=2)
    assert "jobs.toml:3:12: orchestrator.database: " in found.err
    assert said in found.err
    assert "ORCHESTRATOR_DATABASE" in found.err


def test_what_reads_makes_nothing(place: Place) -> None:
    place.write(cartesia("voice"))
    outside = place.folder.parent / "outside" / "deep"
    for settings in (
        "",
        f'database = "sqlite:///{outside}/state.db"\n',
        'database = "sqlite:///../x/y.db"\n',
    ):
        place.write(cartesia("voice"), settings=settings)
        before = tree(place.folder.parent)
        found = {args: place(*args, code=None) for args in READS}
        found |= {args: place(*args) for args in (("db", "current"), ("providers",), ("hooks", "log"))}
        made = {path for path in tree(place.folder.parent) - before if path.suffix not in (".out", ".err")}
        assert made == set()
        assert "+ create voice (cartesia): new job" in found["plan",].out
        assert "No job is recorded yet" in found["status",].err
        assert (found["show", "voice"].code, found["why", "voice"].code) == (1, 0)
        assert found["db", "current"].out == "empty\n"
        assert {found[args].code for args in (("plan",), ("validate",), ("status",), ("events",))} == {0}


def test_links_are_not_followed(place: Place) -> None:
    away = place.folder.parent / "away"
    (away / "deep").mkdir(parents=True)
    inside = place.folder / "data"
    inside.mkdir()
    (inside / "link").symlink_to(away)
    (inside / "file.db").symlink_to(away / "made.db")
    for settings, link in (
        ("", place.folder / ".orchestrator"),
        ('database = "sqlite:///data/link/deep/state.db"\n', inside / "link"),
        ('database = "sqlite:///data/file.db"\n', inside / "file.db"),
    ):
        if not settings:
            link.symlink_to(away)
        place.write(cartesia("voice"), settings=settings)
        for found in place.together(
            ("plan",), ("status",), ("apply", "-y"), ("up",), ("db", "upgrade"), code=1
        ):
            assert f"{link} is a symbolic link" in found.err
            assert "ORCHESTRATOR_DATABASE" in found.err
        if not settings:
            link.unlink()
    assert tree(away) == {away / "deep"}
    assert place.ledger().requests == []


def test_the_sandbox_believes_no_file_that_may_have_been_committed(place: Place) -> None:
    place.write(cartesia("voice"))
    state = place.folder / ".orchestrator"
    state.mkdir(mode=0o700)
    # 127.0.0.2 stands for any other machine: the address file is only ever written with 127.0.0.1.
    elsewhere = place.url.replace("127.0.0.1", "127.0.0.2")
    (state / "sandbox.url").write_text(elsewhere)
    place("--sandbox", "apply", "-y")
    assert place.ledger().requests == []
    theirs = place.folder.parent / "theirs.txt"
    theirs.write_text("theirs")
    (state / "sandbox.url").symlink_to(theirs)
    found = place("--sandbox", "apply", "-y", code=1)
    assert "sandbox.url is a symbolic link" in found.err
    assert theirs.read_text() == "theirs"


@pytest.mark.parametrize("alembic", [False, True], ids=["", "alembic"])
def test_another_programs_sqlite_file_is_left_alone(place: Place, alembic: bool) -> None:
    path = place.folder / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.executescript("pragma journal_mode=wal; create table users (name text)")
        if alembic:
            theirs.executescript(
                "create table alembic_version (version_num text); insert into alembic_version values ('0000')"
            )
    path.chmod(0o600)
    before = path.read_bytes()
    place.write(cartesia("voice"), settings='database = "sqlite:///theirs.db"\n')
    for found in place.together(("plan",), ("status",), ("apply", "-y"), ("up",), ("db", "upgrade"), code=1):
        assert "holds another program's tables" in found.err
        assert "users" in found.err
    assert path.read_bytes() == before


def test_another_programs_postgresql_is_left_alone(place: Place, postgres: Postgres) -> None:
    url = postgres.make()
    postgres.execute(url, "create table users (name text)")
    place.write(cartesia("voice"), settings=f'database = "{url}"\n')
    try:
        for found in place.together(("plan",), ("apply", "-y"), ("db", "upgrade"), code=1):
            assert "holds another program's tables (users, …)" in found.err
        postgres.execute(url, "alter table users rename to still_alone")
        assert "(still_alone, …)" in place("plan", code=1).err
    finally:
        postgres.drop(url)


def test_offline_asks_no_database(place: Place, asking: Server) -> None:
    place.write(cartesia("voice"))
    place("apply", "-y")
    assert "No changes." in place("plan").out
    assert "1 to create" in place("plan", "--offline").out
    for host in (f"127.0.0.1:{asking.server_address[1]}", "db.internal"):
        place.write(cartesia("voice"), settings=f'database = "postgresql://me@{host}/state"\n')
        assert "1 to create" in place("plan", "--offline", "--detailed-exitcode", code=2).out
    assert asking.told == []


def test_a_file_that_is_removed_under_a_daemon(place: Place) -> None:
    place.write(cartesia("voice", dataset="stuck-me"))
    daemon = place.start("up")
    daemon.until("run.advanced", job="voice", status="running")
    path = place.folder / ".orchestrator" / "state.db"
    path.rename(place.folder / "away.db")
    said = daemon.until("store.failed")
    assert f"{path}: the file was removed while it was in use" in said["error"]
    assert "restart" in said["hint"]
    place.write(cartesia("voice", dataset="stuck-me"), cartesia("more"))
    for found in place.together(("status",), ("plan",), ("apply", "-y"), code=1):
        assert f"{path}: the file was removed while a daemon uses it" in found.err
    assert not path.exists()
    (place.folder / "away.db").rename(path)
    daemon.until("store.back")
    daemon.until("run.advanced", job="more", status="succeeded")  # saved while nothing could be recorded
    assert place.ledger().counts["cartesia"] == 2
    path.unlink()
    assert daemon.stop() == 0
    assert not path.exists()
    assert "No job is recorded yet" in place("status").err
    assert not path.exists()


def test_a_postgresql_that_is_away_when_the_daemon_starts_and_stops(place: Place, postgres: Postgres) -> None:
    url = postgres.make()
    where = sa.make_url(url).query.get("host")
    if not isinstance(where, str):
        pytest.skip("its address is no socket that could be taken away")
    socket = place.folder.parent / ".s.PGSQL.5432"
    ours = sa.make_url(url).update_query_dict({"host": str(socket.parent)})
    place.env["ORCHESTRATOR_DATABASE"] = ours.render_as_string()
    place.write(cartesia("voice"))
    try:
        daemon = place.start("up")
        daemon.until("store.away")
        assert daemon.stop() == 0
        daemon = place.start("up")
        daemon.until("store.away", doing="waiting for it")
        socket.symlink_to(Path(where) / socket.name)
        daemon.until("run.advanced", job="voice", status="succeeded")
        socket.unlink()
        postgres.execute(
            url,
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()",
        )
        daemon.until("store.failed")
        assert daemon.stop() == 0
        assert len([row for row in daemon.log if row["event"] == "store.away"]) == 1
    finally:
        postgres.drop(url)


def test_several_that_meet_an_empty_postgresql_fill_it_once(place: Place, postgres: Postgres) -> None:
    url = postgres.make()
    place.env["ORCHESTRATOR_DATABASE"] = url
    place.write(cartesia("voice"))
    try:
        assert "+ create voice" in place("plan").out
        assert place("db", "current").out == "empty\n"
        calls = (("apply", "-y"), ("up", "--until-settled"), ("up", "--until-settled"), ("apply", "-y"))
        codes = [found.code for found in place.together(*calls, code=None)]
        assert codes[1:3] == [0, 0]
        assert place.job("voice")["status"] == "succeeded"
        assert place.ledger().counts["cartesia"] == 1
        postgres.execute(url, "update alembic_version set version_num = '0000'")
        for found in place.together(("apply", "-y"), ("up",), ("plan",), code=1):
            assert "orchestrator db upgrade" in found.err
    finally:
        postgres.drop(url)
