"""Owns the shape of the ledger's tables; the DDL is in the store's migrations."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from oriel.store.metadata import Moment, Serial, metadata

_PRESENT = text("destroyed_at IS NULL")

apps = Table(
    "apps",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("uid", Integer, nullable=False),
    Column("owner_id", Text, nullable=False, index=True),
    Column("owner_email", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("stack", Text, nullable=False),
    Column("maintenance", Boolean, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("destroyed_at", Moment),
    Index("apps_name", "name", unique=True, sqlite_where=_PRESENT, postgresql_where=_PRESENT),
)

acts = Table(
    "acts",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("app_id", Text),
    Column("verb", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("actor_email", Text, nullable=False),
    Column("door", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("at", Moment, nullable=False),
    Index("acts_app", "app_id", "id"),
    sqlite_autoincrement=True,
)

formations = Table(
    "formations",
    metadata,
    Column("app_id", Text, ForeignKey("apps.id"), primary_key=True),
    Column("type", Text, primary_key=True),
    Column("quantity", Integer, nullable=False),
    Column("size", Text, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

slugs = Table(
    "slugs",
    metadata,
    Column("app_id", Text, ForeignKey("apps.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("commit", Text, nullable=False),
    Column("process_types", JSON, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("language", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("app_id", Text, ForeignKey("apps.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("slug_id", Text),
    Column("commit", Text, nullable=False),
    Column("process_types", JSON, nullable=False),
    Column("config_sealed", LargeBinary, nullable=False),
    Column("attachments", JSON, nullable=False),
    Column("stack", Text, nullable=False),
    Column("buildpacks", JSON, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("act_id", BigInteger, ForeignKey("acts.id"), nullable=False),
    Column("by_id", Text, nullable=False),
    Column("by_email", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("copy_of", Integer),
    Column("previous_mac", LargeBinary, nullable=False),
    Column("previous_status_mac", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    ForeignKeyConstraint(["app_id", "slug_id"], ["slugs.app_id", "slugs.id"]),
    UniqueConstraint("app_id", "version", name="releases_version"),
)

release_statuses = Table(
    "release_statuses",
    metadata,
    Column("release_id", Text, ForeignKey("releases.id"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

domains = Table(
    "domains",
    metadata,
    Column("id", Text, primary_key=True),
    Column("app_id", Text, ForeignKey("apps.id"), nullable=False, index=True),
    Column("hostname", Text, nullable=False),
    Column("certificate_id", Text, ForeignKey("certificates.id")),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    UniqueConstraint("hostname", name="domains_hostname"),
)

certificates = Table(
    "certificates",
    metadata,
    Column("id", Text, primary_key=True),
    Column("app_id", Text, ForeignKey("apps.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("chain", Text, nullable=False),
    Column("key_sealed", LargeBinary, nullable=False),
    Column("names", JSON, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("starts_at", Moment, nullable=False),
    Column("ends_at", Moment, nullable=False),
    Column("automatic", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    UniqueConstraint("app_id", "name", name="certificates_name"),
)

app_acme = Table(
    "app_acme",
    metadata,
    Column("app_id", Text, ForeignKey("apps.id"), primary_key=True),
    Column("enabled_at", Moment, nullable=False),
)

acme_orders = Table(
    "acme_orders",
    metadata,
    Column("domain_id", Text, ForeignKey("domains.id"), primary_key=True),
    Column("app_id", Text, ForeignKey("apps.id"), nullable=False, index=True),
    Column("state", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("next_at", Moment, nullable=False),
    Column("began_at", Moment),
    Column("url", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("key_sealed", LargeBinary, nullable=False),
    Column("certificate_id", Text, ForeignKey("certificates.id")),
    Column("updated_at", Moment, nullable=False),
)

acme_accounts = Table(
    "acme_accounts",
    metadata,
    Column("directory", Text, primary_key=True),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("key_sealed", LargeBinary, nullable=False),
    Column("paused_until", Moment),
    Column("created_at", Moment, nullable=False),
)

app_features = Table(
    "app_features",
    metadata,
    Column("app_id", Text, ForeignKey("apps.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

app_checks = Table(
    "app_checks",
    metadata,
    Column("app_id", Text, ForeignKey("apps.id"), primary_key=True),
    Column("path", Text, nullable=False),
    Column("boot_timeout_s", Integer, nullable=False),
    Column("updated_at", Moment, nullable=False),
)
