"""The tables; a column here is a field of the record in `core`, and one revision in `migrations/`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orchestrator.net.redaction import redact, redact_all, shows_secret

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class UTCDateTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC time as whole microseconds, so that it sorts and compares the same everywhere.

    SQLite hands back naive times and drops the offset of what it is given; hence no `DateTime`.
    """

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        """Write whole microseconds; a naive time is an error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without an offset")
        return (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        """Read an aware time."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


class Outside(sa.types.TypeDecorator[str]):
    """A text that may come from outside: whoever writes it, no secret of this process is written with it."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Write it without secrets."""
        return None if value is None else redact(value)


class OutsideJSON(sa.types.TypeDecorator[Any]):
    """The same for what is kept as JSON."""

    impl = sa.JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        """Write it without secrets."""
        return redact_all(value)


class OutsideBytes(sa.types.TypeDecorator[bytes]):
    """The same for the bytes of a JSON document, which stay as they are where they hold no secret."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: sa.Dialect) -> bytes | None:
        """Write them without secrets."""
        if value is None or not shows_secret(value.decode("utf-8", "replace")):
            return value
        found = redact_all(json.loads(value))
        return json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("policy", sa.JSON, nullable=False),
    sa.Column("held", Outside),
    sa.Column("managed", sa.Boolean, nullable=False, default=True),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("marker", sa.Text, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("inputs", sa.JSON, nullable=False),
    # Not part of the record, since no decision needs it: written with the intent, for people to look at.
    sa.Column("request", OutsideJSON),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("provider_status", Outside),
    sa.Column("remote_id", sa.Text),
    sa.Column("steps", sa.JSON, nullable=False),
    # Derived from `steps` when they are written, for an index: both databases hold the map as JSON.
    sa.Column("unfinished", sa.Boolean, nullable=False),
    sa.Column("after", sa.Text),
    sa.Column("cancel", sa.Text),
    sa.Column("cancel_sent", sa.Boolean, nullable=False),
    sa.Column("result", OutsideJSON),
    sa.Column("message", Outside),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("overdue", sa.Boolean, nullable=False),
    sa.Column("looks", sa.Integer, nullable=False),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("updated_at", UTCDateTime, nullable=False),
    sa.Column("due_at", UTCDateTime),
    sa.Column("sent_at", UTCDateTime),
    sa.Column("submitted_at", UTCDateTime),
    sa.Column("finished_at", UTCDateTime),
    sa.Column("owner", sa.Text),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("lease_until", UTCDateTime),
    sa.UniqueConstraint("project", "marker"),
    sa.UniqueConstraint("project", "account", "remote_id"),
    sa.UniqueConstraint("project", "job", "account", "fingerprint", "attempt"),
    sa.Index(None, "project", "account", "status", "due_at"),
    sa.Index(None, "project", "account", "finished_at"),
    sa.Index(None, "project", "account", "fingerprint"),
)
# For questions about the few among many open runs. Their conditions stand in the SQL as in the index, or
# SQLite does not see that it may use it; both databases read these.
OPEN_THERE = sa.text("runs.status IN ('queued', 'running')")
"""The provider is at work on it."""

WANTED = sa.text("(runs.cancel IS NOT NULL AND NOT runs.cancel_sent OR runs.unfinished)")
"""A call of ours may bring it forward: a cancellation, or a step that is left."""

for name, columns, condition in (
    ("ix_runs_open", (runs.c.project, runs.c.account, runs.c.submitted_at), OPEN_THERE),
    ("ix_runs_wanted", (runs.c.project, runs.c.account, runs.c.status), WANTED),
):
    where = sa.text(condition.text.replace("runs.", ""))
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)

_same = runs.alias("same")
_latest = (
    sa.select(_same.c.id)
    .where(
        _same.c.project == jobs.c.project,
        _same.c.job == jobs.c.name,
        _same.c.account == jobs.c.account,
        _same.c.fingerprint == jobs.c.fingerprint,
    )
    .order_by(_same.c.attempt.desc())
    .limit(1)
)
STANDING = jobs.join(runs, runs.c.id == _latest.correlate(jobs).scalar_subquery())
"""Each job with the run that it stands by, the latest attempt at its work, found by indexes alone."""

events = sa.Table(
    "events",
    metadata,
    # Integer, since SQLite counts up only an INTEGER PRIMARY KEY; AUTOINCREMENT never reuses an id.
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("timestamp", UTCDateTime, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("job", sa.Text),
    sa.Column("run_id", sa.Text, sa.ForeignKey("runs.id")),
    sa.Column("sequence", sa.Integer),
    sa.Column("status", sa.Text),
    sa.Column("previous_status", sa.Text),
    sa.Column("provider_status", Outside),
    sa.Column("message", Outside),
    sa.UniqueConstraint("run_id", "sequence"),
    sa.Index(None, "project", "id"),
    sa.Index(None, "project", "job", "id"),
    sqlite_autoincrement=True,
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("event_id", sa.BigInteger, sa.ForeignKey("events.id"), nullable=False),
    sa.Column("hook", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("job", sa.Text),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("body", OutsideBytes, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("deferrals", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_at", UTCDateTime),
    sa.Column("settled_at", UTCDateTime),
    sa.Column("last_error", Outside),
    sa.Column("owner", sa.Text),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("lease_until", UTCDateTime),
    sa.Column("lasting", sa.Boolean, nullable=False),
    sa.UniqueConstraint("event_id", "hook"),
    sa.Index(None, "project", "state", "settled_at"),
)
sa.Index(
    "ix_deliveries_due",
    deliveries.c.project,
    deliveries.c.hook,
    deliveries.c.due_at,
    deliveries.c.event_id,
    sqlite_where=deliveries.c.state == "pending",
    postgresql_where=deliveries.c.state == "pending",
)
sa.Index(
    "ix_deliveries_pending",
    deliveries.c.project,
    deliveries.c.hook,
    deliveries.c.lane,
    deliveries.c.event_id,
    sqlite_where=deliveries.c.state == "pending",
    postgresql_where=deliveries.c.state == "pending",
)

hooks = sa.Table(
    "hooks",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("declared", sa.Boolean, nullable=False),
    sa.Column("off", Outside),
    sa.Column("off_at", UTCDateTime),
    sa.Column("failing_since", UTCDateTime),
    sa.Column("refusals", sa.Integer, nullable=False),
    sa.Column("code", sa.Integer),
    sa.Column("answer", Outside),
    sa.Column("unfit", Outside),
)

origins = sa.Table(
    "origins",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("open_until", UTCDateTime),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("paused", Outside),
    sa.Column("last_error", Outside),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("confirmed_at", UTCDateTime),
    sa.Column("next_poll_at", UTCDateTime),
    sa.Column("poll_seconds", sa.Float),
    sa.Column("owner", sa.Text),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("lease_until", UTCDateTime),
    sa.Column("blocked_until", UTCDateTime),
)

daemons = sa.Table(
    "daemons",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("address", sa.Text),
    sa.Column("started_at", UTCDateTime, nullable=False),
    sa.Column("seen_at", UTCDateTime, nullable=False),
    sa.Column("ended_at", UTCDateTime),
)
