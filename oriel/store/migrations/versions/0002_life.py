"""What a dyno's life needs: crash loops that are not events yet, features and checks of apps.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "crash_loops",
        sa.Column("app_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("release", sa.Integer, nullable=False),
        sa.Column("began_at", MOMENT, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("is_running", sa.Boolean, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("first_at", MOMENT, nullable=True),
        sa.Column("last_at", MOMENT, nullable=True),
        sa.Column("statuses", sa.JSON, nullable=False),
    )
    op.create_table(
        "app_features",
        sa.Column("app_id", sa.Text, sa.ForeignKey("apps.id"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
    )
    op.create_table(
        "app_checks",
        sa.Column("app_id", sa.Text, sa.ForeignKey("apps.id"), primary_key=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("boot_timeout_s", sa.Integer, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
    )
