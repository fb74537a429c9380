"""Keep a provider's own wish apart from who polls it; find the runs of the same work."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("blocked_until", sa.BigInteger(), nullable=True))
    # Until now that was a lease without an owner.
    op.execute(
        "update accounts set blocked_until = lease_until, lease_until = null"
        " where owner is null and lease_until is not null"
    )
    op.create_index(
        op.f("ix_runs_project_account_fingerprint"), "runs", ["project", "account", "fingerprint"]
    )
