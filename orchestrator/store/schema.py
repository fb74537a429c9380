"""Which schema a database has, and whether this release speaks it."""

from typing import Final

import sqlalchemy as sa

from orchestrator.errors import SchemaError, StoreError

REVISION: Final = "0004"
"""The schema that this release speaks; a test holds it equal to the head of `migrations/`."""
OURS: Final = frozenset({"alembic_version", "deliveries", "daemons", "runs"})
"""What is there in every schema that this program has ever had."""

_TABLES: Final = {
    "sqlite": "select name from sqlite_master where type in ('table', 'view') and name not glob 'sqlite_*'",
    # Extensions bring tables and views of their own, also to a database that is empty to its owner.
    "postgresql": (
        "select relname from pg_class c where relkind in ('r', 'p', 'v', 'm', 'f')"
        " and relnamespace in (select oid from pg_namespace where nspname = any (current_schemas(false)))"
        " and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass"
        " and d.objid = c.oid and d.deptype = 'e')"
    ),
}


def revision_of(connection: sa.Connection, name: str) -> str | None:
    """Return the schema's revision, None for an empty database.

    Raises `StoreError` where the tables of the database, which is called `name`, are another program's.
    """
    tables = set(connection.exec_driver_sql(_TABLES[connection.dialect.name]).scalars())
    if tables and not tables >= OURS:
        raise StoreError(
            f"{name} holds another program's tables ({', '.join(sorted(tables)[:3])}, …); "
            "nothing was changed",
            hint="name another `database`",
        )
    if not tables:
        return None
    found = connection.scalar(sa.text("select version_num from alembic_version"))
    return None if found is None else str(found)


def require(found: str | None) -> None:
    """Raise `SchemaError` where the revision `found` is not this release's."""
    if found == REVISION:
        return
    if found is None:
        raise SchemaError("the database is empty", hint="orchestrator apply, up or db upgrade fills it")
    if found < REVISION:
        raise SchemaError(
            f"the database has the older schema {found}, this release needs {REVISION}",
            hint="orchestrator db upgrade",
        )
    raise SchemaError(
        f"the database has the newer schema {found}, this release knows {REVISION}",
        hint="use the release that wrote it, or a newer one",
    )
