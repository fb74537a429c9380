"""Alembic's entry: on the connection that the program opened, or one of its own for `alembic revision`."""

import os
from typing import Literal

import sqlalchemy as sa
from alembic import context

from orchestrator.store.tables import UTCDateTime, metadata


def render(kind: str, item: object, _context: object) -> str | Literal[False]:
    # A revision never imports the package: what it means must not change with a later release.
    return "sa.BigInteger()" if kind == "type" and isinstance(item, UTCDateTime) else False


def run(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=False,
        render_item=render,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with sa.create_engine(os.environ.get("ALEMBIC_DATABASE", "sqlite://")).connect() as opened:
        run(opened)
