"""After how long without a request an app goes idle.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "app_idling",
        sa.Column("app_id", sa.Text, sa.ForeignKey("apps.id"), primary_key=True),
        sa.Column("after_s", sa.Integer, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
    )
