"""Keep how long a provider wants to be left alone apart from who polls it."""

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
