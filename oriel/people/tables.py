"""Owns the shape of the people's tables; the DDL is in the store's migrations."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, Table, Text, text

from oriel.store.metadata import Moment, metadata

_PRESENT = text("removed_at IS NULL")
_PRESENT_OWNER = text("owner AND removed_at IS NULL")

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("owner", Boolean, nullable=False),
    Column("password_hash", Text),
    Column("created_at", Moment, nullable=False),
    Column("removed_at", Moment),
    Index("accounts_email", "email", unique=True, sqlite_where=_PRESENT, postgresql_where=_PRESENT),
    Index(
        "accounts_owner",
        "owner",
        unique=True,
        sqlite_where=_PRESENT_OWNER,
        postgresql_where=_PRESENT_OWNER,
    ),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("description", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("secret_hash", Text, nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("last_used_at", Moment),
    Column("revoked_at", Moment),
)

invitations = Table(
    "invitations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("secret_hash", Text, nullable=False, unique=True),
    Column("by_email", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("ended_at", Moment),
)

memberships = Table(
    "memberships",
    metadata,
    Column("app_id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True, index=True),
    Column("role", Text, nullable=False),
    Column("by_email", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)
