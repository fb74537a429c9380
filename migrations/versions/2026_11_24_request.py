"""Keep what was sent for a run, or is about to be, its secrets as references."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("request", sa.JSON(), nullable=True))
