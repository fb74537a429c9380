"""Count how often a receiver has asked for a later try."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("deferrals", sa.Integer(), nullable=False, server_default="0"))
