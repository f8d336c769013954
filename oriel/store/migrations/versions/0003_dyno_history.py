"""What became of a dyno is read by its name, newest first.

Revision ID: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("dyno_events_name", "dyno_events", ["app_id", "name", "id"])
