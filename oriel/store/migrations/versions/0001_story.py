"""The first shape: people, ledger, dyno events, builds, outbox.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")

APPEND_ONLY = ("acts", "releases", "release_statuses", "dyno_events")


def upgrade() -> None:
    create_outbox()
    create_people()
    create_apps()
    create_releases()
    create_dyno_events()
    create_builds()
    if op.get_bind().dialect.name == "postgresql":
        refuse_changes_postgresql()
    else:
        refuse_changes_sqlite()


def text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null)


def number(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=null)


def flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def moment(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, MOMENT, nullable=null)


def json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON, nullable=False)


def binary(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def serial() -> sa.Column[int]:
    return sa.Column("id", SERIAL, primary_key=True)


def key(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def create_outbox() -> None:
    op.create_table(
        "outbox",
        serial(),
        moment("at"),
        text("channel"),
        text("source"),
        text("ps"),
        text("text"),
        number("severity"),
        number("release"),
        text("drain"),
        json("data"),
        sqlite_autoincrement=True,
    )


def create_people() -> None:
    present = sa.text("removed_at IS NULL")
    owner = sa.text("owner AND removed_at IS NULL")
    op.create_table(
        "accounts",
        key(),
        text("email"),
        text("name"),
        flag("owner"),
        text("password_hash", null=True),
        moment("created_at"),
        moment("removed_at", null=True),
    )
    op.create_index(
        "accounts_email",
        "accounts",
        ["email"],
        unique=True,
        sqlite_where=present,
        postgresql_where=present,
    )
    op.create_index(
        "accounts_owner",
        "accounts",
        ["owner"],
        unique=True,
        sqlite_where=owner,
        postgresql_where=owner,
    )
    op.create_table(
        "tokens",
        key(),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id"), nullable=False, index=True),
        text("description"),
        text("prefix"),
        sa.Column("secret_hash", sa.Text, nullable=False, unique=True),
        json("scopes"),
        moment("created_at"),
        moment("expires_at", null=True),
        moment("last_used_at", null=True),
        moment("revoked_at", null=True),
    )
    op.create_table(
        "invitations",
        key(),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id"), nullable=False, index=True),
        sa.Column("secret_hash", sa.Text, nullable=False, unique=True),
        text("by_email"),
        moment("created_at"),
        moment("expires_at"),
        moment("ended_at", null=True),
    )
    op.create_table(
        "memberships",
        key("app_id"),
        sa.Column(
            "account_id", sa.Text, sa.ForeignKey("accounts.id"), primary_key=True, index=True
        ),
        text("role"),
        text("by_email"),
        moment("created_at"),
    )


def create_apps() -> None:
    present = sa.text("destroyed_at IS NULL")
    op.create_table(
        "apps",
        key(),
        text("name"),
        number("uid"),
        sa.Column("owner_id", sa.Text, nullable=False, index=True),
        text("owner_email"),
        text("channel"),
        text("stack"),
        flag("maintenance"),
        binary("wrapped_key"),
        moment("created_at"),
        moment("updated_at"),
        moment("destroyed_at", null=True),
    )
    op.create_index(
        "apps_name",
        "apps",
        ["name"],
        unique=True,
        sqlite_where=present,
        postgresql_where=present,
    )
    op.create_table(
        "acts",
        serial(),
        text("app_id", null=True),
        text("verb"),
        text("actor_id"),
        text("actor_email"),
        text("door"),
        text("request_id"),
        json("detail"),
        moment("at"),
        sa.Index("acts_app", "app_id", "id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "formations",
        sa.Column("app_id", sa.Text, sa.ForeignKey("apps.id"), primary_key=True),
        key("type"),
        number("quantity"),
        text("size"),
        moment("updated_at"),
    )


def create_releases() -> None:
    op.create_table(
        "slugs",
        sa.Column("app_id", sa.Text, sa.ForeignKey("apps.id"), primary_key=True),
        key("id"),
        text("commit"),
        json("process_types"),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        text("language"),
        text("checksum"),
        moment("created_at"),
    )
    op.create_table(
        "releases",
        key(),
        sa.Column("app_id", sa.Text, sa.ForeignKey("apps.id"), nullable=False),
        number("version"),
        text("kind"),
        text("description"),
        text("slug_id", null=True),
        text("commit"),
        json("process_types"),
        binary("config_sealed"),
        json("attachments"),
        text("stack"),
        json("buildpacks"),
        binary("state"),
        sa.Column("act_id", sa.BigInteger, sa.ForeignKey("acts.id"), nullable=False),
        text("by_id"),
        text("by_email"),
        moment("created_at"),
        number("copy_of", null=True),
        binary("previous_mac"),
        binary("previous_status_mac"),
        binary("mac"),
        sa.ForeignKeyConstraint(["app_id", "slug_id"], ["slugs.app_id", "slugs.id"]),
        sa.UniqueConstraint("app_id", "version", name="releases_version"),
    )
    op.create_table(
        "release_statuses",
        sa.Column("release_id", sa.Text, sa.ForeignKey("releases.id"), primary_key=True),
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        text("status"),
        text("reason"),
        moment("at"),
        binary("mac"),
    )


def create_dyno_events() -> None:
    op.create_table(
        "dyno_events",
        serial(),
        text("app_id"),
        text("instance"),
        text("name"),
        text("type"),
        number("number"),
        number("release"),
        text("state"),
        moment("at"),
        text("cause"),
        json("detail"),
        sa.Index("dyno_events_app", "app_id", "at"),
        sa.Index("dyno_events_instance", "instance"),
        sqlite_autoincrement=True,
    )


def create_builds() -> None:
    op.create_table(
        "builds",
        key(),
        text("app_id"),
        text("commit"),
        text("by_id"),
        text("by_email"),
        text("status"),
        text("message"),
        text("slug_id", null=True),
        number("release", null=True),
        moment("created_at"),
        moment("finished_at", null=True),
        sa.Index("builds_app", "app_id", "created_at"),
    )


def refuse_changes_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN"
                f" SELECT RAISE(ABORT, '{table} is append-only: {verb} refused'); END"
            )


def refuse_changes_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION oriel_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION oriel_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION oriel_append_only()"
        )
