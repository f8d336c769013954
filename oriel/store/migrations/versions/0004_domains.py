"""Domains, certificates, and what is under way to get them by itself.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    create_certificates()
    create_domains()
    create_acme()


def text(name: str, *more: sa.ForeignKey, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *more, nullable=null)


def key(name: str, *more: sa.ForeignKey) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *more, primary_key=True)


def moment(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, MOMENT, nullable=null)


def binary(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def create_certificates() -> None:
    op.create_table(
        "certificates",
        key("id"),
        text("app_id", sa.ForeignKey("apps.id")),
        text("name"),
        text("chain"),
        binary("key_sealed"),
        sa.Column("names", sa.JSON, nullable=False),
        text("issuer"),
        text("subject"),
        moment("starts_at"),
        moment("ends_at"),
        sa.Column("automatic", sa.Boolean, nullable=False),
        moment("created_at"),
        moment("updated_at"),
        sa.UniqueConstraint("app_id", "name", name="certificates_name"),
    )


def create_domains() -> None:
    op.create_table(
        "domains",
        key("id"),
        text("app_id", sa.ForeignKey("apps.id")),
        text("hostname"),
        text("certificate_id", sa.ForeignKey("certificates.id"), null=True),
        moment("created_at"),
        moment("updated_at"),
        sa.UniqueConstraint("hostname", name="domains_hostname"),
        sa.Index("ix_domains_app_id", "app_id"),
    )


def create_acme() -> None:
    op.create_table(
        "app_acme",
        key("app_id", sa.ForeignKey("apps.id")),
        moment("enabled_at"),
    )
    op.create_table(
        "acme_orders",
        key("domain_id", sa.ForeignKey("domains.id")),
        text("app_id", sa.ForeignKey("apps.id")),
        text("state"),
        sa.Column("failures", sa.Integer, nullable=False),
        text("reason"),
        moment("next_at"),
        moment("began_at", null=True),
        text("url"),
        text("token"),
        text("answer"),
        binary("key_sealed"),
        text("certificate_id", sa.ForeignKey("certificates.id"), null=True),
        moment("updated_at"),
        sa.Index("ix_acme_orders_app_id", "app_id"),
    )
    op.create_table(
        "acme_accounts",
        key("directory"),
        binary("wrapped_key"),
        binary("key_sealed"),
        moment("paused_until", null=True),
        moment("created_at"),
    )
